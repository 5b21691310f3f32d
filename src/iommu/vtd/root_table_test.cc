#include "iommu/vtd/root_table.h"

#include <gtest/gtest.h>

#include <thread>

#include "base/log.h"
#include "base/testing/results.h"
#include "iommu/vtd/testing/table_kernel.h"

namespace causeway::iommu::vtd {
namespace {

using testing::TableKernel;

class RootTableTest : public ::testing::TestWithParam<TableMode> {
 protected:
  static void fill(ContextSlot slot, unsigned number) {
    if (GetParam() == TableMode::kLegacy) {
      slot.set(LegacyContext{.top = PhysAddr(0x10000), .domain = DomainId(static_cast<uint16_t>(number))});
    } else {
      slot.set(ScalableContext{.device_tlb = true, .directory = PhysAddr(number << 12)});
    }
  }
  void TearDown() override { point::disarm_all(); }

  log::Capture quiet;
  kho::TestMachine machine;
};
INSTANTIATE_TEST_SUITE_P(Modes, RootTableTest, ::testing::Values(TableMode::kLegacy, TableMode::kScalable),
                         [](const auto& mode) { return mode.param == TableMode::kLegacy ? "Legacy" : "Scalable"; });

TEST_P(RootTableTest, ATableIsMadeWithTheFirstSlotInIt) {
  TableKernel kernel(machine);
  auto root = must(RootTable::create(kernel.memory, GetParam()));
  EXPECT_EQ(kernel.pages.pages(), 1u);
  EXPECT_FALSE(root->find(Bdf(3, 1, 0)));
  ContextSlot low = must(root->slot(Bdf(3, 1, 0)));
  EXPECT_FALSE(low.present());
  EXPECT_EQ(kernel.pages.pages(), 2u);
  EXPECT_EQ(must(root->slot(Bdf(3, 1, 1))).words() - low.words(), GetParam() == TableMode::kLegacy ? 2 : 4);
  must(root->slot(Bdf(3, 31, 7)));
  // The upper half of a bus has a table of its own in scalable mode.
  EXPECT_EQ(kernel.pages.pages(), GetParam() == TableMode::kLegacy ? 2u : 3u);
  std::vector<unsigned> tables;
  root->for_each_table([&](unsigned table, TableWord*) { tables.push_back(table); });
  EXPECT_EQ(tables, GetParam() == TableMode::kLegacy ? std::vector<unsigned>{6} : (std::vector<unsigned>{6, 7}));
  root->release();
  EXPECT_EQ(kernel.pages.pages(), 0u);
}

TEST_P(RootTableTest, EveryFunctionHasItsOwnSlot) {
  TableKernel kernel(machine);
  auto root = must(RootTable::create(kernel.memory, GetParam()));
  for (unsigned i = 0; i < 1024; ++i) fill(must(root->slot(Bdf(static_cast<uint16_t>(i)))), i);
  unsigned seen = 0;
  root->for_each_present([&](Bdf bdf, ContextSlot slot) {
    EXPECT_EQ(bdf.value(), seen);
    if (GetParam() == TableMode::kLegacy) {
      EXPECT_EQ(slot.legacy().domain, DomainId(static_cast<uint16_t>(seen)));
    } else {
      EXPECT_EQ(slot.scalable().directory, PhysAddr(seen << 12));
    }
    ++seen;
  });
  EXPECT_EQ(seen, 1024u);
  must(root->slot(Bdf(1, 0, 0))).clear();
  EXPECT_FALSE(root->find(Bdf(1, 0, 0))->present());
  EXPECT_TRUE(root->find(Bdf(1, 0, 1))->present());
}

// Scenario 29, the driver's part: a word that is not flushed is one a unit without coherence does not see.
TEST_P(RootTableTest, EveryWordThatIsWrittenIsFlushed) {
  TableKernel kernel(machine);
  auto root = must(RootTable::create(kernel.memory, GetParam()));
  Bdf bdf(0, 4, 0);
  ContextSlot slot = must(root->slot(bdf));
  const TableWord* root_word = kernel.pages.virt(root->phys());
  EXPECT_TRUE(kernel.was_flushed(root_word));
  unsigned words = GetParam() == TableMode::kLegacy ? 2 : 4;
  for (auto change : {+[](ContextSlot s) { fill(s, 5); }, +[](ContextSlot s) { s.clear(); }}) {
    kernel.flushed.clear();
    change(slot);
    for (unsigned i = 0; i < words; ++i) EXPECT_TRUE(kernel.was_flushed(slot.words() + i)) << i;
    EXPECT_FALSE(kernel.was_flushed(slot.words() + words));
  }
  kernel.flushed.clear();
  root->unlink(0);
  EXPECT_TRUE(kernel.was_flushed(root_word));
  EXPECT_FALSE(root->find(bdf));
}

TEST_P(RootTableTest, TwoThreadsMakeOneTable) {
  TableKernel kernel(machine);
  auto root = must(RootTable::create(kernel.memory, GetParam()));
  auto make = [&](unsigned who) {
    for (unsigned bus = 0; bus < 256; ++bus) fill(must(root->slot(Bdf(bus, 0, who))), bus);
  };
  std::thread other(make, 1u);
  make(0);
  other.join();
  EXPECT_EQ(kernel.pages.pages(), 257u);
  unsigned present = 0;
  root->for_each_present([&](Bdf, ContextSlot) { ++present; });
  EXPECT_EQ(present, 512u);
}

// Scenario 77, the tables' part: a table made after the root was preserved is handed over as well.
TEST_P(RootTableTest, IsAdoptedByTheNextKernelAsItIs) {
  RootTable::Bitmap bitmap;
  PhysAddr where;
  {
    TableKernel old(machine);
    auto root = must(RootTable::create(old.memory, GetParam()));
    fill(must(root->slot(Bdf(0, 1, 0))), 2);
    must(root->preserve([&](unsigned table) { bitmap.set(table); }));
    EXPECT_TRUE(bitmap.test(0));
    EXPECT_FALSE(bitmap.test(18));
    fill(must(root->slot(Bdf(9, 0, 0))), 3);
    EXPECT_TRUE(bitmap.test(18));
    where = root->phys();
    old.generation.commit();
  }
  TableKernel next(machine);
  auto root = must(RootTable::adopt(next.memory, GetParam(), where, bitmap));
  EXPECT_EQ(root->phys(), where);
  EXPECT_EQ(next.pages.pages(), 3u);
  EXPECT_TRUE(next.flushed.empty()) << "nothing is written";
  std::vector<Bdf> present;
  root->for_each_present([&](Bdf bdf, ContextSlot) { present.push_back(bdf); });
  EXPECT_EQ(present, (std::vector<Bdf>{Bdf(0, 1, 0), Bdf(9, 0, 0)}));
  EXPECT_FALSE(root->is_copied(Bdf(0, 1, 0)));
  root->release();
  EXPECT_EQ(next.pages.pages(), 0u);
}

TEST_P(RootTableTest, ADamagedOrForgottenTableIsNotAdopted) {
  struct Case {
    const char* message;
    std::function<void(TableWord*, RootTable::Bitmap&)> damage;
    int code;
  };
  const Case cases[] = {
      {"reserved bits", [](TableWord* root, auto&) { root[0] |= 0x800; }, EBADMSG},
      {"not present but not empty", [](TableWord* root, auto&) { root[0] &= ~kPresent; }, EBADMSG},
      {"not in the bitmap", [](TableWord*, auto& bitmap) { bitmap = {}; }, EBADMSG},
      {"not preserved",
       [](TableWord* root, auto& bitmap) {
         root[4] = 0x30'0000 | kPresent;
         bitmap.set(4);
       },
       ENOENT},
      {"outside RAM",
       [](TableWord* root, auto& bitmap) {
         root[4] = (uint64_t{1} << 50) | kPresent;
         bitmap.set(4);
       },
       ENOENT},
      {"the same table twice",
       [](TableWord* root, auto& bitmap) {
         root[4] = root[0];
         bitmap.set(4);
       },
       ENOENT},
  };
  for (const Case& c : cases) {
    kho::TestMachine own;
    RootTable::Bitmap bitmap;
    PhysAddr where;
    {
      TableKernel old(own);
      auto root = must(RootTable::create(old.memory, GetParam()));
      fill(must(root->slot(Bdf(0, 1, 0))), 2);
      must(root->preserve([&](unsigned table) { bitmap.set(table); }));
      where = root->phys();
      c.damage(old.pages.virt(where), bitmap);
      old.generation.commit();
    }
    TableKernel next(own);
    EXPECT_EQ(error_of(RootTable::adopt(next.memory, GetParam(), where, bitmap)), c.code) << c.message;
  }
  TableKernel alone(machine);
  EXPECT_EQ(error_of(RootTable::adopt(alone.memory, GetParam(), PhysAddr(0x10'0000), {})), ENOENT);
}

TEST_P(RootTableTest, APreserveThatFailsLeavesNothing) {
  if (!has_points()) GTEST_SKIP() << "named points are not compiled in";
  TableKernel kernel(machine);
  auto root = must(RootTable::create(kernel.memory, GetParam()));
  for (unsigned bus = 0; bus < 3; ++bus) must(root->slot(Bdf(bus, 1, 0)));
  uint64_t before = kernel.generation.kho->stats().preserved_blocks;
  unsigned recorded = 0;
  {
    FailingStep step("kho.preserve.page", ENOMEM, 3);
    EXPECT_EQ(error_of(root->preserve([&](unsigned) { ++recorded; })), ENOMEM);
  }
  EXPECT_EQ(recorded, 0u);
  EXPECT_EQ(kernel.generation.kho->stats().preserved_blocks, before);
  must(root->preserve([&](unsigned) { ++recorded; }));
  EXPECT_EQ(recorded, 3u);
  EXPECT_EQ(kernel.generation.kho->stats().preserved_blocks, before + 4);
  root->unpreserve();
  must(root->slot(Bdf(7, 1, 0)));
  EXPECT_EQ(recorded, 3u);
  EXPECT_EQ(kernel.generation.kho->stats().preserved_blocks, before);
}

// Scenario 27, the tables' part.
TEST_P(RootTableTest, ACrashedKernelsTablesAreCopied) {
  TableKernel old(machine);
  auto theirs = must(RootTable::create(old.memory, GetParam()));
  fill(must(theirs->slot(Bdf(0, 1, 0))), 2);
  fill(must(theirs->slot(Bdf(2, 31, 0))), 9);
  std::vector<Bdf> visited;
  auto own = must(RootTable::copy(old.memory, GetParam(), theirs->phys(), [&](Bdf bdf, ContextSlot slot) {
    EXPECT_TRUE(slot.present());
    visited.push_back(bdf);
  }));
  EXPECT_EQ(visited, (std::vector<Bdf>{Bdf(0, 1, 0), Bdf(2, 31, 0)}));
  EXPECT_NE(own->phys(), theirs->phys());
  EXPECT_TRUE(own->is_copied(Bdf(0, 1, 0)));
  EXPECT_FALSE(own->is_copied(Bdf(0, 2, 0)));
  EXPECT_NE(own->find(Bdf(0, 1, 0))->words(), theirs->find(Bdf(0, 1, 0))->words());
  theirs->find(Bdf(0, 1, 0))->clear();
  EXPECT_TRUE(own->find(Bdf(0, 1, 0))->present());
  own->clear_copied(Bdf(0, 1, 0));
  EXPECT_FALSE(own->is_copied(Bdf(0, 1, 0)));
  EXPECT_TRUE(own->is_copied(Bdf(2, 31, 0)));

  uint64_t pages = old.pages.pages();
  old.pages.virt(theirs->phys())[2] = (uint64_t{1} << 50) | kPresent;
  EXPECT_EQ(error_of(RootTable::copy(old.memory, GetParam(), theirs->phys(), {})), EBADMSG);
  EXPECT_EQ(old.pages.pages(), pages);
}

TEST(ContextEntries, AreWhatTheyWereMadeFrom) {
  LegacyContext legacy{.fault_disable = true,
                       .type = hw::vtd::kTranslateDeviceTlb,
                       .width = 3,
                       .top = PhysAddr(0x1234'5000),
                       .domain = DomainId{0xabcd}};
  auto words = encode(legacy);
  EXPECT_EQ(words.w[0], 0x1234'5007u);
  EXPECT_EQ(words.w[1], 0xab'cd03u);
  EXPECT_EQ(decode(words), legacy);
  legacy.type = hw::vtd::kPassThrough;
  EXPECT_EQ(encode(legacy).w[0], 0xbu) << "pass-through has no tables";
  ScalableContext scalable{.device_tlb = true,
                           .pasid = true,
                           .page_requests = true,
                           .directory_size = 2,
                           .directory = PhysAddr(0x9000),
                           .rid_pasid = 0xfffff};
  EXPECT_EQ(encode(scalable).w[0], 0x9000u | 0x41d);
  EXPECT_EQ(encode(scalable).w[1], 0xfffffu);
  EXPECT_EQ(decode(encode(scalable)), scalable);
}

// 7.2 patch 06: preserved devices lose the right to request pages, and nothing else.
TEST(ContextEntries, PageRequestsGoWithOneWord) {
  kho::TestMachine machine;
  TableKernel kernel(machine);
  auto root = must(RootTable::create(kernel.memory, TableMode::kScalable));
  ContextSlot slot = must(root->slot(Bdf(0, 1, 0)));
  ScalableContext context{
      .device_tlb = true, .page_requests = true, .directory_size = 2, .directory = PhysAddr(0x9000)};
  slot.set(context);
  kernel.flushed.clear();
  slot.set_page_requests(false);
  context.page_requests = false;
  EXPECT_EQ(slot.scalable(), context);
  EXPECT_EQ(kernel.flushed.size(), 1u);
  slot.set_device_tlb(false);
  context.device_tlb = false;
  EXPECT_EQ(slot.scalable(), context);
}

}  // namespace
}  // namespace causeway::iommu::vtd
