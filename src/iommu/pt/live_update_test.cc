// Page tables that outlive their kernel.
#include <gtest/gtest.h>

#include "base/testing/results.h"
#include "iommu/pt/testing/configurations.h"
#include "iommu/pt/testing/table_memory.h"

namespace causeway::iommu {
namespace {

constexpr uint32_t kAll = kRead | kWrite;

bool same(const std::vector<IoPageTable::Leaf>& a, const std::vector<IoPageTable::Leaf>& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](const auto& x, const auto& y) {
    return x.iova == y.iova && x.phys == y.phys && x.size == y.size && x.prot == y.prot;
  });
}

// A kernel with one page table, which ends without a word.
template <typename Config>
struct Kernel {
  explicit Kernel(kho::TestMachine& machine)
      : memory(std::make_unique<TableMemory>(machine)), table(must(Config::make(memory->pages))) {}
  ~Kernel() {
    if (!died) return;
    // What is not freed is in the next kernel's hands.
    static auto& graves = *new std::vector<std::unique_ptr<IoPageTable>>;
    graves.push_back(std::move(table));
    memory->ends = true;
  }
  void map(uint64_t iova, uint64_t phys, uint64_t size) {
    uint64_t mapped = 0;
    must(table->map(Iova{iova}, PhysAddr{phys}, size, kAll, &mapped));
  }
  uint64_t unmap(uint64_t iova, uint64_t size) { return unmap_and_free(*table, memory->pages, Iova{iova}, size); }
  void die() {
    memory->generation.commit();
    died = true;
  }
  std::unique_ptr<TableMemory> memory;
  std::unique_ptr<IoPageTable> table;
  bool died = false;
};

template <typename Config>
class PreservedTable : public ::testing::Test {
 protected:
  kho::TestMachine machine_;
};
TYPED_TEST_SUITE(PreservedTable, Configurations);

