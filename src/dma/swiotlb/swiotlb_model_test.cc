// Random use of bounce buffers against a model of every byte; and many threads at once.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <random>
#include <thread>
#include <vector>

#include "base/log.h"
#include "dma/swiotlb/testing/bounce_box.h"

namespace causeway::dma::testing {
namespace {

using enum Direction;

struct Options {
  Swiotlb::Options pool;
  uint32_t min_align = 0;
  uint64_t boundary = 0;
  // A mistake the model has to notice.
  bool forget_a_sync = false;
};

// What both sides see: `cpu` is the original, `device` the bounce buffer. A direction copies; nothing else does.
class Model {
 public:
  Model(const Options& options, unsigned seed)
      : options_(options), random_(seed), box_(options.pool), device_(box_.device(options.min_align, options.boundary)) {
    initial_ = box_.pool->free_runs();
  }

  // False: something differs.
  bool run(unsigned steps) {
    for (unsigned i = 0; i < steps; ++i) {
      unsigned dice = pick(100);
      if (dice < 30)
        map();
      else if (live_.empty())
        continue;
      else if (dice < 50)
        sync(kFromDevice, &Swiotlb::sync_for_cpu);
      else if (dice < 60)
        sync(kToDevice, &Swiotlb::sync_for_device);
      else if (dice < 75)
        write();
      else
        unmap();
      if (i % 16 == 0 && !same()) return false;
    }
    while (!live_.empty()) unmap();
    box_.pool->settle();
    return same() && box_.pool->free_runs() == initial_ && box_.pool->stats().used == 0 &&
           box_.pool->stats().transient_slots == 0;
  }

 private:
  static constexpr unsigned kLanes = 12;
  static constexpr uint64_t kLane = KiB(36);
  struct Buffer {
    unsigned lane;
    PhysAddr orig, bounce;
    size_t size;
    std::vector<std::byte> cpu, device;
  };

  uint32_t pick(uint64_t n) { return std::uniform_int_distribution<uint32_t>(0, static_cast<uint32_t>(n - 1))(random_); }
  Buffer& any() { return live_[pick(live_.size())]; }

  void map() {
    unsigned lane = pick(kLanes);
    for (const Buffer& buffer : live_)
      if (buffer.lane == lane) return;
    uint64_t offset = pick(4096);
    size_t size = pick(4) == 0 ? 1 + pick(kLane - 4096) : 1 + pick(5000);
    uint64_t align = pick(3) == 0 ? 0xfff : 0;
    Buffer buffer{lane, box_.data(lane * kLane + offset), {}, size, {}, {}};
    buffer.cpu.resize(size);
    for (std::byte& byte : buffer.cpu) byte = static_cast<std::byte>(pick(256));
    std::memcpy(box_.at(buffer.orig), buffer.cpu.data(), size);
    auto bounce = box_.map(device_, buffer.orig, size, static_cast<Direction>(pick(3)), align, Attr::kNoWarn);
    if (!bounce) return;
    buffer.bounce = *bounce;
    buffer.device = buffer.cpu;
    uint64_t low = options_.min_align;
    ok_ = ok_ && (bounce->value() & low) == (buffer.orig.value() & low);
    for (const Buffer& other : live_)
      ok_ = ok_ && (other.bounce + other.size <= *bounce || *bounce + size <= other.bounce);
    live_.push_back(std::move(buffer));
  }
  void sync(Direction direction, void (Swiotlb::*call)(Device&, PhysAddr, size_t, Direction)) {
    Buffer& buffer = any();
    size_t at = pick(buffer.size);
    size_t size = 1 + pick(buffer.size - at);
    if (pick(3) == 0) direction = static_cast<Direction>(pick(3));
    bool to_cpu = call == &Swiotlb::sync_for_cpu;
    if (!(options_.forget_a_sync && pick(20) == 0))
      (box_.pool.get()->*call)(device_, buffer.bounce + at, size, direction);
    if (to_cpu && device_writes(direction)) std::copy_n(&buffer.device[at], size, &buffer.cpu[at]);
    if (!to_cpu && device_reads(direction)) std::copy_n(&buffer.cpu[at], size, &buffer.device[at]);
  }
  // The device, or the CPU, writes part of its side.
  void write() {
    Buffer& buffer = any();
    bool by_device = pick(2) == 0;
    size_t at = pick(buffer.size);
    size_t size = 1 + pick(std::min<size_t>(buffer.size - at, 3000));
    int value = static_cast<int>(pick(256));
    box_.fill((by_device ? buffer.bounce : buffer.orig) + at, size, value);
    std::fill_n(&(by_device ? buffer.device : buffer.cpu)[at], size, static_cast<std::byte>(value));
  }
  void unmap() {
    std::swap(any(), live_.back());
    Buffer buffer = std::move(live_.back());
    live_.pop_back();
    auto direction = static_cast<Direction>(pick(3));
    Attr attrs = pick(4) == 0 ? Attr::kSkipCpuSync : Attr::kNone;
    box_.unmap(device_, buffer.bounce, buffer.size, direction, attrs);
    if (device_writes(direction) && !has(attrs, Attr::kSkipCpuSync)) buffer.cpu = buffer.device;
    ok_ = ok_ && std::memcmp(box_.at(buffer.orig), buffer.cpu.data(), buffer.size) == 0;
  }
  bool same() {
    for (const Buffer& buffer : live_) {
      ok_ = ok_ && std::memcmp(box_.at(buffer.orig), buffer.cpu.data(), buffer.size) == 0;
      ok_ = ok_ && std::memcmp(box_.at(buffer.bounce), buffer.device.data(), buffer.size) == 0;
    }
    return ok_;
  }

