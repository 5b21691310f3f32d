#include "dma/iommu/restored_ranges.h"

#include <gtest/gtest.h>

#include <utility>
#include <vector>

#include "base/testing/results.h"

namespace causeway::dma {
namespace {

using iommu::IoPageTable;
using iommu::IovaDomain;
using iommu::kRead;
using iommu::kWrite;
using Runs = std::vector<std::pair<uint64_t, uint64_t>>;

class RestoredRangesTest : public ::testing::Test {
 public:
  void leaves(uint64_t pfn, uint64_t count, uint32_t prot = kRead | kWrite) {
    for (uint64_t i = 0; i < count; ++i) large(pfn + i, 1, prot);
  }
  void large(uint64_t pfn, uint64_t pages, uint32_t prot = kRead | kWrite) {
    ranges_.add({.iova = Iova(pfn << kPageShift), .phys = PhysAddr{0x1000}, .size = pages << kPageShift, .prot = prot});
  }
  int claim(uint64_t pfn, uint64_t pages, uint32_t access = kRead) { return error_of(ranges_.claim(pfn, pages, access)); }
  bool claimed(uint64_t pfn, uint64_t pages, uint32_t access = kRead) { return ranges_.claim(pfn, pages, access).has_value(); }
  Runs release() {
    Runs runs;
    ranges_.release([&](uint64_t pfn, uint64_t pages) { runs.emplace_back(pfn, pages); });
    return runs;
  }
  IovaDomain iovas_{{}};
  RestoredRanges ranges_{iovas_};
};

TEST_F(RestoredRangesTest, ClaimsCutARunIntoItsMappings) {
  leaves(0x100, 16);
  ranges_.hold();
  EXPECT_EQ(ranges_.unclaimed(), 16u);
  EXPECT_TRUE(claimed(0x104, 4));
  EXPECT_TRUE(claimed(0x100, 1));
  EXPECT_TRUE(claimed(0x10c, 4));
  EXPECT_EQ(claim(0x104, 4), ENOENT);  // once
  EXPECT_EQ(claim(0x105, 1), ENOENT);
  EXPECT_EQ(claim(0x108, 8), ENOENT) << "half of it is somebody's";
  EXPECT_EQ(release(), (Runs{{0x101, 3}, {0x108, 4}}));
  // What was claimed is handed out, the rest is not.
  EXPECT_EQ(iovas_.stats().live, 3u);
  EXPECT_EQ(claim(0x101, 1), ENOENT);
}

// Lengths that are no power of two have addresses behind them that belong to them.
TEST_F(RestoredRangesTest, TheAddressesBehindAnOddLengthBelongToIt) {
  leaves(0x100, 3);
  leaves(0x104, 5);
  ranges_.hold();
  // Nobody else got them meanwhile.
  EXPECT_TRUE(iovas_.find(0x103));
  EXPECT_TRUE(iovas_.find(0x109));
  EXPECT_TRUE(iovas_.find(0x11f));
  EXPECT_FALSE(iovas_.find(0x120));
  EXPECT_TRUE(claimed(0x100, 3));
  EXPECT_EQ(iovas_.find(0x100)->last, 0x103u);
  EXPECT_EQ(claim(0x104, 5), EINVAL) << "it would have been aligned to 8";
  EXPECT_TRUE(claimed(0x104, 1));
  EXPECT_EQ(claim(0x105, 3), EINVAL);
  EXPECT_EQ(claim(0x106, 3), EINVAL);
  EXPECT_TRUE(claimed(0x108, 1));
  EXPECT_EQ(release(), (Runs{{0x105, 3}}));
  EXPECT_FALSE(iovas_.find(0x109));
  iovas_.free_fast(0x100, 3);
  EXPECT_EQ(must(iovas_.alloc_fast(4, 0x1ff, IovaDomain::Flush::kYes)), 0x100u);
}

TEST_F(RestoredRangesTest, AnotherMappingInTheTailIsNotPartOfTheClaim) {
  leaves(0x100, 4);
  ranges_.hold();
  EXPECT_EQ(claim(0x100, 3), EINVAL);
  EXPECT_TRUE(claimed(0x102, 2));
  EXPECT_EQ(claim(0x100, 3), ENOENT);
  EXPECT_TRUE(claimed(0x100, 2));
}

TEST_F(RestoredRangesTest, LongLengthsAreNotRounded) {
  leaves(0x140, 33);
  leaves(0x161, 1);
  ranges_.hold();
  EXPECT_EQ(claim(0x120, 33), EINVAL);  // of 33 pages begins at a multiple of 64
  EXPECT_TRUE(claimed(0x140, 33));
  EXPECT_TRUE(claimed(0x161, 1));
}

TEST_F(RestoredRangesTest, AClaimEndsWhereLeavesEnd) {
  large(0x200, 0x200);
  leaves(0x400, 2);
  ranges_.hold();
  EXPECT_EQ(claim(0x200, 0x100), EINVAL);
  EXPECT_EQ(claim(0x300, 0x100), EINVAL);
  EXPECT_EQ(claim(0x400, 3), ENOENT);
  // 0x201 pages would have begun at a multiple of 0x400.
  EXPECT_EQ(claim(0x200, 0x201), EINVAL);
  EXPECT_TRUE(claimed(0x200, 0x200));
  EXPECT_EQ(release(), (Runs{{0x400, 2}}));
}

TEST_F(RestoredRangesTest, AMappingOfLargeAndSmallLeavesIsOne) {
  large(0x400, 0x200);
  leaves(0x600, 3);
  ranges_.hold();
  EXPECT_TRUE(claimed(0x400, 0x203));
  EXPECT_TRUE(release().empty());
  EXPECT_EQ(iovas_.find(0x400)->last, 0x602u);
}

TEST_F(RestoredRangesTest, AClaimIsForAnAccessThatTheDeviceWasGiven) {
  leaves(0x100, 1, kRead);
  leaves(0x101, 1, kWrite);
  leaves(0x102, 1, 0);  // of a table that does not tell
  ranges_.hold();
  EXPECT_EQ(claim(0x100, 1, kWrite), EINVAL);
  EXPECT_EQ(claim(0x100, 1, kRead | kWrite), EINVAL);
  EXPECT_EQ(claim(0x100, 2, kRead), EINVAL);
  EXPECT_TRUE(claimed(0x100, 1, kRead));
  EXPECT_TRUE(claimed(0x101, 1, kWrite));
  EXPECT_TRUE(claimed(0x102, 1, kRead | kWrite));
}

TEST_F(RestoredRangesTest, NoClaimIsMadeOfNothing) {
  leaves(0x100, 2);
  ranges_.hold();
  EXPECT_EQ(claim(0x100, 0), EINVAL);
  EXPECT_EQ(claim(0x102, 1), ENOENT);
  EXPECT_EQ(claim(0xff, 1), ENOENT);
  EXPECT_EQ(claim(0x100, ~uint64_t{0} >> 1), EINVAL);
  EXPECT_EQ(claim(0x5000, 1), ENOENT);
  EXPECT_EQ(ranges_.unclaimed(), 2u);
}

TEST_F(RestoredRangesTest, WhatLiesInAReservedRegionIsTheRegions) {
  must(iovas_.reserve(0x102, 0x10f));
  leaves(0x100, 8);
  large(0x200, 0x10);
  must(iovas_.reserve(0x20f, 0x20f));
  ranges_.hold();
  EXPECT_EQ(ranges_.unclaimed(), 2u);
  EXPECT_EQ(claim(0x100, 4), ENOENT);
  EXPECT_TRUE(claimed(0x100, 2));
  EXPECT_TRUE(release().empty());
  EXPECT_TRUE(iovas_.find(0x104)->reserved);
}

}  // namespace
}  // namespace causeway::dma
