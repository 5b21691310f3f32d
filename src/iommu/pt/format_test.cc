// One entry of every format: what is written is what is read.
#include "iommu/pt/format.h"

#include <gtest/gtest.h>

#include "iommu/pt/amdv1.h"
#include "iommu/pt/vtdss.h"
#include "iommu/pt/x86_64.h"

namespace causeway::iommu::pt {
namespace {

template <typename F>
class FormatTest : public ::testing::Test {
 protected:
  // Calls with every leaf size of every level.
  template <typename Function>
  void for_each_size(Function&& function) {
    for (unsigned level = 0; level <= F::kMaxLevel; ++level)
      for (unsigned lg2 = 0; lg2 < 64; ++lg2)
        if ((F::sizes(level) >> lg2 & 1) != 0) function(level, lg2);
  }
  static constexpr uint64_t kAttributes = F::attributes(kRead | kWrite, 0);
};
using Formats = ::testing::Types<Vtdss, X86_64, Amdv1, Amdv1Mock>;
TYPED_TEST_SUITE(FormatTest, Formats);

TYPED_TEST(FormatTest, ATableEntryKeepsItsAddress) {
  for (unsigned level = 1; level <= TypeParam::kMaxLevel; ++level) {
    const PhysAddr table{0x1234'5678'9000 & ((uint64_t{1} << TypeParam::kMaxOaLg2) - 1)};
    const uint64_t word = TypeParam::table_entry(table, level);
    EXPECT_EQ(TypeParam::kind(word, level), EntryKind::kTable);
    EXPECT_EQ(TypeParam::table_of(word), table);
    EXPECT_TRUE(TypeParam::sound(word, level));
    EXPECT_EQ(TypeParam::kind(0, level), EntryKind::kEmpty);
    const uint64_t flushed = word | TypeParam::kFlushedMask;
    EXPECT_EQ(TypeParam::table_of(flushed), table);
    EXPECT_EQ(TypeParam::kind(flushed, level), EntryKind::kTable);
    EXPECT_TRUE(TypeParam::sound(flushed, level));
    EXPECT_EQ(word & TypeParam::kFlushedMask, 0u);
  }
}

TYPED_TEST(FormatTest, LeafSizesStayInsideOfATable) {
  uint64_t all = 0;
  for (unsigned level = 0; level <= TypeParam::kMaxLevel; ++level) {
    const uint64_t sizes = TypeParam::sizes(level);
    if (sizes == 0) continue;
    EXPECT_EQ(all & sizes, 0u) << "a size of two levels";
    all |= sizes;
    const uint64_t item = uint64_t{1} << item_lg2<TypeParam>(level);
    EXPECT_EQ(sizes & (item - 1), 0u);
    EXPECT_LT(sizes, item << kItemsLg2);
    if (TypeParam::kGranuleLg2 == 12 && level == 3 && TypeParam::kContiguous) {
      EXPECT_EQ(sizes, 0xff00'0000'0000u);
    } else {
      EXPECT_NE(sizes & item, 0u);
    }
  }
  EXPECT_EQ(all & GiB(512), 0u);
}

TYPED_TEST(FormatTest, ALeafKeepsItsAddressAndSize) {
  this->for_each_size([&](unsigned level, unsigned lg2) {
    const uint64_t limit = (uint64_t{1} << TypeParam::kMaxOaLg2) - 1;
    for (uint64_t oa : {uint64_t{0x74a7'1445'dead'beef}, uint64_t{0}, ~uint64_t{0}}) {
      const PhysAddr phys(oa & limit & ~((uint64_t{1} << lg2) - 1));
      const uint64_t word = TypeParam::leaf(this->kAttributes, phys, level, lg2);
      EXPECT_EQ(TypeParam::kind(word, level), EntryKind::kLeaf);
      EXPECT_EQ(TypeParam::leaf_phys(word, level), phys) << "level " << level << ", 2^" << lg2;
      EXPECT_EQ(TypeParam::leaf_lg2(word, level), lg2);
      EXPECT_TRUE(TypeParam::sound(word, level)) << "level " << level << ", 2^" << lg2;
    }
  });
}

TYPED_TEST(FormatTest, AttributesComeBackFromAnEntry) {
  unsigned accepted = 0;
  for (uint32_t prot = 0; prot < 64; ++prot) {
    for (uint32_t features : {uint32_t{0}, uint32_t{kForceCoherence}}) {
      const uint64_t attributes = TypeParam::attributes(prot, features);
      if (attributes == 0) {
        EXPECT_EQ(prot & (kRead | kWrite), 0u);
        continue;
      }
      ++accepted;
      this->for_each_size([&](unsigned level, unsigned lg2) {
        const uint64_t word = TypeParam::leaf(attributes, PhysAddr(0), level, lg2);
        const uint64_t again = TypeParam::leaf(TypeParam::attributes_of(word), PhysAddr(0), level, lg2);
        EXPECT_EQ(word, again);
        EXPECT_EQ(TypeParam::prot(word) & kWrite, prot & kWrite);
        EXPECT_EQ(TypeParam::writable(word), (prot & kWrite) != 0);
        EXPECT_TRUE((TypeParam::prot(word) & kRead) != 0 || (prot & kRead) == 0);
      });
    }
  }
  EXPECT_GT(accepted, 0u);
}

TYPED_TEST(FormatTest, DirtyChangesNothingElse) {
  // Written beforehand, or by the hardware.
  EXPECT_EQ((this->kAttributes & TypeParam::kDirtyMask) == 0, TypeParam::kDirty);
  this->for_each_size([&](unsigned level, unsigned lg2) {
    const PhysAddr phys(uint64_t{1} << lg2 & ((uint64_t{1} << TypeParam::kMaxOaLg2) - 1));
    const uint64_t clean = TypeParam::leaf(this->kAttributes, phys, level, lg2);
    const uint64_t dirty = clean | TypeParam::kDirtyMask;
    EXPECT_EQ(TypeParam::leaf_phys(dirty, level), phys);
    EXPECT_EQ(TypeParam::leaf_lg2(dirty, level), lg2);
    EXPECT_EQ(TypeParam::attributes_of(dirty), TypeParam::attributes_of(clean));
    EXPECT_TRUE(TypeParam::sound(dirty, level));
  });
}

TEST(FormatTest, ReservedBitsAreNotSound) {
  EXPECT_FALSE(Vtdss::sound(0x1000 | 4 | 3, 0));          // bit 2
  EXPECT_FALSE(Vtdss::sound(0x1000 | 0x800, 0));          // snooped, but no access
  EXPECT_FALSE(Vtdss::sound(0x1000 | 3 | 0x80, 3));       // a leaf where there is none
  EXPECT_FALSE(Vtdss::sound(0x1000 | 3 | 0x80, 1));       // 2 MiB, not aligned
  EXPECT_FALSE(X86_64::sound(0x1000 | 0x23, 1));          // not for users
  EXPECT_FALSE(X86_64::sound(0x1000 | 0x125, 0));         // global
  EXPECT_FALSE(Amdv1::sound(0x1000 | 1 | 3 << 9, 2));     // a table of a level that is not the next
  EXPECT_FALSE(Amdv1::sound(uint64_t{1} << 52 | 1, 0));
}

}  // namespace
}  // namespace causeway::iommu::pt
