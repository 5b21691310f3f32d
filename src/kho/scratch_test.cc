#include "kho/scratch.h"

#include <gtest/gtest.h>

#include "base/log.h"

namespace causeway::kho {
namespace {

TEST(ScratchOption, Percentage) {
  auto sizes = parse_scratch_option("150%");
  ASSERT_TRUE(sizes.has_value());
  EXPECT_FALSE(sizes->absolute);
  EXPECT_EQ(sizes->percent, 150u);
}

TEST(ScratchOption, ThreeSizesWithSuffixes) {
  auto sizes = parse_scratch_option("16M,1g,0x1000k");
  ASSERT_TRUE(sizes.has_value());
  EXPECT_TRUE(sizes->absolute);
  EXPECT_EQ(sizes->low, MiB(16));
  EXPECT_EQ(sizes->global, GiB(1));
  EXPECT_EQ(sizes->per_node, MiB(4));
  EXPECT_EQ(parse_scratch_option("0,0,1")->per_node, 1u);
}

TEST(ScratchOption, RefusesWhatTheKernelRefuses) {
  for (const char* text :
       {"", "0,0,0", "16M", "16M,64M", "16M,64M,", "16M 64M 0", "16M,64M,0x", "16M,64M,0,", "1,2,3 ", "%",
        "0%", "150%x", "x%", "12x%", "-1,0,0", "99999999999999999999,0,0", "18014398509481984k,0,0"})
    EXPECT_EQ(parse_scratch_option(text).error().code, Errno{EINVAL}) << text;
}

class Scratch : public ::testing::Test {
 protected:
  Scratch() {
    EXPECT_TRUE(boot_.add({PhysAddr(0), MiB(128)}).has_value());
    EXPECT_TRUE(boot_.add({PhysAddr(GiB(4)), MiB(128)}).has_value());
  }
  mm::BootMemory boot_;
};

TEST_F(Scratch, AreasAreAlignedReservedAndWhereTheyBelong) {
  auto areas = reserve_scratch(boot_, *parse_scratch_option("5M,20M,4M"));
  ASSERT_TRUE(areas.has_value());
  ASSERT_EQ(areas->size(), 3u);
  EXPECT_EQ((*areas)[0].size, MiB(8));
  EXPECT_EQ((*areas)[1].size, MiB(20));
  EXPECT_EQ((*areas)[2].size, MiB(4));
  EXPECT_LE((*areas)[0].end(), PhysAddr(GiB(4)));
  for (const mm::MemRange& area : *areas) {
    EXPECT_TRUE(area.base.is_aligned(kScratchAlignment));
    EXPECT_TRUE(boot_.is_memory(area.base, area.size));
    EXPECT_TRUE(boot_.is_reserved(area.base, area.size));
  }
}

TEST_F(Scratch, SizeZeroTakesNoArea) {
  auto areas = reserve_scratch(boot_, *parse_scratch_option("0,8M,0"));
  ASSERT_TRUE(areas.has_value());
  EXPECT_EQ(areas->size(), 1u);
}

TEST_F(Scratch, PercentageScalesWhatIsReserved) {
  ASSERT_TRUE(boot_.reserve({PhysAddr(0), MiB(8)}).has_value());
  ASSERT_TRUE(boot_.reserve({PhysAddr(GiB(4)), MiB(2)}).has_value());
  auto areas = reserve_scratch(boot_, ScratchSizes{});
  ASSERT_TRUE(areas.has_value());
  ASSERT_EQ(areas->size(), 3u);
  EXPECT_EQ((*areas)[0].size, MiB(16));
  EXPECT_EQ((*areas)[1].size, MiB(4));
  EXPECT_EQ((*areas)[2].size, MiB(20));
}

TEST_F(Scratch, NothingReservedStillMakesUsableAreas) {
  auto areas = reserve_scratch(boot_, ScratchSizes{});
  ASSERT_TRUE(areas.has_value());
  for (const mm::MemRange& area : *areas) EXPECT_EQ(area.size, kScratchAlignment);
}

TEST_F(Scratch, WhatDoesNotFitIsGivenBackWhole) {
  log::Capture capture;
  auto areas = reserve_scratch(boot_, *parse_scratch_option("16M,64M,256M"));
  EXPECT_EQ(areas.error().code, Errno{ENOMEM});
  EXPECT_EQ(boot_.reserved_bytes(), 0u);
  EXPECT_TRUE(capture.contains("node scratch area"));
  EXPECT_EQ(reserve_scratch(boot_, {.absolute = true, .low = ~uint64_t{0}}).error().code, Errno{ENOMEM});
}

}  // namespace
}  // namespace causeway::kho
