// What AMD's format alone does: leaves of several words, a top that grows; and dirty pages, which VT-d's second stage has
// too.
#include "iommu/pt/amdv1.h"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "base/testing/results.h"
#include "iommu/pt/testing/table_memory.h"

namespace causeway::iommu {
namespace {

constexpr uint32_t kAll = kRead | kWrite;

struct Recorded final : DirtyBitmap {
  void record(Iova iova, uint64_t size) override {
    for (uint64_t at = 0; at < size; at += KiB(4)) pages.push_back(iova + at);
  }
  std::vector<Iova> pages;
};

class Amdv1Table : public ::testing::Test {
 protected:
  std::unique_ptr<IoPageTable> make(uint32_t features, unsigned level, unsigned vasz = 48, IoPageTable::Hooks hooks = {}) {
    return must(make_amdv1({.pages = memory_.pages, .max_vasz_lg2 = vasz, .features = features, .starting_level = level,
                            .hooks = std::move(hooks)}));
  }
  uint64_t* level0(const IoPageTable& table, Iova iova) {
    uint64_t* at = memory_.pages.virt(table.root().top);
    for (unsigned level = table.root().level; level > 0; --level)
      at = memory_.pages.virt(pt::Amdv1::table_of(at[iova.value() >> (12 + 9 * level) & 511]));
    return at + (iova.value() >> 12 & 511);
  }
  uint64_t mapped_ = 0;
  kho::TestMachine machine_;
  TableMemory memory_{machine_};
};

// 8
TEST_F(Amdv1Table, ThirtyTwoKilobytesAreEightEqualWords) {
  auto table = make(0, 2);
  must(table->map(Iova{KiB(32)}, PhysAddr{MiB(1)}, KiB(32), kRead, &mapped_));
  const uint64_t* words = level0(*table, Iova{KiB(32)});
  const uint64_t wanted = MiB(1) | 3 << 12 | 7 << 9 | uint64_t{1} << 61 | 1;
  for (unsigned i = 0; i < 8; ++i) EXPECT_EQ(words[i], wanted) << i;
  EXPECT_EQ(words[8], 0u);
  EXPECT_EQ(table->iova_to_phys(Iova{KiB(60) + 7}), PhysAddr{MiB(1) + KiB(28) + 7});
  EXPECT_EQ(unmap_and_free(*table, memory_.pages, Iova{KiB(32)}, KiB(4)), KiB(32));
  for (unsigned i = 0; i < 8; ++i) EXPECT_EQ(words[i], 0u) << i;
}

TEST_F(Amdv1Table, EveryWordOfALargeLeafMustBeFree) {
  auto table = make(0, 2);
  must(table->map(Iova{KiB(56)}, PhysAddr{0}, KiB(4), kAll, &mapped_));
  EXPECT_EQ(error_of(table->map(Iova{KiB(32)}, PhysAddr{MiB(1)}, KiB(32), kAll, &mapped_)), EADDRINUSE);
  EXPECT_EQ(mapped_, 0u);
  EXPECT_EQ(*level0(*table, Iova{KiB(32)}), 0u);
}

// 9
TEST_F(Amdv1Table, HalfATerabyteIsTwoPages) {
  auto table = make(kDynamicTop | kFullVa, 2, 64);
  EXPECT_EQ(table->info().page_sizes & GiB(512), 0u);
  must(table->map(Iova{GiB(512)}, PhysAddr{GiB(512)}, GiB(512), kAll, &mapped_));
  std::vector<IoPageTable::Leaf> leaves = leaves_of(*table);
  ASSERT_EQ(leaves.size(), 2u);
  EXPECT_EQ(leaves[0].size, GiB(256));
  EXPECT_EQ(leaves[1].phys, PhysAddr{GiB(768)});
}

TEST_F(Amdv1Table, AStartingLevelIsOneToFive) {
  for (unsigned level : {0u, 6u})
    EXPECT_EQ(error_of(make_amdv1({.pages = memory_.pages, .starting_level = level})), EINVAL);
  for (unsigned level = 1; level <= 5; ++level) EXPECT_EQ(make(kDynamicTop, level, 63)->root().level, level);
  EXPECT_EQ(make(0, 1)->info().aperture.end, Iova{GiB(1) - 1});
  EXPECT_EQ(error_of(make_amdv1({.pages = memory_.pages, .max_vasz_lg2 = 64, .features = kDynamicTop,
                                 .starting_level = 2})),
            EINVAL);
  EXPECT_EQ(error_of(make_x86_64({.pages = memory_.pages, .features = kDynamicTop})), EOPNOTSUPP);
}

TEST_F(Amdv1Table, GrowsByNoMoreLevelsThanItNeeds) {
  auto table = make(kDynamicTop | kFullVa, 2, 64);
  for (unsigned level = 2; level < 5; ++level) {
    EXPECT_EQ(table->root().level, level);
    must(table->map(Iova{uint64_t{1} << (12 + 9 * (level + 1))}, PhysAddr{0x1000}, KiB(4), kAll, &mapped_));
    EXPECT_EQ(table->root().level, level + 1);
  }
  EXPECT_EQ(leaves_of(*table).size(), 3u);
  auto at_once = make(kDynamicTop | kFullVa, 1, 64);
  must(at_once->map(Iova{~uint64_t{0} - 0xfff}, PhysAddr{0x1000}, KiB(4), kAll, &mapped_));
  EXPECT_EQ(at_once->root().level, 5u);
  EXPECT_EQ(at_once->iova_to_phys(Iova{~uint64_t{0}}), PhysAddr{0x1fff});
  EXPECT_EQ(unmap_and_free(*at_once, memory_.pages, Iova{~uint64_t{0} - 0xfff}, KiB(4)), KiB(4));
  EXPECT_EQ(error_of(make(kDynamicTop, 2, 48)->map(Iova{uint64_t{1} << 48}, PhysAddr{0}, KiB(4), kAll, &mapped_)), ERANGE);
}

// 10
TEST_F(Amdv1Table, ATopThatGrowsIsToldFirstAndFaultsNobody) {
  IoPageTable* grown = nullptr;
  unsigned told = 0;
  IoPageTable::Hooks hooks;
  IoPageTable::Root now;
  hooks.change_top = [&](IoPageTable::Root top) {
    ++told;
    EXPECT_EQ(grown->root().level, now.level) << "published before the hardware was told";
    EXPECT_EQ(pt::Amdv1::table_of(memory_.pages.virt(top.top)[0]), grown->root().top);
    EXPECT_EQ(top.level, now.level + 1);
    now = top;
  };
  auto table = make(kDynamicTop, 2, 57, hooks);
  grown = table.get();
  now = table->root();
  must(table->map(Iova{0x1000}, PhysAddr{0x5000}, KiB(4), kAll, &mapped_));
  std::atomic<bool> stop{false};
  std::atomic<uint64_t> faults{0};
  std::thread below([&] {
    uint64_t mapped = 0;
    for (uint64_t i = 2; !stop.load(); i = i % 500 + 2) {
      if (!table->map(Iova{i << 12}, PhysAddr{i << 12}, KiB(4), kAll, &mapped)) faults.fetch_add(1);
      if (table->iova_to_phys(Iova{i << 12}) != PhysAddr{i << 12}) faults.fetch_add(1);
      if (table->iova_to_phys(Iova{0x1000}) != PhysAddr{0x5000}) faults.fetch_add(1);
      Gather gather;
      if (table->unmap(Iova{i << 12}, KiB(4), gather) != KiB(4)) faults.fetch_add(1);
    }
  });
  must(table->map(Iova{uint64_t{1} << 39}, PhysAddr{0x7000}, KiB(4), kAll, &mapped_));
  EXPECT_EQ(table->root().level, 3u);
  must(table->map(Iova{uint64_t{1} << 48}, PhysAddr{0x7000}, KiB(4), kAll, &mapped_));
  EXPECT_EQ(table->root().level, 4u);
  stop = true;
  below.join();
  EXPECT_EQ(told, 2u);
  EXPECT_EQ(faults.load(), 0u);
}

// 11
TEST_F(Amdv1Table, OneDirtyWordMakesAllOfTheLeafDirty) {
  auto table = make(0, 2);
  must(table->map(Iova{0}, PhysAddr{MiB(1)}, KiB(32), kAll, &mapped_));
  must(table->map(Iova{KiB(32)}, PhysAddr{0}, KiB(4), kAll, &mapped_));
  uint64_t* words = level0(*table, Iova{0});
  words[4] |= pt::Amdv1::kDirtyMask;
  Gather gather;
  for (unsigned round = 0; round < 2; ++round) {
    Recorded kept;
    must(table->read_and_clear_dirty(Iova{0}, KiB(36), DirtyClear::kNo, &kept, gather));
    EXPECT_EQ(kept.pages.size(), 8u);
    EXPECT_TRUE(gather.empty());
  }
  Recorded first, second;
  must(table->read_and_clear_dirty(Iova{0}, KiB(36), DirtyClear::kYes, &first, gather));
  EXPECT_EQ(first.pages.size(), 8u);
  EXPECT_FALSE(gather.empty());
  for (unsigned i = 0; i < 8; ++i) EXPECT_EQ(words[i] & pt::Amdv1::kDirtyMask, 0u);
  must(table->read_and_clear_dirty(Iova{0}, KiB(36), DirtyClear::kYes, &second, gather));
  EXPECT_TRUE(second.pages.empty());
}

TEST_F(Amdv1Table, DirtyPagesAreReportedInsideTheRangeAlone) {
  auto amd = make(0, 2);
  auto intel = must(make_vtdss({.pages = memory_.pages}));
  for (IoPageTable* table : {amd.get(), intel.get()}) {
    must(table->map(Iova{0}, PhysAddr{0}, MiB(4), kAll, &mapped_));
    must(table->map(Iova{MiB(4)}, PhysAddr{0}, KiB(4), kRead, &mapped_));
    must(table->set_dirty(Iova{MiB(1)}));
    EXPECT_EQ(error_of(table->set_dirty(Iova{MiB(4)})), EFAULT);
    EXPECT_EQ(error_of(table->set_dirty(Iova{MiB(8)})), EFAULT);
    Gather gather;
    Recorded found;
    must(table->read_and_clear_dirty(Iova{MiB(1)}, KiB(8), DirtyClear::kNo, &found, gather));
    EXPECT_EQ(found.pages, (std::vector<Iova>{Iova{MiB(1)}, Iova{MiB(1) + KiB(4)}}));
    EXPECT_EQ(error_of(table->read_and_clear_dirty(Iova{0}, MiB(6), DirtyClear::kYes, nullptr, gather)), EINVAL);
    EXPECT_FALSE(gather.empty()) << "what came before the hole was cleared";
  }
}

}  // namespace
}  // namespace causeway::iommu
