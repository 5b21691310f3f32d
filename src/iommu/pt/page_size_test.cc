#include "iommu/pt/page_size.h"

#include <gtest/gtest.h>

#include <random>

#include "base/types.h"

namespace causeway::iommu::pt {
namespace {

constexpr uint64_t kMax = ~uint64_t{0};

uint64_t by_trial(uint64_t sizes, uint64_t va, uint64_t last, uint64_t oa) {
  for (unsigned lg2 = 64; lg2-- > 0;) {
    const uint64_t size = uint64_t{1} << lg2;
    if ((sizes & size) != 0 && ((va | oa) & (size - 1)) == 0 && size - 1 <= last - va) return size;
  }
  return 0;
}

TEST(BestPageSize, IsWhatATrialOfAllSizesFinds) {
  std::mt19937_64 random(7);
  unsigned none = 0;
  for (unsigned i = 0; i < 20'000; ++i) {
    const uint64_t sizes = random() & (i % 3 == 0 ? kMax : random());
    const uint64_t va = random() << random() % 64;
    const uint64_t oa = random() << random() % 64;
    const uint64_t last = va + (random() >> random() % 64) % ((kMax - va) | 1);
    ASSERT_EQ(best_pgsize(sizes, va, last, oa), by_trial(sizes, va, last, oa)) << "seed 7, round " << i;
    none += by_trial(sizes, va, last, oa) == 0;
  }
  EXPECT_GT(none, 0u);
}

TEST(BestPageSize, HasNoLimitsOfItsOwn) {
  EXPECT_EQ(best_pgsize(0, 0, kMax, 0), 0u);
  EXPECT_EQ(best_pgsize(kMax, 0, kMax, 0), uint64_t{1} << 63);
  EXPECT_EQ(best_pgsize(kMax, kMax - 0xfff, kMax, 0), 0x1000u);
  EXPECT_EQ(best_pgsize(kMax, uint64_t{1} << 63, kMax, 0), uint64_t{1} << 63);
  EXPECT_EQ(best_pgsize(KiB(4) | GiB(8), GiB(8), GiB(16) - 1, GiB(24)), GiB(8));
  EXPECT_EQ(best_pgsize(KiB(4), 0x1800, kMax, 0), 0u);
}

TEST(PageSizeCount, EndsWhereALargerPageFitsOrTheRangeEnds) {
  EXPECT_EQ(pgsz_count(KiB(4), 0, GiB(1) - 1, 0, 12), 262144u);
  EXPECT_EQ(pgsz_count(KiB(4) | MiB(2), KiB(4), GiB(1) - 1, KiB(4), 12), 511u);
  // They will never be aligned together.
  EXPECT_EQ(pgsz_count(KiB(4) | MiB(2), KiB(4), GiB(1) - 1, KiB(8), 12), 262143u);
  EXPECT_EQ(pgsz_count(KiB(4) | MiB(2), KiB(4), KiB(16) - 1, KiB(4), 12), 3u);
  EXPECT_EQ(pgsz_count(KiB(4), kMax - 0x1fff, kMax, 0, 12), 2u);
}

}  // namespace
}  // namespace causeway::iommu::pt
