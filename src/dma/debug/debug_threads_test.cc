// Spec scenario 87, dma-debug's part: no entry is lost, no false report, whatever the order.
#include <gtest/gtest.h>

#include <atomic>
#include <random>
#include <thread>
#include <vector>

#include "dma/debug/debug.h"
#include "dma/debug/testing/watched.h"

namespace causeway::dma::testing {
namespace {

using enum Direction;

constexpr unsigned kThreads = 8;
constexpr uint64_t kRam = MiB(24);

template <typename Body>
void run_threads(Body body) {
  std::vector<std::thread> threads;
  for (unsigned i = 0; i < kThreads; ++i) threads.emplace_back(body, i);
  for (std::thread& thread : threads) thread.join();
}

// 87
TEST(DebugThreads, MapsUnmapsSyncsAndDumpsAtOnceLoseNothing) {
  Watched t;
  std::vector<Device> devices;
  for (unsigned i = 0; i < 3; ++i) devices.push_back(t.system.device({}, "device " + std::to_string(i)));
  run_threads([&](unsigned id) {
    std::mt19937 random(id);
    struct Mapping {
      Device* device;
      uint64_t phys;
      DmaAddr address;
      size_t size;
      Direction direction;
    };
    std::vector<Mapping> mine;
    for (unsigned i = 0; i < 3000; ++i) {
      if (mine.size() < 20 && random() % 2 == 0) {
        // Lines are the thread's own; buckets and chains are everybody's.
        uint64_t phys = kRam + (uint64_t{id} * 4096 + i) * 256;
        Mapping m{&devices[random() % 3], phys, DmaAddr(phys), 1 + random() % 256, static_cast<Direction>(random() % 3)};
        t.debug.map_phys(*m.device, PhysAddr(m.phys), m.size, m.direction, m.address, Attr::kNone);
        t.debug.mapping_error(*m.device, m.address);
        mine.push_back(m);
      } else if (!mine.empty()) {
        size_t which = random() % mine.size();
        Mapping m = mine[which];
        t.debug.sync_single_for_device(*m.device, m.address + m.size / 2, 1, m.direction);
        if (random() % 2 == 0) continue;
        t.debug.unmap_phys(*m.device, m.address, m.size, m.direction, Attr::kNone);
        mine.erase(mine.begin() + static_cast<ptrdiff_t>(which));
      }
      if (i % 1000 == 500) {
        EXPECT_FALSE(t.debug.dump().empty() && !mine.empty());
      }
    }
    for (const Mapping& m : mine) t.debug.unmap_phys(*m.device, m.address, m.size, m.direction, Attr::kNone);
  });
  EXPECT_EQ(t.fresh(), Errors{});
  EXPECT_EQ(t.debug.entries(), 0u);
}

// 87: an address is given to the next owner before the record of its unmap goes.
TEST(DebugThreads, AnAddressReusedBeforeItsUnmapIsRecordedMakesNoFalseReport) {
  Watched t;
  constexpr unsigned kAddresses = 4;
  // The backend: an address is free again the moment it is given back.
  std::atomic<unsigned> free_addresses{(1u << kAddresses) - 1};
  run_threads([&](unsigned id) {
    // Every thread's mappings have their own size, as distinct requests have.
    const size_t size = 64 + id;
    for (unsigned i = 0; i < 3000; ++i) {
      unsigned bit = 0;
      unsigned seen = free_addresses.load();
      do {
        if (seen == 0) {
          std::this_thread::yield();
          seen = free_addresses.load();
          bit = 0;
          continue;
        }
        bit = seen & -seen;
      } while (bit == 0 || !free_addresses.compare_exchange_weak(seen, seen & ~bit));
      const DmaAddr address{0x100000 + bit * 4096};
      t.debug.map_phys(t.device, PhysAddr{kRam + id * 4096}, size, kFromDevice, address, Attr::kNone);
      t.debug.mapping_error(t.device, address);
      free_addresses.fetch_or(bit);
      t.debug.unmap_phys(t.device, address, size, kFromDevice, Attr::kNone);
    }
  });
  EXPECT_EQ(t.fresh(), Errors{});
  EXPECT_EQ(t.debug.entries(), 0u);
}

// 87: reports, listeners and removals from everywhere.
TEST(DebugThreads, WrongCallsOfManyThreadsAreAllCounted) {
  Watched t(Debug::Options{});
  run_threads([&](unsigned id) {
    Device device = t.system.device({}, "thread " + std::to_string(id));
    for (unsigned i = 0; i < 200; ++i) {
      // All in one line.
      t.debug.map_phys(device, PhysAddr{kRam}, 64, kToDevice, DmaAddr{kRam}, Attr::kNone);
      if (i % 2 == 0) t.debug.unmap_phys(device, DmaAddr{kRam}, 32, kToDevice, Attr::kNone);
      if (i % 50 == 49) t.debug.device_removed(device);
    }
  });
  EXPECT_EQ(t.debug.errors(DebugError::kPendingAllocations), kThreads * 4u);
  EXPECT_EQ(t.debug.entries(), 0u);
  EXPECT_EQ(t.fresh().size(), t.debug.errors());
}

}  // namespace
}  // namespace causeway::dma::testing
