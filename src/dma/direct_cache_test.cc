// What an incoherent device sees, with caches that really keep what the CPU wrote.
#include <gtest/gtest.h>

#include <cstring>
#include <vector>

#include "dma/map.h"
#include "dma/testing/in_flight.h"
#include "dma/testing/streaming.h"

namespace causeway::dma::testing {
namespace {

// The CPU works on the machine's memory as if that were its cache; what a device reads and writes is here.
class Behind : public CacheModel {
 public:
  Behind(System& system, PhysAddr base, uint64_t size) : system_(system), base_(base), memory_(size) {}
  void for_device(PhysAddr phys, uint64_t size, Direction) override {
    if (inside(phys, size)) std::memcpy(at(phys), system_.at(phys), size);
  }
  void for_cpu(PhysAddr phys, uint64_t size, Direction) override {
    if (inside(phys, size)) std::memcpy(system_.at(phys), at(phys), size);
  }
  std::byte* at(PhysAddr phys) { return memory_.data() + (phys - base_); }

 private:
  bool inside(PhysAddr phys, uint64_t size) const { return phys >= base_ && phys - base_ + size <= memory_.size(); }
  System& system_;
  PhysAddr base_;
  std::vector<std::byte> memory_;
};

class Caches : public ::testing::Test {
 protected:
  Caches() { system_.dma().state().cache.set_model(&behind_); }
  ~Caches() override { system_.dma().state().cache.set_model(nullptr); }
  void cpu_writes(unsigned seed) { fill(system_.at(buffer_), kPageSize, seed); }
  bool cpu_sees(unsigned seed) { return filled(system_.at(buffer_), kPageSize, seed); }
  void device_writes_it(unsigned seed) { fill(behind_.at(buffer_), kPageSize, seed); }
  bool device_sees(unsigned seed) { return filled(behind_.at(buffer_), kPageSize, seed); }

