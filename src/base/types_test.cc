#include "base/types.h"

#include <gtest/gtest.h>

#include <limits>
#include <type_traits>
#include <unordered_set>

namespace causeway {
namespace {

constexpr uint64_t kMax = std::numeric_limits<uint64_t>::max();

TEST(Align, RoundsToPowersOfTwo) {
  EXPECT_EQ(align_down(0x1fff, 0x1000), 0x1000u);
  EXPECT_EQ(align_up(0x1001, 0x1000), 0x2000u);
  EXPECT_EQ(align_up(0x1000, 0x1000), 0x1000u);
  EXPECT_EQ(align_up(0, 0x1000), 0u);
  EXPECT_TRUE(is_aligned(0x3000, 0x1000));
  EXPECT_FALSE(is_aligned(0x3008, 0x1000));
}

TEST(Align, ZeroIsNoPowerOfTwo) {
  EXPECT_FALSE(is_power_of_two(0));
  EXPECT_TRUE(is_power_of_two(1));
  EXPECT_FALSE(is_power_of_two(12));
}

TEST(PagesFor, RoundsUpWithoutOverflow) {
  EXPECT_EQ(pages_for(0), 0u);
  EXPECT_EQ(pages_for(1), 1u);
  EXPECT_EQ(pages_for(kPageSize), 1u);
  EXPECT_EQ(pages_for(kPageSize + 1), 2u);
  EXPECT_EQ(pages_for(kMax), uint64_t{1} << 52);
}

TEST(CheckedAdd, RefusesASumThatDoesNotFit) {
  uint64_t sum = 7;
  EXPECT_TRUE(checked_add(kMax - 1, 1, &sum));
  EXPECT_EQ(sum, kMax);
  EXPECT_FALSE(checked_add(kMax, 1, &sum));
}

TEST(Address, SpacesDoNotMix) {
  static_assert(!std::is_convertible_v<PhysAddr, DmaAddr>);
  static_assert(!std::is_constructible_v<Iova, PhysAddr>);
  static_assert(!std::is_convertible_v<uint64_t, PhysAddr>);
  static_assert(!std::is_convertible_v<PhysAddr, uint64_t>);
  SUCCEED();
}

TEST(Address, ArithmeticIsInBytes) {
  PhysAddr base{0x100000};
  EXPECT_EQ((base + 0x10).value(), 0x100010u);
  EXPECT_EQ((base - 0x10).value(), 0xffff0u);
  EXPECT_EQ((base + 0x30) - base, 0x30u);
  base += kPageSize;
  EXPECT_EQ(base, PhysAddr{0x101000});
  EXPECT_LT(PhysAddr{1}, PhysAddr{2});
}

TEST(Address, AlignsAndTellsItsPageOffset) {
  Iova address{0x12345};
  EXPECT_EQ(address.page_offset(), 0x345u);
  EXPECT_EQ(address.aligned_down(kPageSize), Iova{0x12000});
  EXPECT_EQ(address.aligned_up(kPageSize), Iova{0x13000});
  EXPECT_TRUE(Iova{0x2000}.is_aligned(kPageSize));
  EXPECT_FALSE(address.is_aligned(2));
}

TEST(Order, CoveringIsGetOrder) {
  EXPECT_EQ(Order::covering(1), kOrder0);
  EXPECT_EQ(Order::covering(kPageSize), kOrder0);
  EXPECT_EQ(Order::covering(kPageSize + 1), Order{1});
  EXPECT_EQ(Order::covering(20 * 1024), Order{3});
  EXPECT_EQ(Order::covering(MiB(4)), Order{10});
  EXPECT_EQ(Order::covering(MiB(4) + 1), Order{11});
}

TEST(Order, CountsPagesAndBytes) {
  EXPECT_EQ(Order{9}.pages(), 512u);
  EXPECT_EQ(Order{9}.bytes(), MiB(2));
}

TEST(Pfn, ConvertsToAndFromAddresses) {
  EXPECT_EQ(Pfn::containing(PhysAddr{0x1fff}), Pfn{1});
  EXPECT_EQ(Pfn{0x100}.address(), PhysAddr{0x100000});
  EXPECT_TRUE(Pfn{16}.is_aligned(Order{4}));
  EXPECT_FALSE(Pfn{8}.is_aligned(Order{4}));
}

TEST(Pfn, CountsInPages) {
  Pfn pfn{10};
  EXPECT_EQ(pfn + 5, Pfn{15});
  EXPECT_EQ(pfn - 5, Pfn{5});
  EXPECT_EQ(Pfn{15} - pfn, 5u);
  EXPECT_EQ(++pfn, Pfn{11});
}

TEST(PfnRange, IsHalfOpen) {
  PfnRange range{Pfn{4}, Pfn{8}};
  EXPECT_EQ(range.pages(), 4u);
  EXPECT_EQ(range.bytes(), 4 * kPageSize);
  EXPECT_TRUE(range.contains(Pfn{4}));
  EXPECT_TRUE(range.contains(Pfn{7}));
  EXPECT_FALSE(range.contains(Pfn{8}));
  EXPECT_TRUE((PfnRange{Pfn{8}, Pfn{8}}).empty());
}

TEST(PfnRange, NeighboursDoNotOverlap) {
  PfnRange range{Pfn{4}, Pfn{8}};
  EXPECT_FALSE(range.overlaps({Pfn{8}, Pfn{12}}));
  EXPECT_FALSE(range.overlaps({Pfn{0}, Pfn{4}}));
  EXPECT_TRUE(range.overlaps({Pfn{7}, Pfn{9}}));
  EXPECT_TRUE(range.overlaps({Pfn{0}, Pfn{100}}));
}

TEST(Bdf, PacksBusDeviceFunction) {
  Bdf bdf(0x3a, 0x1f, 7);
  EXPECT_EQ(bdf.value(), 0x3aff);
  EXPECT_EQ(bdf.bus(), 0x3au);
  EXPECT_EQ(bdf.device(), 0x1fu);
  EXPECT_EQ(bdf.function(), 7u);
}

TEST(Types, FormatAsPeopleWriteThem) {
  EXPECT_EQ(fmt::format("{}", PhysAddr{0x1000}), "0x1000");
  EXPECT_EQ(fmt::format("{}", Pfn{0x1f}), "pfn 0x1f");
  EXPECT_EQ(fmt::format("{}", Order{9}), "9");
  EXPECT_EQ(fmt::format("{}", Bdf(0, 4, 1)), "00:04.1");
}

TEST(Types, CanBeHashed) {
  std::unordered_set<Pfn> pfns{Pfn{1}, Pfn{1}, Pfn{2}};
  EXPECT_EQ(pfns.size(), 2u);
  std::unordered_set<PhysAddr> addresses{PhysAddr{1}, PhysAddr{2}};
  EXPECT_EQ(addresses.size(), 2u);
  std::unordered_set<Bdf> functions{Bdf{1}, Bdf{1}};
  EXPECT_EQ(functions.size(), 1u);
}

TEST(DmaMappingError, IsAllOnes) { EXPECT_EQ(kDmaMappingError.value(), kMax); }

#ifndef NDEBUG
TEST(AddressDeathTest, ArithmeticThatWrapsAborts) {
  EXPECT_DEATH((void)(PhysAddr{kMax} + 1), "");
  EXPECT_DEATH((void)(PhysAddr{1} - 2), "");
  EXPECT_DEATH((void)(PhysAddr{1} - PhysAddr{2}), "");
}
#endif

}  // namespace
}  // namespace causeway
