#include "iommu/vtd/pasid_table.h"

#include <gtest/gtest.h>

#include <thread>

#include "base/log.h"
#include "base/testing/results.h"
#include "iommu/vtd/testing/table_kernel.h"

namespace causeway::iommu::vtd {
namespace {

using namespace hw::vtd;
using testing::TableKernel;

constexpr Capabilities kCaps(CapAgaw::make(0x4),  // 48 bits
                             EcapPasid::make(1) | EcapPasidBits::make(19) | EcapPageWalkCoherent::make(1));

class PasidTableTest : public ::testing::Test {
 protected:
  void TearDown() override { point::disarm_all(); }
  log::Capture quiet;
  kho::TestMachine machine;
};

// Spec 3.5 and surprise 12: at least 32768, devices without any PASID included.
TEST_F(PasidTableTest, SpansAtLeast32768) {
  struct Case {
    uint32_t device, spans;
    unsigned directory_size;
  };
  for (const Case& c : {Case{0, 32768, 2}, Case{1, 32768, 2}, Case{32768, 32768, 2}, Case{65536, 65536, 3},
                        Case{1u << 20, 1u << 20, 7}}) {
    TableKernel kernel(machine);
    auto table = must(PasidTable::create(kernel.memory, c.device, kCaps));
    EXPECT_EQ(table->max_pasid(), c.spans) << c.device;
    EXPECT_EQ(PasidTable::max_pasid_for(c.device, kCaps), c.spans);
    EXPECT_EQ(table->directory_size(), c.directory_size) << c.device;
    EXPECT_EQ(kernel.pages.pages() * kPageSize, c.spans / 64 * 8);
    table->release();
    EXPECT_EQ(kernel.pages.pages(), 0u);
  }
  // The unit's limit counts too.
  Capabilities few(0, EcapPasid::make(1) | EcapPasidBits::make(14));
  EXPECT_EQ(PasidTable::max_pasid_for(1u << 20, few), 32768u);
}

TEST_F(PasidTableTest, AnEntryIsSetOnceAndGoesInTwoSteps) {
  TableKernel kernel(machine);
  auto table = must(PasidTable::create(kernel.memory, 0, kCaps));
  PasidContext entry = second_stage_entry(DomainId{5}, PhysAddr(0x7000), 2, kCaps);
  EXPECT_FALSE(table->present(70));
  must(table->set(70, entry));
  EXPECT_EQ(table->get(70), entry);
  EXPECT_FALSE(table->present(71));
  EXPECT_FALSE(table->present(6));
  EXPECT_EQ(error_of(table->set(70, entry)), EBUSY);
  EXPECT_EQ(error_of(table->set(32768, entry)), EINVAL);
  EXPECT_FALSE(table->present(32768));

  table->retire(70);
  entry.present = false;
  EXPECT_EQ(table->get(70), entry) << "the rest stays until the caches are flushed";
  table->wipe(70);
  EXPECT_EQ(table->get(70).second_stage, PhysAddr(0));
  must(table->set(70, pass_through_entry(DomainId{1}, kCaps)));
}

// Scenario 29, the driver's part.
TEST_F(PasidTableTest, EveryWordThatIsWrittenIsFlushed) {
  TableKernel kernel(machine);
  auto table = must(PasidTable::create(kernel.memory, 0, kCaps));
  const TableWord* directory = kernel.pages.virt(table->directory());
  must(table->set(64, pass_through_entry(DomainId{1}, kCaps)));
  EXPECT_TRUE(kernel.was_flushed(directory + 1));
  const TableWord* leaf = kernel.pages.virt(PhysAddr(directory[1] & kAddressMask));
  EXPECT_TRUE(kernel.was_flushed(leaf + 511)) << "the zeroes of a new table count";
  auto all_flushed = [&] {
    for (unsigned i = 0; i < 8; ++i)
      if (!kernel.was_flushed(leaf + i)) return false;
    return true;
  };
  kernel.flushed.clear();
  table->retire(64);
  EXPECT_TRUE(kernel.was_flushed(leaf));
  EXPECT_FALSE(all_flushed()) << "only the first word has changed";
  table->wipe(64);
  EXPECT_TRUE(all_flushed());
  kernel.flushed.clear();
  must(table->set(64, second_stage_entry(DomainId{5}, PhysAddr(0x7000), 2, kCaps)));
  EXPECT_TRUE(all_flushed());
}

TEST_F(PasidTableTest, ALiveEntryChangesByOneWord) {
  TableKernel kernel(machine);
  auto table = must(PasidTable::create(kernel.memory, 0, kCaps));
  PasidContext entry = second_stage_entry(DomainId{5}, PhysAddr(0x7000), 2, kCaps);
  must(table->set(0, entry));
  for (bool on : {true, false}) {
    table->set_dirty_tracking(0, on);
    entry.dirty_tracking = on;
    EXPECT_EQ(table->get(0), entry);
  }
  table->set_page_snoop(0);
  entry.page_snoop = true;
  EXPECT_EQ(table->get(0), entry);
}

TEST_F(PasidTableTest, ThreadsThatNeedTheSameTableShareIt) {
  TableKernel kernel(machine);
  auto table = must(PasidTable::create(kernel.memory, 0, kCaps));
  constexpr Pasid kEntries = 16384;
  auto set = [&](Pasid from) {
    for (Pasid pasid = from; pasid < kEntries; pasid += 2)
      must(table->set(pasid, pass_through_entry(DomainId{static_cast<uint16_t>(pasid)}, kCaps)));
  };
  std::thread other(set, 1u);
  set(0);
  other.join();
  EXPECT_EQ(kernel.pages.pages(), 1 + kEntries / 64);
  Pasid next = 0;
  table->for_each_present([&](Pasid pasid, const PasidContext& entry) {
    EXPECT_EQ(pasid, next++);
    EXPECT_EQ(entry.domain, DomainId(static_cast<uint16_t>(pasid)));
  });
  EXPECT_EQ(next, kEntries);
  table->release();
  EXPECT_EQ(kernel.pages.pages(), 0u);
}

// 7.2 patch 09: the whole directory and every leaf, and those that come later.
TEST_F(PasidTableTest, IsAdoptedByTheNextKernelAsItIs) {
  PhysAddr where;
  PasidContext entry = first_stage_entry(DomainId{5}, PhysAddr(0x7000), false, kCaps);
  {
    TableKernel old(machine);
    auto table = must(PasidTable::create(old.memory, 1u << 17, kCaps));
    must(table->set(0, entry));
    must(table->set((1u << 17) - 1, entry));  // in the last page of the directory
    must(table->preserve());
    must(table->set(640, entry));
    where = table->directory();
    old.generation.commit();
  }
  TableKernel next(machine);
  auto table = must(PasidTable::adopt(next.memory, where, 1u << 17));
  EXPECT_EQ(table->max_pasid(), 1u << 17);
  EXPECT_EQ(next.pages.pages(), 4u + 3);
  EXPECT_TRUE(next.flushed.empty()) << "nothing is written";
  std::vector<Pasid> present;
  table->for_each_present([&](Pasid pasid, const PasidContext& found) {
    present.push_back(pasid);
    EXPECT_EQ(found, entry);
  });
  EXPECT_EQ(present, (std::vector<Pasid>{0, 640, (1u << 17) - 1}));
  table->release();
  EXPECT_EQ(next.pages.pages(), 0u);
}

// Scenario 81, the tables' part: another size, or damage, is refused.
TEST_F(PasidTableTest, WhatIsDamagedIsNotAdopted) {
  struct Case {
    const char* what;
    std::function<void(TableWord*)> damage;
    uint64_t max_pasid;
    int code;
  };
  const Case cases[] = {
      {"another size", [](TableWord*) {}, 65536, EINVAL},
      {"no power of two", [](TableWord*) {}, 40000, EINVAL},
      {"too small", [](TableWord*) {}, 16384, EINVAL},
      {"too large", [](TableWord*) {}, uint64_t{1} << 40, EINVAL},
      {"reserved bits", [](TableWord* directory) { directory[0] |= 4; }, 32768, EBADMSG},
      {"not present", [](TableWord* directory) { directory[9] = 0x5000; }, 32768, EBADMSG},
      {"not preserved", [](TableWord* directory) { directory[9] = 0x30'0001; }, 32768, ENOENT},
      {"outside RAM", [](TableWord* directory) { directory[9] = (uint64_t{1} << 51) | 1; }, 32768, ENOENT},
      {"twice", [](TableWord* directory) { directory[9] = directory[0]; }, 32768, ENOENT},
  };
  for (const Case& c : cases) {
    kho::TestMachine own;
    PhysAddr where;
    {
      TableKernel old(own);
      auto table = must(PasidTable::create(old.memory, 0, kCaps));
      must(table->set(0, pass_through_entry(DomainId{1}, kCaps)));
      must(table->preserve());
      where = table->directory();
      c.damage(old.pages.virt(where));
      old.generation.commit();
    }
    TableKernel next(own);
    EXPECT_EQ(error_of(PasidTable::adopt(next.memory, where, c.max_pasid)), c.code) << c.what;
  }
}

TEST_F(PasidTableTest, APreserveThatFailsLeavesNothing) {
  if (!has_points()) GTEST_SKIP() << "named points are not compiled in";
  TableKernel kernel(machine);
  auto table = must(PasidTable::create(kernel.memory, 0, kCaps));
  for (Pasid pasid : {0u, 64u, 128u}) must(table->set(pasid, pass_through_entry(DomainId{1}, kCaps)));
  uint64_t before = kernel.generation.kho->stats().preserved_blocks;
  {
    FailingStep step("kho.preserve.page", ENOMEM, 3);
    EXPECT_EQ(error_of(table->preserve()), ENOMEM);
  }
  EXPECT_EQ(kernel.generation.kho->stats().preserved_blocks, before);
  must(table->preserve());
  EXPECT_EQ(kernel.generation.kho->stats().preserved_blocks, before + 4);
  uint64_t pages = kernel.pages.pages();
  {
    FailingStep step("kho.preserve.page");
    EXPECT_EQ(error_of(table->set(4096, pass_through_entry(DomainId{1}, kCaps))), ENOMEM);
  }
  EXPECT_FALSE(table->present(4096));
  EXPECT_EQ(kernel.pages.pages(), pages) << "a table that cannot be preserved is not used";
  table->unpreserve();
  EXPECT_EQ(kernel.generation.kho->stats().preserved_blocks, before);
}

TEST(PasidEntries, AreWhatTheyWereMadeFrom) {
  PasidContext all{.fault_disable = true,
                   .type = kNestedStages,
                   .domain = DomainId{0xabcd},
                   .page_walk_snoop = true,
                   .page_snoop = true,
                   .width = 3,
                   .second_stage = PhysAddr(0x1234'5000),
                   .dirty_tracking = true,
                   .first_stage = PhysAddr(0x6789'a000),
                   .five_levels = true,
                   .write_protect = true,
                   .supervisor = true,
                   .extended_accessed = true};
  auto words = encode(all);
  EXPECT_EQ(words.w[0], 0x1234'5000u | 3 | 3 << 2 | 3 << 6 | 1 << 9);
  EXPECT_EQ(words.w[1], 0xabcdu | 1 << 23 | 1 << 24);
  EXPECT_EQ(words.w[2], 0x6789'a000u | 1 | 1 << 2 | 1 << 4 | 1 << 7);
  for (unsigned i = 3; i < 8; ++i) EXPECT_EQ(words.w[i], 0u);
  EXPECT_EQ(decode(words), all);
  EXPECT_EQ(encode(pass_through_entry(DomainId{1}, kCaps)).w[0], 1u | 2 << 2 | 4 << 6);
}

}  // namespace
}  // namespace causeway::iommu::vtd