  System system_;
  PhysAddr buffer_ = page(system_);
  Behind behind_{system_, buffer_, kPageSize};
  Device device_ = system_.device({.coherent = false});
};

TEST_F(Caches, AMapWritesBackAndAnUnmapDropsWhatIsStale) {
  cpu_writes(1);
  DmaAddr address = map_phys(device_, buffer_, kPageSize, Direction::kBidirectional, Attr::kNone);
  EXPECT_TRUE(device_sees(1));
  device_writes_it(2);
  EXPECT_TRUE(cpu_sees(1));
  unmap_phys(device_, address, kPageSize, Direction::kBidirectional, Attr::kNone);
  EXPECT_TRUE(cpu_sees(2));
}

TEST_F(Caches, SkipCpuSyncLeavesThemAlone) {
  cpu_writes(1);
  DmaAddr address = map_phys(device_, buffer_, kPageSize, Direction::kBidirectional, Attr::kSkipCpuSync);
  EXPECT_FALSE(device_sees(1));
  device_writes_it(2);
  unmap_phys(device_, address, kPageSize, Direction::kBidirectional, Attr::kSkipCpuSync);
  EXPECT_TRUE(cpu_sees(1));
  EXPECT_TRUE(no_cache_operations(system_));
}

TEST_F(Caches, SyncsHandTheBufferToAndFro) {
  DmaAddr address = map_phys(device_, buffer_, kPageSize, Direction::kBidirectional, Attr::kNone);
  EXPECT_TRUE(need_sync(device_, address));
  device_writes_it(3);
  sync_single_for_cpu(device_, address, kPageSize, Direction::kBidirectional);
  EXPECT_TRUE(cpu_sees(3));
  cpu_writes(4);
  EXPECT_FALSE(device_sees(4));
  sync_single_for_device(device_, address, kPageSize, Direction::kBidirectional);
  EXPECT_TRUE(device_sees(4));
  cpu_writes(5);
  sync_single_range_for_device(device_, address, 64, 64, Direction::kBidirectional);
  EXPECT_EQ(std::memcmp(behind_.at(buffer_ + 64), system_.at(buffer_ + 64), 64), 0);
  EXPECT_NE(std::memcmp(behind_.at(buffer_), system_.at(buffer_), 64), 0);
  unmap_phys(device_, address, kPageSize, Direction::kBidirectional, Attr::kNone);
}

TEST_F(Caches, AListWaitsOnceAtTheEnd) {
  cpu_writes(1);
  std::vector<ScatterEntry> list;
  for (unsigned i = 0; i < 4; ++i) list.push_back({.phys = buffer_ + i * 1024, .length = 1024});
  ASSERT_EQ(map_sg(device_, list, Direction::kToDevice), 4u);
  EXPECT_TRUE(device_sees(1));
  EXPECT_EQ(cache_operations(system_).for_device, 4u);
  EXPECT_EQ(cache_operations(system_).flushes, 1u);
  sync_sg_for_device(device_, list, Direction::kToDevice);
  EXPECT_EQ(cache_operations(system_).for_device, 8u);
  EXPECT_EQ(cache_operations(system_).flushes, 2u);
  unmap_sg(device_, list, Direction::kToDevice);
  EXPECT_EQ(cache_operations(system_).flushes, 3u);
}

// The copy out of a bounce buffer reads what the device wrote: not before the caches have let go of it.
class BouncedCaches : public ::testing::Test {
 protected:
  BouncedCaches() : behind_(system_, system_.dma().swiotlb()->stats().base, MiB(1)) {
    system_.dma().state().cache.set_model(&behind_);
  }
  ~BouncedCaches() override { system_.dma().state().cache.set_model(nullptr); }
  System system_{with({.swiotlb_force = true})};
  Behind behind_;
  Device device_ = system_.device({.coherent = false});
};

TEST_F(BouncedCaches, TheOrderIsCopyAndCleanThenDropAndCopy) {
  PhysAddr buffer = page(system_);
  fill(system_.at(buffer), kPageSize, 1);
  DmaAddr address = map_phys(device_, buffer, kPageSize, Direction::kBidirectional, Attr::kNone);
  std::byte* device_view = behind_.at(PhysAddr(address.value()));
  EXPECT_TRUE(filled(device_view, kPageSize, 1));
  fill(device_view, kPageSize, 2);
  sync_single_for_cpu(device_, address, kPageSize, Direction::kBidirectional);
  EXPECT_TRUE(filled(system_.at(buffer), kPageSize, 2));
  fill(system_.at(buffer), kPageSize, 3);
  sync_single_for_device(device_, address, kPageSize, Direction::kBidirectional);
  EXPECT_TRUE(filled(device_view, kPageSize, 3));
  fill(device_view, kPageSize, 4);
  unmap_phys(device_, address, kPageSize, Direction::kBidirectional, Attr::kNone);
  EXPECT_TRUE(filled(system_.at(buffer), kPageSize, 4));
}

TEST_F(BouncedCaches, AListFlushesBeforeEveryCopy) {
  PhysAddr buffer = page(system_);
  std::vector<ScatterEntry> list = {{.phys = buffer, .length = 2048}, {.phys = buffer + 2048, .length = 2048}};
  ASSERT_EQ(map_sg(device_, list, Direction::kFromDevice), 2u);
  for (const ScatterEntry& entry : list) fill(behind_.at(PhysAddr(entry.dma_address.value())), entry.length, 6);
  uint64_t flushes = cache_operations(system_).flushes;
  sync_sg_for_cpu(device_, list, Direction::kFromDevice);
  EXPECT_EQ(cache_operations(system_).flushes, flushes + 3);
  EXPECT_TRUE(filled(system_.at(buffer), 2048, 6));
  EXPECT_TRUE(filled(system_.at(buffer + 2048), 2048, 6));
  unmap_sg(device_, list, Direction::kFromDevice);
  EXPECT_EQ(system_.dma().swiotlb()->stats().used, 0u);
}

}  // namespace
}  // namespace causeway::dma::testing