  const Options options_;
  std::mt19937 random_;
  BounceBox box_;
  Device device_;
  std::vector<uint16_t> initial_;
  std::vector<Buffer> live_;
  bool ok_ = true;
};

TEST(SwiotlbModel, BothSidesSeeWhatTheyShouldAndNoSlotIsLost) {
  unsigned seed = 1;
  for (uint32_t min_align : {0u, 0xfffu, 0x7ffu, 0x1fffu})
    for (uint64_t boundary : {uint64_t{0}, uint64_t{0xffff}})
      EXPECT_TRUE(Model({{.size = MiB(1), .areas = 4}, min_align, boundary}, seed++).run(600))
          << "min_align " << min_align << ", boundary " << boundary;
}

TEST(SwiotlbModel, HoldsForPoolsThatAreFullAndGrow) {
  for (unsigned seed = 1; seed <= 3; ++seed) {
    EXPECT_TRUE(Model({{.size = KiB(100), .restricted = true}, 0xfff, 0}, seed).run(1000)) << "always near full";
    EXPECT_TRUE(Model({{.size = KiB(256), .areas = 1, .dynamic = true}, 0xfff, 0}, seed).run(600));
  }
}

TEST(SwiotlbModel, NoticesAForgottenSync) {
  EXPECT_FALSE(Model({{.size = MiB(1), .areas = 4}, 0xfff, 0, true}, 1).run(600));
}

// 87
void hammer(const Swiotlb::Options& options, unsigned threads_count, unsigned rounds) {
  BounceBox box(options);
  std::vector<uint16_t> initial = box.pool->free_runs();
  std::vector<std::thread> threads;
  for (unsigned t = 0; t < threads_count; ++t) {
    threads.emplace_back([&box, t, rounds] {
      Device device = box.device(t % 2 == 0 ? 0 : 0xfff, 0, {}, "device " + std::to_string(t));
      std::mt19937 random(t);
      const PhysAddr lane = box.data(t * KiB(32));
      for (unsigned i = 0; i < rounds; ++i) {
        size_t size = 1 + random() % (i % 8 == 0 ? 28000 : 4096);
        PhysAddr orig = lane + random() % 4096;
        int value = static_cast<int>(random() & 0xff);
        box.fill(orig, size, value);
        Result<PhysAddr> bounce = box.map(device, orig, size, kBidirectional, i % 3 == 0 ? 0xfff : 0, Attr::kNoWarn);
        if (!bounce) continue;
        EXPECT_TRUE(box.pool->contains(device, *bounce));
        EXPECT_TRUE(box.is(*bounce, size, value));
        box.fill(*bounce, size, value ^ 0xff);
        size_t part = 1 + random() % size;
        box.pool->sync_for_cpu(device, *bounce, part, kFromDevice);
        EXPECT_TRUE(box.is(orig, part, value ^ 0xff));
        box.unmap(device, *bounce, size, kBidirectional);
        EXPECT_TRUE(box.is(orig, size, value ^ 0xff));
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  box.pool->settle();
  EXPECT_EQ(box.pool->stats().used, 0u);
  EXPECT_EQ(box.pool->stats().transient_slots, 0u);
  EXPECT_EQ(box.pool->free_runs(), initial);
}

TEST(SwiotlbThreads, MappingAndSyncingFromManyLosesNoSlot) {
  hammer({.size = MiB(1), .areas = 4}, 10, 150);
}
TEST(SwiotlbThreads, AlsoInOneAreaThatIsNearlyFull) {
  hammer({.size = KiB(96), .restricted = true}, 8, 150);
}
TEST(SwiotlbThreads, AlsoWhenPoolsComeAndGo) {
  hammer({.size = KiB(256), .areas = 1, .dynamic = true}, 8, 100);
}

}  // namespace
}  // namespace causeway::dma::testing
