// Every format in every configuration: mapping and unmapping.
#include "iommu/pt/page_table.h"

#include <gtest/gtest.h>

#include <map>
#include <random>

#include "base/testing/results.h"
#include "iommu/pt/testing/configurations.h"
#include "iommu/pt/testing/table_memory.h"

namespace causeway::iommu {
namespace {

constexpr uint32_t kAll = kRead | kWrite;

template <typename Config>
class PageTableTest : public ::testing::Test {
 protected:
  using F = typename Config::Format;
  static constexpr uint64_t kGranule = uint64_t{1} << F::kGranuleLg2;
  uint64_t unmap(uint64_t iova, uint64_t size) { return unmap_and_free(*table_, memory_.pages, Iova{iova}, size); }
  Status map(uint64_t iova, uint64_t phys, uint64_t size) {
    return table_->map(Iova{iova}, PhysAddr{phys}, size, kAll, &mapped_);
  }
  std::vector<uint64_t> sizes() const {
    std::vector<uint64_t> sizes;
    for (uint64_t left = table_->info().page_sizes; left != 0; left &= left - 1) sizes.push_back(left & (~left + 1));
    return sizes;
  }

  kho::TestMachine machine_;
  TableMemory memory_{machine_};
  std::unique_ptr<IoPageTable> table_ = must(Config::make(memory_.pages));
  uint64_t mapped_ = 0;
};
TYPED_TEST_SUITE(PageTableTest, Configurations);

TYPED_TEST(PageTableTest, HasPageSizesAndAnAperture) {
  const IoPageTable::Info info = this->table_->info();
  EXPECT_EQ(info.page_sizes & (~info.page_sizes + 1), this->kGranule);
  EXPECT_EQ(info.page_sizes >> (TypeParam::kVaszLg2 - 1), 0u) << "no page is as large as half of the addresses";
  const unsigned bits = TypeParam::kVaszLg2 - (TypeParam::kSigned ? 1 : 0);
  EXPECT_EQ(info.aperture.end.value(), ~uint64_t{0} >> (64 - bits));
  EXPECT_STREQ(this->table_->format(), TypeParam::Format::kName);
  EXPECT_EQ(this->memory_.pages.pages(), 1u);
}

TYPED_TEST(PageTableTest, EveryLevelDecodesItsBitsUpToTheLast) {
  const uint64_t last = this->table_->info().aperture.end.value();
  for (unsigned lg2 = TypeParam::Format::kGranuleLg2; lg2 < 64 && last >> lg2 != 0; ++lg2) {
    const uint64_t at = uint64_t{1} << lg2;
    must(this->map(at, this->kGranule, this->kGranule));
    EXPECT_EQ(leaves_of(*this->table_).size(), 1u);
    EXPECT_EQ(leaves_of(*this->table_)[0].iova, Iova{at});
    EXPECT_FALSE(this->table_->iova_to_phys(Iova{0}));
    EXPECT_EQ(this->unmap(at, this->kGranule), this->kGranule);
  }
  must(this->map(last - this->kGranule + 1, 0, this->kGranule));
  if (last != ~uint64_t{0}) {
    EXPECT_EQ(error_of(this->map(last + 1, 0, this->kGranule)), ERANGE);
  }
  EXPECT_EQ(this->unmap(last - this->kGranule + 1, this->kGranule), this->kGranule);
}

TYPED_TEST(PageTableTest, OneLeafOfEverySize) {
  for (uint64_t size : this->sizes()) {
    const uint64_t oa = size;  // aligned to no more
    if (oa + size - 1 >= uint64_t{1} << TypeParam::Format::kMaxOaLg2) continue;
    must(this->map(size, oa, size));
    EXPECT_EQ(this->mapped_, size);
    std::vector<IoPageTable::Leaf> leaves = leaves_of(*this->table_);
    ASSERT_EQ(leaves.size(), 1u);
    EXPECT_EQ(leaves[0].size, size);
    const uint64_t step = std::max(this->kGranule, size / 64);
    for (uint64_t at = 0; at < size; at += step)
      ASSERT_EQ(this->table_->iova_to_phys(Iova{size + at + 5}), PhysAddr{oa + at + 5});
    EXPECT_FALSE(this->table_->iova_to_phys(Iova{size - 1}));
    EXPECT_FALSE(this->table_->iova_to_phys(Iova{2 * size}));
    EXPECT_EQ(error_of(this->map(2 * size - this->kGranule, 0, this->kGranule)), EADDRINUSE);
    EXPECT_EQ(this->unmap(size, size), size);
    EXPECT_TRUE(leaves_of(*this->table_).empty());
  }
}

TYPED_TEST(PageTableTest, ALargerPageComesWhereSmallerOnesWere) {
  std::vector<uint64_t> sizes = this->sizes();
  for (size_t i = 0; i + 1 < sizes.size(); ++i) {
    const uint64_t small = sizes[i], large = sizes[i + 1];
    if (large > GiB(16) || large / small > 512) continue;
    // Addresses that do not let them be larger.
    for (uint64_t at = large; at < 2 * large; at += small) must(this->map(at, small, small));
    EXPECT_EQ(this->unmap(large, large / 2), large / 2);
    for (uint64_t at = large + large / 2; at < 2 * large; at += small) ASSERT_EQ(this->unmap(at, small), small);
    must(this->map(large, large, large));
    EXPECT_EQ(leaves_of(*this->table_).size(), 1u);
    EXPECT_EQ(this->unmap(large, large), large);
  }
}

TYPED_TEST(PageTableTest, APartOfALeafTakesTheWholeAndNoNeighbour) {
  std::vector<uint64_t> sizes = this->sizes();
  for (size_t i = 1; i < sizes.size(); ++i) {
    const uint64_t size = sizes[i];
    if (2 * size > this->table_->info().aperture.end.value() / 2) continue;
    if (3 * size > uint64_t{1} << TypeParam::Format::kMaxOaLg2) continue;
    must(this->map(size, 0, size));
    must(this->map(2 * size, size, size));
    EXPECT_EQ(this->unmap(size, sizes[i - 1]), size);
    EXPECT_EQ(this->table_->iova_to_phys(Iova{2 * size}), PhysAddr{size});
    EXPECT_EQ(this->unmap(2 * size + this->kGranule, this->kGranule), 0u);
    EXPECT_EQ(this->unmap(2 * size, this->kGranule), size);
  }
}

TYPED_TEST(PageTableTest, RandomRangesHoldWhatWasMapped) {
  std::mt19937_64 random(3);
  struct Range {
    uint64_t size, phys;
  };
  std::map<uint64_t, Range> ranges;
  std::vector<uint64_t> bases = {0};
  if (TypeParam::kSigned) bases.push_back(~((uint64_t{1} << (TypeParam::kVaszLg2 - 1)) - 1));
  unsigned refused = 0;
  for (unsigned i = 0; i < 1000; ++i) {
    const uint64_t size = align_up((random() % GiB(1)) >> random() % 30 | 1, this->kGranule);
    const uint64_t at = bases[i % bases.size()] + align_down(random() % (GiB(1) - size + 1), this->kGranule);
    // Half of them so that large pages fit.
    const uint64_t phys = i % 2 == 0 ? GiB(4) + (at & (GiB(1) - 1)) : align_down(random() % GiB(64), this->kGranule);
    auto next = ranges.lower_bound(at);
    const bool overlaps = (next != ranges.end() && next->first - at < size) ||
                          (next != ranges.begin() && at - std::prev(next)->first < std::prev(next)->second.size);
    Status mapped = this->map(at, phys, size);
    ASSERT_EQ(error_of(mapped), overlaps ? EADDRINUSE : 0) << "seed 3, round " << i;
    if (overlaps) {
      ++refused;
      ASSERT_LT(this->mapped_, size);
      ASSERT_EQ(this->mapped_ == 0 ? 0 : this->unmap(at, this->mapped_), this->mapped_);
    } else {
      ranges[at] = {size, phys};
    }
  }
  EXPECT_GT(refused, 0u);
  uint64_t mapped = 0, found = 0;
  for (const auto& [at, range] : ranges) {
    mapped += range.size;
    for (unsigned i = 0; i < 20; ++i) {
      const uint64_t offset = random() % range.size;
      ASSERT_EQ(this->table_->iova_to_phys(Iova{at + offset}), PhysAddr{range.phys + offset});
    }
    ASSERT_EQ(this->table_->iova_to_phys(Iova{at + (range.size - 1)}), PhysAddr{range.phys + range.size - 1});
  }
  for (const IoPageTable::Leaf& leaf : leaves_of(*this->table_)) found += leaf.size;
  EXPECT_EQ(found, mapped);
  for (const auto& [at, range] : ranges) ASSERT_EQ(this->unmap(at, range.size), range.size);
  EXPECT_TRUE(leaves_of(*this->table_).empty());
}

TYPED_TEST(PageTableTest, TheLastPageOfARangeLimitsItsSize) {
  must(this->map(0xfef8'0000, 0x20'8b95'd000, 0x2'0000));
  EXPECT_EQ(this->table_->iova_to_phys(Iova{0xfef9'ffff}), PhysAddr{0x20'8b97'cfff});
  EXPECT_FALSE(this->table_->iova_to_phys(Iova{0xfefa'0000}));
  EXPECT_EQ(this->unmap(0xfef8'0000, 0x2'0000), 0x2'0000u);
}

TYPED_TEST(PageTableTest, AMixedRangeComesBackAsItIs) {
  constexpr uint64_t kFrom = 0x3'fe40'0000, kSize = 0x4'c060'0000 - kFrom;
  must(this->map(kFrom, kFrom, kSize));
  uint64_t next = kFrom;
  for (const IoPageTable::Leaf& leaf : leaves_of(*this->table_)) {
    EXPECT_EQ(leaf.iova.value(), next);
    EXPECT_EQ(leaf.phys.value(), next);
    next += leaf.size;
  }
  EXPECT_EQ(next, kFrom + kSize);
  EXPECT_EQ(this->unmap(kFrom, kSize), kSize);
}

TYPED_TEST(PageTableTest, RefusesWhatItCannotDo) {
  EXPECT_EQ(error_of(this->map(this->kGranule / 2, 0, this->kGranule)), ENXIO);
  EXPECT_EQ(error_of(this->map(0, this->kGranule / 2, this->kGranule)), ENXIO);
  EXPECT_EQ(error_of(this->map(0, 0, this->kGranule / 2)), ENXIO);
  EXPECT_EQ(error_of(this->map(0, 0, 0)), EINVAL);
  EXPECT_EQ(error_of(this->map(~uint64_t{0} - this->kGranule + 1, 0, 2 * this->kGranule)), EOVERFLOW);
  EXPECT_EQ(error_of(this->map(0, (uint64_t{1} << TypeParam::Format::kMaxOaLg2) - this->kGranule, 2 * this->kGranule)),
            ERANGE);
  EXPECT_EQ(this->unmap(0, this->kGranule), 0u);
  PageTableOptions options = TypeParam::options(this->memory_.pages);
  options.features = kDetailedGather;
  EXPECT_EQ(error_of(TypeParam::make(options)), EOPNOTSUPP);
  options.features = TypeParam::options(this->memory_.pages).features;
  options.max_vasz_lg2 = TypeParam::Format::kMaxVaLg2 + 1;
  EXPECT_EQ(error_of(TypeParam::make(options)), EOPNOTSUPP);
  options.max_vasz_lg2 = 13;
  EXPECT_EQ(error_of(TypeParam::make(options)), EOPNOTSUPP);
}

TYPED_TEST(PageTableTest, AFailureLeavesWhatWasMappedAndSaysHowMuch) {
  must(this->map(MiB(64), 0, this->kGranule));
  EXPECT_EQ(error_of(this->map(MiB(64) - KiB(64), KiB(4), KiB(128))), EADDRINUSE);
  EXPECT_EQ(this->mapped_, KiB(64));
  EXPECT_EQ(this->unmap(MiB(64) - KiB(64), this->mapped_), this->mapped_);
  if (!has_points()) return;
  FailingStep step("iommu.pt.make_table");
  EXPECT_EQ(error_of(this->map(GiB(8), 0, this->kGranule)), ENOMEM);
  EXPECT_EQ(this->mapped_, 0u);
  EXPECT_EQ(step.hits(), 1u);
}

TYPED_TEST(PageTableTest, LeavesOutSizesThatTheHardwareHasNot) {
  PageTableOptions options = TypeParam::options(this->memory_.pages);
  options.page_sizes = this->kGranule | MiB(2);
  auto table = must(TypeParam::make(options));
  EXPECT_EQ(table->info().page_sizes, this->kGranule | MiB(2));
  uint64_t mapped = 0;
  must(table->map(Iova{GiB(1)}, PhysAddr{GiB(1)}, GiB(1), kAll, &mapped));
  EXPECT_EQ(leaves_of(*table).size(), 512u);
}

}  // namespace
}  // namespace causeway::iommu
