#include "dma/swiotlb/swiotlb.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <vector>

#include "base/log.h"
#include "base/warn_once.h"
#include "dma/swiotlb/testing/bounce_box.h"

namespace causeway::dma::testing {
namespace {

using enum Direction;

// 28
TEST(Swiotlb, WithoutMasksSlotsAreTakenInTurnAndWholePagesArePageAligned) {
  BounceBox box;
  Device device = box.device();
  ASSERT_TRUE(box.base().is_aligned(kPageSize));
  EXPECT_EQ(must(box.map(device, box.data(0xe78), 100)), box.base());
  EXPECT_EQ(must(box.map(device, box.data(), 4096)), box.base() + 0x1000);
  EXPECT_EQ(box.used(), 3u);
}

// 29
TEST(Swiotlb, TheLowBitsTheDeviceAsksForAreThoseOfTheOriginal) {
  BounceBox box;
  Device device = box.device(0xfff);
  PhysAddr bounce = must(box.map(device, box.data(0xe78), 100));
  EXPECT_EQ(bounce, box.base() + 0xe78) << "the first slot with bit 11 set";
  EXPECT_EQ(box.used(), 1u);
  PhysAddr low = must(box.map(device, box.data(0x678), 100));
  EXPECT_EQ(low.value() & 0xfff, 0x678u);
}

// 30
TEST(Swiotlb, AGranuleAlignedBlockHasPadSlotsThatAreFreedWithIt) {
  BounceBox box;
  Device device = box.device(0xfff);
  must(box.map(device, box.data(), 100));
  std::vector<uint16_t> before = box.pool->free_runs();
  PhysAddr bounce = must(box.map(device, box.data(0xe78), 4096, kBidirectional, 0xfff));
  EXPECT_EQ(bounce, box.base() + 0x1000 + 0xe78) << "slot 3, behind pad slot 2";
  EXPECT_EQ(box.used(), 1u + 4u);
  EXPECT_EQ(box.pool->free_runs()[5], 0);
  EXPECT_NE(box.pool->free_runs()[6], 0);
  box.unmap(device, bounce, 4096);
  EXPECT_EQ(box.used(), 1u);
  EXPECT_EQ(box.pool->free_runs(), before);
}

// 31
TEST(Swiotlb, ASlotSetIsTheMostAndWhatTheMaskCostsIsReported) {
  BounceBox box({.size = MiB(2), .areas = 1});
  Device device = box.device();
  EXPECT_EQ(box.pool->max_mapping_size(device), 262144u);
  PhysAddr largest = must(box.map(device, box.data(), 262144));
  box.unmap(device, largest, 262144);
  {
    log::Capture capture;
    EXPECT_EQ(error_of(box.map(device, box.data(), 262145)), ENOMEM);
    EXPECT_TRUE(capture.contains("swiotlb buffer is full (sz: 262145 bytes), total 1024 (slots), used 0 (slots)"));
  }
  {
    log::Capture capture;
    EXPECT_EQ(error_of(box.map(device, box.data(), 262145, kToDevice, 0, Attr::kNoWarn)), ENOMEM);
    EXPECT_FALSE(capture.contains("full"));
  }
  EXPECT_EQ(error_of(box.map(device, box.data(), ~size_t{0} >> 1, kToDevice, 0, Attr::kNoWarn)), EINVAL);

  Device nvme = box.device(0xfff);
  EXPECT_EQ(box.pool->max_mapping_size(nvme), 258048u);
  PhysAddr odd = must(box.map(nvme, box.data(0xfff), 258048));
  EXPECT_EQ(odd.value() & 0xfff, 0xfffu);
  EXPECT_EQ(box.used(), 127u);
  EXPECT_EQ(box.pool->max_mapping_size(box.device(0xffffffff)), 0u);
}

// 32
TEST(Swiotlb, AllAreasAreSearchedBeforeItIsFull) {
  BounceBox box({.size = MiB(1), .areas = 4});
  Device device = box.device();
  ASSERT_EQ(box.pool->stats().slots, 512u);
  std::vector<PhysAddr> taken;
  for (unsigned i = 0; i < 512; ++i) taken.push_back(must(box.map(device, box.data(), 2048)));
  EXPECT_EQ(box.used(), 512u);
  std::vector<PhysAddr> sorted = taken;
  std::sort(sorted.begin(), sorted.end());
  EXPECT_EQ(std::adjacent_find(sorted.begin(), sorted.end()), sorted.end());
  log::Capture capture;
  EXPECT_EQ(error_of(box.map(device, box.data(), 2048)), ENOMEM);
  EXPECT_TRUE(capture.contains("total 512 (slots), used 512 (slots)"));
  for (unsigned area = 0; area < 4; ++area) {
    PhysAddr freed = box.base() + (area * 128 + 77) * kSlotSize;
    box.unmap(device, freed, 2048);
    EXPECT_EQ(must(box.map(device, box.data(), 2048)), freed) << "area " << area;
  }
}

// 33
TEST(Swiotlb, FreedSlotsMergeWithinTheirSetUntilNothingIsLeftOfTheirHistory) {
  BounceBox box;
  Device device = box.device();
  std::vector<uint16_t> initial = box.pool->free_runs();
  for (uint32_t i = 0; i < 512; ++i) ASSERT_EQ(initial[i], 128 - i % 128);
  std::vector<PhysAddr> taken;
  for (unsigned i = 0; i < 512; ++i) taken.push_back(must(box.map(device, box.data(), 2048)));
  for (unsigned i = 0; i < 512; i += 2) box.unmap(device, taken[i], 2048);
  EXPECT_EQ(error_of(box.map(device, box.data(), 2049, kToDevice, 0, Attr::kNoWarn)), ENOMEM);
  box.unmap(device, taken[127], 2048);
  EXPECT_EQ(error_of(box.map(device, box.data(), 2049 + 2048, kToDevice, 0, Attr::kNoWarn)), ENOMEM)
      << "slots 126 and 127 and, in the next set, 128";
  PhysAddr pair = must(box.map(device, box.data(), 2049));
  EXPECT_EQ(box.slot(pair), 126u);
  box.unmap(device, pair, 2049);

  std::vector<PhysAddr> left;
  for (unsigned i = 1; i < 512; i += 2)
    if (i != 127) left.push_back(taken[i]);
  std::shuffle(left.begin(), left.end(), std::mt19937(3));
  for (PhysAddr bounce : left) box.unmap(device, bounce, 2048);
  EXPECT_EQ(box.pool->free_runs(), initial);
  EXPECT_EQ(box.used(), 0u);
}

// 34
TEST(Swiotlb, ADeviceThatWritesLessThanItWasAskedForRevealsNothing) {
  BounceBox box;
  Device device = box.device();
  // Somebody else's secret is in the slots.
  box.fill(box.data(8192), 100, 0x5e);
  box.unmap(device, must(box.map(device, box.data(8192), 100)), 100);
  box.fill(box.data(), 100, 0x11);
  PhysAddr bounce = must(box.map(device, box.data(), 100, kFromDevice));
  ASSERT_EQ(bounce, box.base());
  box.fill(bounce, 10, 0x22);
  box.unmap(device, bounce, 100, kFromDevice);
  EXPECT_TRUE(box.is(box.data(), 10, 0x22));
  EXPECT_TRUE(box.is(box.data(10), 90, 0x11));
}

// 35
TEST(Swiotlb, PartOfAMappingIsSyncedAloneAcrossSlotsAndWithAnOffset) {
  for (uint32_t min_align : {0u, 0x7ffu, 0xfffu}) {
    for (uint64_t mask : {uint64_t{0}, uint64_t{0xfff}}) {
      BounceBox box;
      Device device = box.device(min_align);
      const size_t size = 10000;
      const PhysAddr orig = box.data(0xe78);
      box.fill(orig, size, 0x11);
      PhysAddr bounce = must(box.map(device, orig, size, kBidirectional, mask));
      ASSERT_TRUE(box.is(bounce, size, 0x11));
      box.fill(bounce, size, 0x22);
      // Inside the first slot; over a slot boundary; in a later slot, before the offset the first one has.
      for (uint64_t at : {uint64_t{300}, uint64_t{2048 - 25}, 2 * kSlotSize - 0x678 + 1}) {
        box.pool->sync_for_cpu(device, bounce + at, 50, kFromDevice);
        EXPECT_TRUE(box.is(orig, at, 0x11)) << min_align << " " << mask << " " << at;
        EXPECT_TRUE(box.is(orig + at, 50, 0x22));
        EXPECT_TRUE(box.is(orig + at + 50, size - at - 50, 0x11));
        box.fill(orig + at, 50, 0x33);
        box.pool->sync_for_device(device, bounce + at, 50, kToDevice);
        EXPECT_TRUE(box.is(bounce, at, 0x22));
        EXPECT_TRUE(box.is(bounce + at, 50, 0x33));
        EXPECT_TRUE(box.is(bounce + at + 50, size - at - 50, 0x22));
        box.fill(orig, size, 0x11);
        box.fill(bounce, size, 0x22);
      }
      box.unmap(device, bounce, size, kToDevice);
      EXPECT_EQ(box.used(), 0u);
    }
  }
}

// 36
TEST(Swiotlb, ASyncBeyondTheMappingIsCutOffAndTheNeighbourUntouched) {
  log::clear_warn_once();
  BounceBox box;
  Device device = box.device();
  box.fill(box.data(0), 2048, 0x11);
  box.fill(box.data(2048), 2048, 0x44);
  PhysAddr first = must(box.map(device, box.data(), 100));
  PhysAddr second = must(box.map(device, box.data(2048), 2048));
  ASSERT_EQ(second, first + kSlotSize);
  box.fill(first, 100, 0x22);
  box.fill(second, 2048, 0x55);
  log::Capture capture;
  box.pool->sync_for_cpu(device, first, 100, kFromDevice);
  EXPECT_FALSE(capture.contains("overflow")) << "exactly what was mapped";
  box.pool->sync_for_cpu(device, first, 4096, kFromDevice);
  EXPECT_TRUE(capture.contains("bounce buffer overflow: 4096 bytes"));
  EXPECT_TRUE(box.is(box.data(), 100, 0x22));
  EXPECT_TRUE(box.is(box.data(100), 2048 - 100, 0x11)) << "bytes nobody mapped";
  EXPECT_TRUE(box.is(box.data(2048), 2048, 0x44)) << "the neighbour's original";
  box.fill(box.data(), 4096, 0x66);
  box.pool->sync_for_device(device, first, 4096, kToDevice);
  EXPECT_TRUE(box.is(second, 2048, 0x55)) << "the neighbour's slot";
  // 90: the wrong size at unmap frees and copies what was mapped.
  box.unmap(device, first, 4096);
  EXPECT_EQ(box.used(), 1u);
  EXPECT_TRUE(box.is(second, 2048, 0x55));
}

// 36
TEST(Swiotlb, EachDirectionCopiesOnlyItsWay) {
  BounceBox box;
  Device device = box.device();
  box.fill(box.data(), 100, 0x11);
  PhysAddr bounce = must(box.map(device, box.data(), 100, kToDevice));
  box.fill(bounce, 100, 0x22);
  box.pool->sync_for_cpu(device, bounce, 100, kToDevice);
  EXPECT_TRUE(box.is(box.data(), 100, 0x11));
  box.pool->sync_for_device(device, bounce, 100, kFromDevice);
  EXPECT_TRUE(box.is(bounce, 100, 0x22));
  box.pool->sync_for_device(device, bounce, 100, kBidirectional);
  EXPECT_TRUE(box.is(bounce, 100, 0x11));
  box.fill(bounce, 100, 0x22);
  box.unmap(device, bounce, 100, kToDevice);
  EXPECT_TRUE(box.is(box.data(), 100, 0x11));
  EXPECT_DEATH(box.pool->sync_for_cpu(device, bounce, 100, kNone), "no direction");
}

// 37
TEST(Swiotlb, SkipCpuSyncSkipsTheCopyBackAndNeverTheCopyIn) {
  BounceBox box;
  Device device = box.device();
  box.fill(box.data(), 100, 0x11);
  PhysAddr bounce = must(box.map(device, box.data(), 100, kFromDevice, 0, Attr::kSkipCpuSync));
  EXPECT_TRUE(box.is(bounce, 100, 0x11));
  box.fill(bounce, 100, 0x22);
  box.unmap(device, bounce, 100, kFromDevice, Attr::kSkipCpuSync);
  EXPECT_TRUE(box.is(box.data(), 100, 0x11));
}

// 38
TEST(Swiotlb, NoBufferCrossesTheDevicesSegmentBoundary) {
  BounceBox box({.size = MiB(4), .areas = 1});
  Device device = box.device(0, 0xffff);
  std::mt19937 random(5);
  std::vector<std::pair<PhysAddr, size_t>> taken;
  for (int i = 0; i < 200; ++i) {
    size_t size = 1 + random() % 65536;
    Result<PhysAddr> bounce = box.map(device, box.data(), size, kToDevice, 0, Attr::kNoWarn);
    if (!bounce) break;
    EXPECT_EQ(bounce->value() >> 16, (bounce->value() + size - 1) >> 16);
    taken.emplace_back(*bounce, size);
  }
  EXPECT_GT(taken.size(), 50u);
  for (auto [bounce, size] : taken) box.unmap(device, bounce, size, kToDevice);
  must(box.map(device, box.data(), 100));
  EXPECT_TRUE(must(box.map(device, box.data(), 65536)).is_aligned(65536));
  EXPECT_EQ(error_of(box.map(device, box.data(), 65537, kToDevice, 0, Attr::kNoWarn)), ENOMEM);
}

// 38: the boundary is one of bus addresses.
TEST(Swiotlb, TheSegmentBoundaryIsWhereTheBusHasIt) {
  BounceBox box;
  Device device = box.device(0, 0xffff);
  must(device.set_bus_windows({{box.base().aligned_down(0x10000), DmaAddr{0x8000}, GiB(1)}}));
  PhysAddr bounce = must(box.map(device, box.data(), 65536));
  EXPECT_EQ(bounce.value() & 0xffff, 0x8000u);
}

// 39
TEST(Swiotlb, AMaskChangedSinceTheMapIsNoticedAndTheOldOneUsed) {
  log::clear_warn_once();
  BounceBox box;
  Device device = box.device(0xfff);
  std::vector<uint16_t> before = box.pool->free_runs();
  box.fill(box.data(0xe78), 5000, 0x11);
  PhysAddr bounce = must(box.map(device, box.data(0xe78), 5000, kBidirectional, 0xfff));
  box.fill(bounce, 5000, 0x22);
  device.set_parameters({.min_align_mask = 0});
  box.pool->sync_for_cpu(device, bounce + 100, 50, kFromDevice);
  EXPECT_TRUE(box.is(box.data(0xe78 + 100), 50, 0x22));
  log::Capture capture;
  box.unmap(device, bounce, 5000);
  EXPECT_TRUE(capture.contains("min_align_mask is 0x0, want the 0xfff"));
  EXPECT_TRUE(box.is(box.data(0xe78), 5000, 0x22));
  EXPECT_EQ(box.pool->free_runs(), before);
}

// 40
TEST(Swiotlb, TheFirstBounceEndsTheSkippingOfSyncs) {
  BounceBox box;
  Device device = box.device();
  EXPECT_TRUE(device.skip_sync());
  EXPECT_EQ(error_of(box.map(device, box.data(), kMaxBounce + 1, kToDevice, 0, Attr::kNoWarn)), ENOMEM);
  EXPECT_TRUE(device.skip_sync()) << "nothing was bounced";
  box.unmap(device, must(box.map(device, box.data(), 1)), 1);
  EXPECT_FALSE(device.skip_sync());
}

TEST(Swiotlb, WhatWasNotMappedIsNotUnmapped) {
  log::clear_warn_once();
  BounceBox box;
  Device device = box.device();
  PhysAddr bounce = must(box.map(device, box.data(), 6000));
  PhysAddr other = must(box.map(device, box.data(), 6000));
  log::Capture capture;
  box.unmap(device, bounce + 2048, 100);
  EXPECT_TRUE(capture.contains("was not mapped, or not from there on"));
  EXPECT_EQ(box.used(), 6u);
  box.unmap(device, bounce, 6000);
  box.unmap(device, bounce, 6000);
  box.unmap(device, box.data(), 6000);
  box.pool->sync_for_cpu(device, bounce, 6000, kFromDevice);
  EXPECT_EQ(box.used(), 3u);
  box.unmap(device, other, 6000);
  EXPECT_EQ(box.used(), 0u);
}

TEST(Swiotlb, ABufferOfNoBytesHasAnAddress) {
  BounceBox box;
  Device device = box.device();
  PhysAddr bounce = must(box.map(device, box.data(), 0));
  EXPECT_TRUE(box.pool->contains(device, bounce));
  box.unmap(device, bounce, 0);
  EXPECT_EQ(box.used(), 0u);
}

}  // namespace
}  // namespace causeway::dma::testing
