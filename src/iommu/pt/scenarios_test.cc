// The numbered scenarios of the page tables, each on the format it speaks of.
#include <gtest/gtest.h>

#include "base/testing/results.h"
#include "iommu/pt/testing/table_memory.h"

namespace causeway::iommu {
namespace {

constexpr uint32_t kAll = kRead | kWrite;
constexpr uint64_t kMap2M = MiB(2);

class PageTableScenario : public ::testing::Test {
 protected:
  uint64_t mapped_ = 0;
  kho::TestMachine machine_;
  TableMemory memory_{machine_};
  uint64_t word(PhysAddr table, unsigned index) { return memory_.pages.virt(table)[index]; }
  // The words on the way to a leaf of `level` at `iova`, from the top.
  uint64_t entry(const IoPageTable& table, Iova iova, unsigned level) {
    IoPageTable::Root root = table.root();
    PhysAddr at = root.top;
    for (unsigned from = root.level;; --from) {
      const uint64_t here = word(at, iova.value() >> (12 + 9 * from) & 511);
      if (from == level) return here;
      at = PhysAddr(here & 0x000f'ffff'ffff'f000);
    }
  }
};

// 1
TEST_F(PageTableScenario, AReadOnlyPageIsItsAddressAndOneBit) {
  auto table = must(make_vtdss({.pages = memory_.pages, .max_vasz_lg2 = 48}));
  const PhysAddr phys{0x1234'5000};
  must(table->map(Iova{0}, phys, KiB(4), kRead, &mapped_));
  EXPECT_EQ(mapped_, KiB(4));
  EXPECT_EQ(entry(*table, Iova{0}, 0), phys.value() | 1);
  EXPECT_EQ(table->iova_to_phys(Iova{0x123}), phys + 0x123);
  EXPECT_FALSE(table->iova_to_phys(Iova{0x1000}));
  EXPECT_EQ(memory_.pages.pages(), 4u);
  EXPECT_EQ(unmap_and_free(*table, memory_.pages, Iova{0}, KiB(4)), KiB(4));
  EXPECT_EQ(memory_.pages.pages(), 4u) << "a table that was not covered as a whole stays";

  must(table->map(Iova{0}, phys, MiB(2) - KiB(4), kAll, &mapped_));
  must(table->map(Iova{MiB(2) - KiB(4)}, phys, KiB(4), kAll, &mapped_));
  Gather gather;
  EXPECT_EQ(table->unmap(Iova{0}, MiB(2), gather), MiB(2));
  EXPECT_EQ(memory_.pages.pages(), 4u) << "nothing is freed before the flush";
  EXPECT_FALSE(gather.freed.empty());
  memory_.pages.free(gather.freed);
  EXPECT_EQ(memory_.pages.pages(), 3u);
}

// 2
TEST_F(PageTableScenario, AccessThatTheFormatHasNotWritesNothing) {
  auto table = must(make_vtdss({.pages = memory_.pages}));
  EXPECT_EQ(error_of(table->map(Iova{0}, PhysAddr{0}, KiB(4), 0, &mapped_)), EINVAL);
  EXPECT_EQ(error_of(table->map(Iova{0}, PhysAddr{0}, KiB(4), kCache, &mapped_)), EINVAL);
  EXPECT_EQ(memory_.pages.pages(), 1u);
  auto writable = must(make_vtdss({.pages = memory_.pages, .features = kForceWriteable}));
  EXPECT_EQ(error_of(writable->map(Iova{0}, PhysAddr{0}, KiB(4), kRead, &mapped_)), EINVAL);
  must(writable->map(Iova{0}, PhysAddr{0}, KiB(4), kAll, &mapped_));
}

// 3
TEST_F(PageTableScenario, NothingIsMappedBeyondTheAddressesOfTheTable) {
  auto table = must(make_vtdss({.pages = memory_.pages, .max_vasz_lg2 = 39}));
  EXPECT_EQ(table->root().level, 2u);
  constexpr uint64_t kEnd = uint64_t{1} << 39;
  EXPECT_EQ(table->info().aperture.end, Iova{kEnd - 1});
  EXPECT_EQ(error_of(table->map(Iova{kEnd}, PhysAddr{0}, KiB(4), kAll, &mapped_)), ERANGE);
  EXPECT_EQ(error_of(table->map(Iova{kEnd - KiB(4)}, PhysAddr{0}, KiB(8), kAll, &mapped_)), ERANGE);
  EXPECT_EQ(mapped_, 0u);
  EXPECT_EQ(error_of(table->map(Iova{~uint64_t{0} - 0xfff}, PhysAddr{0}, KiB(8), kAll, &mapped_)), EOVERFLOW);
  EXPECT_EQ(error_of(table->map(Iova{0}, PhysAddr{(uint64_t{1} << 52) - KiB(4)}, KiB(8), kAll, &mapped_)), ERANGE);
  EXPECT_TRUE(leaves_of(*table).empty());
  must(table->map(Iova{kEnd - KiB(4)}, PhysAddr{0}, KiB(4), kAll, &mapped_));
}

// 4
TEST_F(PageTableScenario, APartOfALargePageTakesAllOfItOrNothing) {
  auto table = must(make_vtdss({.pages = memory_.pages}));
  must(table->map(Iova{kMap2M}, PhysAddr{MiB(4)}, kMap2M, kAll, &mapped_));
  EXPECT_EQ(entry(*table, Iova{kMap2M}, 1), MiB(4) | 0x83);
  EXPECT_EQ(unmap_and_free(*table, memory_.pages, Iova{kMap2M + KiB(4)}, KiB(4)), 0u);
  EXPECT_EQ(unmap_and_free(*table, memory_.pages, Iova{kMap2M}, KiB(4)), kMap2M);
  EXPECT_FALSE(table->iova_to_phys(Iova{kMap2M}));
}

// 5
TEST_F(PageTableScenario, ALargePageTakesThePlaceOfAnEmptyTableAlone) {
  uint64_t flushed = 0;
  bool waited = false;
  PageTableOptions options{.pages = memory_.pages};
  options.hooks.sync = [&](Gather& gather) {
    ++flushed;
    waited = !gather.freed.empty() && memory_.pages.pages() == 4;
    EXPECT_EQ(gather.start, Iova{MiB(2)});
    EXPECT_EQ(gather.end, Iova{MiB(4) - 1});
  };
  auto table = must(make_vtdss(options));
  must(table->map(Iova{MiB(2)}, PhysAddr{MiB(4)}, MiB(2), kAll, &mapped_));
  EXPECT_EQ(error_of(table->map(Iova{0}, PhysAddr{0}, GiB(1), kAll, &mapped_)), EADDRINUSE);
  EXPECT_EQ(mapped_, 0u);
  EXPECT_EQ(unmap_and_free(*table, memory_.pages, Iova{MiB(2)}, MiB(2)), MiB(2));

  must(table->map(Iova{MiB(2)}, PhysAddr{0x1000}, MiB(1), kAll, &mapped_));
  EXPECT_EQ(error_of(table->map(Iova{MiB(2)}, PhysAddr{MiB(4)}, MiB(2), kAll, &mapped_)), EADDRINUSE);
  EXPECT_EQ(unmap_and_free(*table, memory_.pages, Iova{MiB(2)}, MiB(1)), MiB(1));
  EXPECT_EQ(flushed, 0u);
  must(table->map(Iova{MiB(2)}, PhysAddr{MiB(4)}, MiB(2), kAll, &mapped_));
  EXPECT_EQ(flushed, 1u);
  EXPECT_TRUE(waited) << "the table was freed before the flush";
  EXPECT_EQ(memory_.pages.pages(), 3u);
  EXPECT_EQ(table->iova_to_phys(Iova{MiB(3)}), PhysAddr{MiB(5)});
}

// 6
TEST_F(PageTableScenario, AddressesAreSignExtended) {
  auto table = must(make_x86_64({.pages = memory_.pages, .max_vasz_lg2 = 48, .features = kSignExtend}));
  EXPECT_EQ(table->root().level, 3u);
  must(table->map(Iova{0x7fff'ffff'f000}, PhysAddr{0x1000}, KiB(4), kAll, &mapped_));
  EXPECT_EQ(error_of(table->map(Iova{0x8000'0000'0000}, PhysAddr{0x1000}, KiB(4), kAll, &mapped_)), ERANGE);
  EXPECT_EQ(error_of(table->map(Iova{0x7fff'ffff'f000}, PhysAddr{0x1000}, KiB(8), kAll, &mapped_)), ERANGE);
  must(table->map(Iova{0xffff'8000'0000'0000}, PhysAddr{0x2000}, KiB(4), kAll, &mapped_));
  must(table->map(Iova{~uint64_t{0} - 0xfff}, PhysAddr{0x3000}, KiB(4), kAll, &mapped_));
  EXPECT_EQ(table->iova_to_phys(Iova{~uint64_t{0}}), PhysAddr{0x3fff});
  std::vector<IoPageTable::Leaf> leaves = leaves_of(*table);
  ASSERT_EQ(leaves.size(), 3u);
  EXPECT_EQ(leaves[1].iova, Iova{0xffff'8000'0000'0000});
}

// 7
TEST_F(PageTableScenario, TheFirstStageIsWrittenAsTheHardwareWouldHave) {
  auto table = must(make_x86_64({.pages = memory_.pages, .max_vasz_lg2 = 48, .features = kSignExtend}));
  must(table->map(Iova{0}, PhysAddr{0x5000}, KiB(4), kAll, &mapped_));
  must(table->map(Iova{0x1000}, PhysAddr{0x6000}, KiB(4), kRead, &mapped_));
  EXPECT_EQ(entry(*table, Iova{0}, 0), 0x5067u);       // P, RW, U, A, D
  EXPECT_EQ(entry(*table, Iova{0x1000}, 0), 0x6025u);  // P, U, A
  Gather gather;
  EXPECT_EQ(error_of(table->read_and_clear_dirty(Iova{0}, KiB(8), DirtyClear::kYes, nullptr, gather)), EOPNOTSUPP);
}

// 14
TEST_F(PageTableScenario, AMixedRangeHasAsFewLeavesAsItCan) {
  auto second = must(make_vtdss({.pages = memory_.pages}));
  auto first = must(make_x86_64({.pages = memory_.pages, .max_vasz_lg2 = 48}));
  constexpr uint64_t kFrom = 0x3'fe40'0000, kTo = 0x4'c060'0000;
  for (IoPageTable* table : {second.get(), first.get()}) {
    must(table->map(Iova{kFrom}, PhysAddr{kFrom}, kTo - kFrom, kAll, &mapped_));
    EXPECT_EQ(leaves_of(*table).size(), 20u);
    EXPECT_EQ(table->iova_to_phys(Iova{0x4'1234'5678}), PhysAddr{0x4'1234'5678});
    EXPECT_EQ(unmap_and_free(*table, memory_.pages, Iova{kFrom}, kTo - kFrom), kTo - kFrom);
  }
}

}  // namespace
}  // namespace causeway::iommu