TYPED_TEST(PreservedTable, ComesBackAsItWasWhenTheKernelEnded) {
  constexpr uint64_t kGranule = uint64_t{1} << TypeParam::Format::kGranuleLg2;
  std::vector<IoPageTable::Leaf> leaves;
  IoPageTable::Preserved preserved;
  uint64_t pages = 0;
  {
    Kernel<TypeParam> old(this->machine_);
    old.map(0, 0x1000'0000 + kGranule, 3 * kGranule);
    old.map(GiB(1), GiB(1), MiB(4));
    preserved = must(old.table->preserve());
    EXPECT_EQ(must(old.table->preserve()).top, preserved.top);
    // It goes on changing: tables come and go.
    old.map(GiB(2), kGranule, kGranule * pt::kItems);
    old.map(GiB(3), kGranule, kGranule * pt::kItems);
    old.map(GiB(4) - kGranule, 0, kGranule);
    const uint64_t with = old.memory->pages.pages();
    EXPECT_EQ(old.unmap(GiB(2), kGranule * pt::kItems), kGranule * pt::kItems);
    EXPECT_EQ(old.memory->pages.pages(), with - 1);
    leaves = leaves_of(*old.table);
    pages = old.memory->pages.pages();
    old.die();
  }
  Kernel<TypeParam> next(this->machine_);
  ASSERT_TRUE(next.memory->generation.adopted_handover);
  must(next.table->restore(preserved));
  EXPECT_TRUE(same(leaves_of(*next.table), leaves));
  EXPECT_EQ(next.table->root().top, preserved.top);
  EXPECT_EQ(next.table->root().level, preserved.level);
  EXPECT_EQ(next.memory->pages.pages(), pages);

  // Until the handover is committed the tables stay as they are; what fits into them may change.
  uint64_t mapped = 0;
  EXPECT_EQ(error_of(next.table->map(Iova{GiB(5)}, PhysAddr{0}, kGranule, kAll, &mapped)), EBUSY);
  EXPECT_EQ(next.unmap(GiB(3), kGranule * pt::kItems), kGranule * pt::kItems);
  EXPECT_EQ(next.memory->pages.pages(), pages);
  next.map(GiB(3), kGranule, kGranule);
  EXPECT_EQ(next.unmap(GiB(3), kGranule), kGranule);
  EXPECT_EQ(error_of(next.table->map(Iova{GiB(3)}, PhysAddr{0}, kGranule * pt::kItems, kAll, &mapped)), EBUSY);
  next.table->allow_growth();
  next.map(GiB(5), 0, kGranule);
  next.map(GiB(3), 0, kGranule * pt::kItems);
  must(next.table->preserve());
}

TYPED_TEST(PreservedTable, TakenBackItIsNotFound) {
  IoPageTable::Preserved preserved;
  {
    Kernel<TypeParam> old(this->machine_);
    old.map(0, 0, KiB(4));
    preserved = must(old.table->preserve());
    old.table->unpreserve();
    old.die();
  }
  Kernel<TypeParam> next(this->machine_);
  EXPECT_EQ(error_of(next.table->restore(preserved)), ENOENT);
  EXPECT_EQ(next.memory->pages.pages(), 1u);
  next.map(0, 0, KiB(4));  // as if nothing had been tried
}

using Vtd48 = Configuration<pt::Vtdss, make_vtdss, 48, 0>;
using Amd48 = Configuration<pt::Amdv1, make_amdv1, 48, 0, 3>;

TEST(PreservedTables, AFailureInTheMiddleIsUndone) {
  if (!has_points()) GTEST_SKIP() << "no named points";
  kho::TestMachine machine;
  IoPageTable::Preserved preserved;
  {
    Kernel<Vtd48> old(machine);
    old.map(0, 0, KiB(4));
    preserved = {old.table->root().top, 3, 48, false};
    {
      FailingStep step("iommu.pt.preserve_table", ENOMEM, 3);
      EXPECT_EQ(error_of(old.table->preserve()), ENOMEM);
      EXPECT_EQ(step.hits(), 3u);
    }
    for (PhysAddr at = preserved.top;; at = pt::Vtdss::table_of(old.memory->pages.virt(at)[0])) {
      EXPECT_FALSE(old.memory->generation.kho->is_preserved({Pfn::containing(at), Pfn::containing(at) + 1}));
      if (pt::Vtdss::table_of(old.memory->pages.virt(at)[0]) == PhysAddr{0}) break;
    }
    must(old.table->preserve());
    old.die();
  }
  Kernel<Vtd48> next(machine);
  must(next.table->restore(preserved));
  EXPECT_EQ(next.table->iova_to_phys(Iova{5}), PhysAddr{5});
}

TEST(PreservedTables, ATableIsPreservedBeforeItIsFound) {
  if (!has_points()) GTEST_SKIP() << "no named points";
  kho::TestMachine machine;
  Kernel<Vtd48> kernel(machine);
  must(kernel.table->preserve());
  unsigned seen = 0;
  must(point::on_hit("iommu.pt.make_table.preserved", [&]() -> Status {
    ++seen;
    EXPECT_FALSE(kernel.table->iova_to_phys(Iova{0}));
    return {};
  }));
  kernel.map(0, 0, KiB(4));
  point::disarm_all();
  EXPECT_EQ(seen, 3u);
  FailingStep step("iommu.pt.preserve_table");
  uint64_t mapped = 0;
  EXPECT_EQ(error_of(kernel.table->map(Iova{GiB(1)}, PhysAddr{0}, KiB(4), kAll, &mapped)), ENOMEM);
  EXPECT_EQ(kernel.memory->pages.pages(), 4u) << "a table that could not be preserved is left";
}

TEST(PreservedTables, AFreedTableIsGivenUpAfterTheFlush) {
  kho::TestMachine machine;
  Kernel<Vtd48> kernel(machine);
  kernel.map(MiB(2), 0x1000, MiB(2));
  must(kernel.table->preserve());
  PhysAddr at = kernel.table->root().top;
  for (unsigned level = 3; level > 0; --level)
    at = pt::Vtdss::table_of(kernel.memory->pages.virt(at)[level == 1 ? 1 : 0]);
  const PfnRange frame{Pfn::containing(at), Pfn::containing(at) + 1};
  Gather gather;
  ASSERT_EQ(kernel.table->unmap(Iova{MiB(2)}, MiB(2), gather), MiB(2));
  EXPECT_TRUE(kernel.memory->generation.kho->is_preserved(frame));
  kernel.memory->pages.free(gather.freed);
  EXPECT_FALSE(kernel.memory->generation.kho->is_preserved(frame));
}

// What the old kernel, or somebody after it, wrote is not believed.
struct Damage {
  const char* name;
  int code;
  // Of the top, and of the level 2 table below its first entry.
  void (*apply)(uint64_t* top, uint64_t* second, PhysAddr own);
};
class DamagedTable : public ::testing::TestWithParam<Damage> {};

TEST_P(DamagedTable, IsRefusedAndLeftAlone) {
  kho::TestMachine machine;
  IoPageTable::Preserved preserved;
  uint64_t saved[2] = {};
  {
    Kernel<Vtd48> old(machine);
    old.map(0, 0, KiB(4));
    preserved = must(old.table->preserve());
    uint64_t* top = old.memory->pages.virt(preserved.top);
    uint64_t* second = old.memory->pages.virt(pt::Vtdss::table_of(top[0]));
    saved[0] = top[1];
    saved[1] = second[1];
    GetParam().apply(top, second, preserved.top);
    old.die();
  }
  Kernel<Vtd48> next(machine);
  EXPECT_EQ(error_of(next.table->restore(preserved)), GetParam().code);
  EXPECT_EQ(next.memory->pages.pages(), 1u);
  EXPECT_TRUE(leaves_of(*next.table).empty());
  // Nothing was taken: it can still be had when it is whole.
  uint64_t* top = next.memory->pages.virt(preserved.top);
  top[1] = saved[0];
  next.memory->pages.virt(pt::Vtdss::table_of(top[0]))[1] = saved[1];
  must(next.table->restore(preserved));
}
INSTANTIATE_TEST_SUITE_P(
    All, DamagedTable,
    ::testing::Values(Damage{"reserved_bit", EBADMSG, [](uint64_t*, uint64_t* second, PhysAddr) { second[1] = 7; }},
                    Damage{"no_access", EBADMSG, [](uint64_t*, uint64_t* second, PhysAddr) { second[1] = 0x800; }},
                    Damage{"cycle", EBADMSG, [](uint64_t*, uint64_t* second, PhysAddr own) { second[1] = own.value() | 3; }},
                    Damage{"shared", EBADMSG, [](uint64_t*, uint64_t* second, PhysAddr) { second[1] = second[0]; }},
                    Damage{"large_where_none_is", EBADMSG, [](uint64_t* top, uint64_t*, PhysAddr) { top[1] = 0x83; }},
                    Damage{"not_preserved", ENOENT, [](uint64_t* top, uint64_t*, PhysAddr) { top[1] = MiB(20) | 3; }},
                    Damage{"no_ram", ENOENT, [](uint64_t* top, uint64_t*, PhysAddr) { top[1] = GiB(1) | 3; }},
                    Damage{"beyond_ram", ENOENT,
                           [](uint64_t* top, uint64_t*, PhysAddr) { top[1] = 0x000f'ffff'ffff'f003; }}),
    [](const auto& damage) { return damage.param.name; });

TEST(PreservedTables, AnotherGeometryIsRefused) {
  kho::TestMachine machine;
  IoPageTable::Preserved preserved;
  {
    Kernel<Vtd48> old(machine);
    old.map(0, 0, KiB(4));
    preserved = must(old.table->preserve());
    old.die();
  }
  Kernel<Vtd48> next(machine);
  auto with = [&](auto change) {
    IoPageTable::Preserved wrong = preserved;
    change(wrong);
    return error_of(next.table->restore(wrong));
  };
  EXPECT_EQ(with([](auto& p) { p.level = 2; }), EINVAL);
  EXPECT_EQ(with([](auto& p) { p.level = 7; }), EINVAL);
  EXPECT_EQ(with([](auto& p) { p.vasz_lg2 = 39; }), EINVAL);
  EXPECT_EQ(with([](auto& p) { p.sign_extend = true; }), EINVAL);
  EXPECT_EQ(with([](auto& p) { p.top = p.top + 8; }), EBADMSG);
  EXPECT_EQ(with([](auto& p) { p.top = PhysAddr{0}; }), ENOENT);
  next.map(0, 0, KiB(4));
  EXPECT_EQ(error_of(next.table->restore(preserved)), EINVAL) << "in use";
  EXPECT_EQ(next.unmap(0, KiB(4)), KiB(4));
  must(next.table->restore(preserved));
  EXPECT_EQ(error_of(next.table->restore(preserved)), EINVAL);
}

TEST(PreservedTables, WordsOfALargeLeafThatDifferAreRefused) {
  kho::TestMachine machine;
  IoPageTable::Preserved preserved;
  {
    Kernel<Amd48> old(machine);
    old.map(0, 0, KiB(32));
    preserved = must(old.table->preserve());
    uint64_t* at = old.memory->pages.virt(preserved.top);
    for (unsigned level = 3; level > 0; --level) at = old.memory->pages.virt(pt::Amdv1::table_of(at[0]));
    at[5] ^= pt::Amdv1::Writable::kMask;
    old.die();
  }
  Kernel<Amd48> next(machine);
  EXPECT_EQ(error_of(next.table->restore(preserved)), EBADMSG);
}

TEST(PreservedTables, WhatWasRestoredBeforeAFailureStays) {
  if (!has_points()) GTEST_SKIP() << "no named points";
  kho::TestMachine machine;
  IoPageTable::Preserved preserved;
  {
    Kernel<Vtd48> old(machine);
    old.map(0, 0x5000, KiB(4));
    preserved = must(old.table->preserve());
    old.die();
  }
  Kernel<Vtd48> next(machine);
  FailingStep step("iommu.pt.restore_table", ENOMEM, 3);
  EXPECT_EQ(error_of(next.table->restore(preserved)), ENOMEM);
  EXPECT_EQ(next.memory->pages.pages(), 3u);  // its own top, and two
  EXPECT_NE(next.table->root().top, preserved.top);
  // The hardware may still be walking all of them.
  EXPECT_EQ(next.memory->pages.virt(preserved.top)[0] & 3, 3u);
  next.died = true;
}

}  // namespace
}  // namespace causeway::iommu
