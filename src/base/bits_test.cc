#include "base/bits.h"

#include <gtest/gtest.h>

namespace causeway {
namespace {

using Low = Field<0, 0>;
using Middle = Field<11, 8>;
using High = Field<63, 12>;
using Whole = Field<63, 0>;

TEST(Field, MaskCoversItsBits) {
  EXPECT_EQ(Low::kMask, 1u);
  EXPECT_EQ(Middle::kMask, 0xf00u);
  EXPECT_EQ(High::kMask, ~uint64_t{0xfff});
  EXPECT_EQ(Whole::kMask, ~uint64_t{0});
}

TEST(Field, MakesAndGets) {
  EXPECT_EQ(Middle::make(0xa), 0xa00u);
  EXPECT_EQ(Middle::get(0xfaf), 0xfu);
  EXPECT_EQ(High::get(0x12345678), 0x12345u);
  EXPECT_EQ(Whole::get(Whole::make(~uint64_t{0})), ~uint64_t{0});
}

TEST(Field, SetLeavesOtherBitsAlone) {
  EXPECT_EQ(Middle::set(0xffff, 0), 0xf0ffu);
  EXPECT_EQ(Middle::set(0, 5), 0x500u);
}

TEST(Field, WorksAtCompileTime) {
  static_assert((Low::make(1) | Middle::make(10)) == 0xa01);
  SUCCEED();
}

#ifndef NDEBUG
TEST(FieldDeathTest, ValueThatDoesNotFitAborts) { EXPECT_DEATH((void)Middle::make(16), ""); }
#endif

}  // namespace
}  // namespace causeway
