#include "iommu/vtd/descriptors.h"

#include <gtest/gtest.h>

#include <random>

namespace causeway::iommu::vtd {
namespace {

using namespace hw::vtd;

TEST(Cover, IsTheSmallestAlignedPowerOfTwo) {
  struct Case {
    uint64_t from, bytes, base;
    unsigned order;
  };
  for (const Case& c : {Case{0x1000, 0x1000, 0x1000, 0},            // one page
                        Case{0x1000, 1, 0x1000, 0},                 // part of one
                        Case{0x1000, 0x2000, 0, 2},                 // pages 1 and 2 are in the block of 4
                        Case{0x200000, MiB(2), 0x200000, 9},        // exactly
                        Case{0x1ff000, 0x2000, 0, 10},              // across a 2 MiB border
                        Case{0x7fff'f000, 0x2000, 0, 20},           // across a high one
                        Case{GiB(4), GiB(1), GiB(4), 18}}) {
    Cover found = cover(Iova(c.from), c.bytes);
    EXPECT_EQ(found.base.value(), c.base) << std::hex << c.from;
    EXPECT_EQ(found.order, c.order) << std::hex << c.from;
  }
  EXPECT_EQ(cover(Iova(0), ~uint64_t{0}).order, 52u);
  EXPECT_EQ(cover(Iova(~uint64_t{0xfff}), KiB(64)).order, 52u);  // wraps
}

TEST(Cover, HoldsTheRangeAndHalfOfItDoesNot) {
  std::mt19937_64 random(1);
  for (int i = 0; i < 10000; ++i) {
    uint64_t first = random() >> (16 + random() % 40) << 12 >> 8 << 8 & kPageMask;
    uint64_t bytes = ((random() >> (30 + random() % 30)) + 1) << 12;
    Cover found = cover(Iova(first), bytes);
    uint64_t size = kPageSize << found.order;
    ASSERT_TRUE(is_aligned(found.base.value(), size));
    ASSERT_LE(found.base.value(), first);
    ASSERT_GE(found.base.value() + (size - 1), first + bytes - 1);
    if (found.order == 0) continue;
    uint64_t half = found.base.value() + size / 2;
    ASSERT_TRUE(first < half && first + bytes > half) << "a smaller block would have done";
  }
}

// VT-d 6.5.2.5: the range's size is in the address.
TEST(Descriptors, TheSizeOfADeviceTlbRangeIsItsLowestZeroBit) {
  Bdf bdf(0, 3, 0);
  EXPECT_EQ(device_tlb(bdf, 32, cover(Iova{0x5000}, 0x1000)).w[1], 0x5000u);
  EXPECT_EQ(device_tlb(bdf, 32, cover(Iova{0x4000}, 0x2000)).w[1], 0x4000u | 1);
  EXPECT_EQ(device_tlb(bdf, 32, cover(Iova{0x200000}, MiB(2))).w[1], 0x2ff000u | 1);
  EXPECT_EQ(device_tlb(bdf, 32, kEverything).w[1], 0x7fff'ffff'ffff'f001u);
  EXPECT_EQ(pasid_device_tlb(bdf, 7, 32, cover(Iova{0x4000}, 0x2000)).w[1], 0x4000u | 0x800);
  EXPECT_EQ(pasid_device_tlb(bdf, 7, 32, kEverything).w[1], 0x7fff'ffff'ffff'f800u);
}

TEST(Descriptors, NameTheDeviceWhoseTlbTheyAreFor) {
  Bdf named;
  EXPECT_TRUE(names_device(device_tlb(Bdf(1, 2, 3), 0, kEverything), &named));
  EXPECT_EQ(named, Bdf(1, 2, 3));
  EXPECT_TRUE(names_device(pasid_device_tlb(Bdf(4, 5, 6), 9, 0, kEverything), &named));
  EXPECT_EQ(named, Bdf(4, 5, 6));
  EXPECT_FALSE(names_device(context_device(DomainId{2}, Bdf(1, 2, 3)), &named));
  EXPECT_FALSE(names_device(iotlb_global(true, true), &named));
}

TEST(Descriptors, HaveTheirFieldsWhereTheManualSays) {
  EXPECT_EQ(context_global().w[0], 0x11u);
  EXPECT_EQ(context_domain(DomainId{0x1234}).w[0], 0x1234'0021u);
  EXPECT_EQ(context_device(DomainId{2}, Bdf(0, 3, 1), 2).w[0], 0x2'0019'0002'0031u);
  EXPECT_EQ(iotlb_global(false, false).w[0], 0x12u);
  EXPECT_EQ(iotlb_domain(DomainId{5}, true, true).w[0], 0x5'00e2u);
  auto pages = iotlb_pages(DomainId{5}, cover(Iova{0x200000}, MiB(2)), Hint::kLeafOnly, false, true);
  EXPECT_EQ(pages.w[0], 0x5'0072u);
  EXPECT_EQ(pages.w[1], 0x200000u | 0x40 | 9);
  EXPECT_EQ(iotlb_pages(DomainId{5}, cover(Iova{0}, 1), Hint::kTablesToo, false, false).w[1], 0u);
  EXPECT_EQ(pasid_cache_global().w[0], 0x37u);
  EXPECT_EQ(pasid_cache_domain(DomainId{3}).w[0], 0x3'0007u);
  EXPECT_EQ(pasid_cache_pasid(DomainId{3}, 0xabcde).w[0], 0xabcde'0003'0017u);
  EXPECT_EQ(pasid_iotlb_all(DomainId{3}, 1).w[0], 0x1'0003'0026u);
  EXPECT_EQ(pasid_iotlb_pages(DomainId{3}, 1, cover(Iova{0x1000}, 1), Hint::kTablesToo).w[0], 0x1'0003'0036u);
  EXPECT_EQ(wait_for_status(PhysAddr{0x9000}, 2).w[0], 0x2'0000'0025u);
  EXPECT_EQ(wait_for_status(PhysAddr{0x9000}, 2).w[1], 0x9000u);
  EXPECT_EQ(fence(true).w[0], 0xc5u);
  EXPECT_EQ(page_response(Bdf(0, 3, 1), 4, true, 5, kResponseInvalid).w[0], 0x4'0019'1019u);
  EXPECT_EQ(page_response(Bdf(0, 3, 1), 4, true, 5, kResponseInvalid).w[1], 0x28u);
}

}  // namespace
}  // namespace causeway::iommu::vtd
