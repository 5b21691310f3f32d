// Memory that was reserved at boot: scratch, preserved blocks, and how they come to the allocator.
#include <gtest/gtest.h>

#include <set>

#include "base/log.h"
#include "mm/testing/memory.h"

namespace causeway::mm {
namespace {

constexpr MemRange kScratch{PhysAddr(MiB(8)), MiB(8)};
constexpr MemRange kPreserved{PhysAddr(MiB(33)), MiB(2)};

TestMemory with_reservations() {
  return TestMemory(low_only(), true, [](BootMemory& boot) {
    EXPECT_TRUE(boot.reserve(kScratch));
    EXPECT_TRUE(boot.reserve(kPreserved, Reservation::kNoInit));
  });
}

TEST(Reserved, NeitherKindIsManagedOrHandedOut) {
  TestMemory ram = with_reservations();
  EXPECT_EQ(ram.managed_pages(), MiB(54) / kPageSize - 1);
  EXPECT_EQ(ram.count(FrameState::kReserved), MiB(10) / kPageSize + 1);
  while (auto page = ram->alloc_pages(kOrder0, kGfpKernel | Gfp::kNoWarn)) {
    PhysAddr address = ram.map().phys(*page);
    ASSERT_FALSE(kScratch.base <= address && address < kScratch.end());
    ASSERT_FALSE(kPreserved.base <= address && address < kPreserved.end());
  }
  EXPECT_TRUE(ram->is_managed(Pfn::containing(kPreserved.base)));
  EXPECT_FALSE(ram->is_managed(Pfn(MiB(64) >> kPageShift)));
}

TEST(Reserved, OnlyNormalReservationsAreMarkedInStructPages) {
  TestMemory ram = with_reservations();
  EXPECT_TRUE(ram.map().page(kScratch.base)->has(kPageReserved));
  EXPECT_TRUE(ram.map().page(kScratch.end() - 1)->has(kPageReserved));
  EXPECT_FALSE(ram.map().page(kScratch.end())->has(kPageReserved));
  EXPECT_FALSE(ram.map().page(kPreserved.base)->has(~0u));
}

TEST(Reserved, MemoryReservedBothWaysKeepsItsStructPages) {
  TestMemory ram(low_only(), true, [](BootMemory& boot) {
    EXPECT_TRUE(boot.reserve({PhysAddr(MiB(8)), MiB(2)}));
    EXPECT_TRUE(boot.reserve({PhysAddr(MiB(9)), MiB(2)}, Reservation::kNoInit));
  });
  EXPECT_TRUE(ram.map().page(PhysAddr(MiB(9) - 1))->has(kPageReserved));
  EXPECT_FALSE(ram.map().page(PhysAddr(MiB(9)))->has(kPageReserved));
}

TEST(Reserved, AReservationThatIsNotRamMarksNothing) {
  TestMemory ram({{PhysAddr(0), MiB(8)}, {kDma32Limit, MiB(8)}}, true, [](BootMemory& boot) {
    EXPECT_TRUE(boot.reserve({PhysAddr(MiB(6)), GiB(4)}));
  });
  EXPECT_TRUE(ram.map().page(PhysAddr(MiB(6)))->has(kPageReserved));
  EXPECT_FALSE(ram.map().page(PhysAddr(GiB(2)))->has(kPageReserved));
  EXPECT_TRUE(ram.map().page(kDma32Limit + MiB(5))->has(kPageReserved));
  EXPECT_EQ(ram->state(Pfn::containing(PhysAddr(GiB(2)))), FrameState::kHole);
  EXPECT_EQ(ram.managed_pages(), MiB(8) / kPageSize - 1);
}

TEST(Reserved, ReleasedScratchIsCmaMemory) {
  TestMemory ram = with_reservations();
  uint64_t managed = ram.managed_pages();
  ram->release_reserved({Pfn::containing(kScratch.base), Pfn::containing(kScratch.end())}, MigrateType::kCma);
  EXPECT_EQ(ram.managed_pages(), managed + 2048);
  EXPECT_EQ(ram->stats().zone[0].free_cma_pages, 2048u);
  EXPECT_FALSE(ram.map().page(kScratch.base)->has(kPageReserved));
  EXPECT_EQ(ram.count(FrameState::kReserved), 513u);
}

TEST(Reserved, OnlyWholePageblocksBecomeCma) {
  TestMemory ram = with_reservations();
  Pfn first = Pfn::containing(kScratch.base);
  ram->release_reserved({first + 1, first + 2047}, MigrateType::kCma);
  EXPECT_EQ(ram->stats().zone[0].free_cma_pages, 0u);
}

TEST(Reserved, AReleasedPreservedBlockLosesItsStamp) {
  TestMemory ram = with_reservations();
  Page* head = ram.map().page(kPreserved.base);
  head->private_data = 0x4b484f5000000009;
  head->set_count(1);
  Pfn first = Pfn::containing(kPreserved.base);
  ram->release_reserved({first, first + 512}, MigrateType::kMovable);
  EXPECT_EQ(head->private_data, 0u);
  EXPECT_EQ(ram->state(first), FrameState::kFree);
  EXPECT_EQ(ram->alloc_contig_range({first, first + 512}).value(), head);
  EXPECT_EQ(ram->stats().bad_pages, 0u);
}

TEST(Reserved, ReleasingWhatIsNotReservedIsReportedAndSkipped) {
  TestMemory ram = with_reservations();
  log::Capture log;
  Pfn end = Pfn::containing(kScratch.end());
  uint64_t managed = ram.managed_pages();
  ram->release_reserved({end - 2, end + 3}, MigrateType::kMovable);
  EXPECT_EQ(ram.managed_pages(), managed + 2);
  EXPECT_EQ(ram.free_pages(), managed + 2);
  EXPECT_EQ(ram->stats().bad_pages, 3u);
  ram->release_reserved({end - 2, end}, MigrateType::kMovable);
  EXPECT_TRUE(log.contains("free already"));
  EXPECT_EQ(ram.managed_pages(), managed + 2);
}

TEST(Reserved, FrameZeroIsNeverReleased) {
  TestMemory ram = with_reservations();
  ram->release_reserved({Pfn(0), Pfn(1)}, MigrateType::kMovable);
  EXPECT_EQ(ram->state(Pfn(0)), FrameState::kReserved);
}

// Restore as a folio, as split pages, and unsplit: what the handover does with a stamped block.
TEST(Reserved, AnAdoptedFolioIsFreedWhole) {
  TestMemory ram = with_reservations();
  Page* head = ram.map().page(kPreserved.base);
  uint64_t managed = ram.managed_pages();
  head->set_count(1);
  ram->prep_compound(head, Order(9));
  ram->adopt_reserved(head, Order(9));
  EXPECT_EQ(ram.managed_pages(), managed + 512);
  EXPECT_EQ(ram->state(ram.map().pfn(head + 511)), FrameState::kAllocated);
  ram->put_page(head);
  EXPECT_EQ(ram.free_pages(), managed + 512);
  EXPECT_EQ(ram->stats().bad_pages, 0u);
}

TEST(Reserved, AdoptedSplitPagesAreFreedOneByOne) {
  TestMemory ram = with_reservations();
  Page* head = ram.map().page(kPreserved.base);
  uint64_t managed = ram.managed_pages();
  for (int i = 0; i < 16; ++i) head[i].set_count(1);
  ram->adopt_reserved(head, Order(4));
  for (int i = 0; i < 16; ++i) ram->put_page(head + i);
  EXPECT_EQ(ram.free_pages(), managed + 16);
  EXPECT_EQ(ram->stats().bad_pages, 0u);
}

TEST(Reserved, AnAdoptedUnsplitBlockIsFreedByOrderOrSplitFirst) {
  TestMemory ram = with_reservations();
  Page* head = ram.map().page(kPreserved.base);
  uint64_t managed = ram.managed_pages();
  head[0].set_count(1);
  ram->adopt_reserved(head, Order(3));
  ram->free_pages(head, Order(3));
  head[8].set_count(1);
  ram->adopt_reserved(head + 8, Order(3));
  ASSERT_TRUE(ram->split_page(head + 8, Order(3)));
  for (int i = 8; i < 16; ++i) ram->put_page(head + i);
  EXPECT_EQ(ram.free_pages(), managed + 16);
  EXPECT_EQ(ram->stats().bad_pages, 0u);
}

// The negative control of unsplit restore: split counts, freed by order.
TEST(Reserved, ABlockRestoredSplitAndFreedByOrderIsBad) {
  TestMemory ram = with_reservations();
  log::Capture log;
  Page* head = ram.map().page(kPreserved.base);
  uint64_t free = ram.free_pages();
  for (int i = 0; i < 8; ++i) head[i].set_count(1);
  ram->adopt_reserved(head, Order(3));
  ram->free_pages(head, Order(3));
  EXPECT_TRUE(log.contains("nonzero refcount (page 1 of an order-3 block"));
  EXPECT_EQ(ram->stats().leaked_pages, 8u);
  EXPECT_EQ(ram.free_pages(), free);
}

TEST(Reserved, FreeingARestoredBlockThatNobodyAdoptedIsBad) {
  TestMemory ram = with_reservations();
  Page* head = ram.map().page(kPreserved.base);
  uint64_t free = ram.free_pages();
  head->set_count(1);
  ram->free_pages(head, Order(3));
  EXPECT_EQ(ram->stats().bad_pages, 1u);
  EXPECT_EQ(ram.free_pages(), free);
  EXPECT_EQ(ram->state(ram.map().pfn(head)), FrameState::kReserved);
}

TEST(Reserved, AdoptingTwiceCountsOnce) {
  TestMemory ram = with_reservations();
  log::Capture log;
  Page* head = ram.map().page(kPreserved.base);
  uint64_t managed = ram.managed_pages();
  ram->adopt_reserved(head, Order(2));
  ram->adopt_reserved(head, Order(3));
  EXPECT_EQ(ram.managed_pages(), managed + 8);
  EXPECT_TRUE(log.contains("4 pages were reserved, want 8"));
}

TEST(Reserved, AGiganticBlockIsAdoptedAndFreedAsOneFolio) {
  TestMemory ram({{kDma32Limit, MiB(32)}}, true, [](BootMemory& boot) {
    EXPECT_TRUE(boot.reserve({kDma32Limit + MiB(16), MiB(16)}, Reservation::kNoInit));
  });
  Page* head = ram.map().page(kDma32Limit + MiB(16));
  head->set_count(1);
  ram->prep_compound(head, Order(12));
  ram->adopt_reserved(head, Order(12));
  ram->put_page(head);
  EXPECT_EQ(ram.free_pages(), MiB(32) / kPageSize);
  ram.expect_all_free();
}

TEST(Reserved, ManyHolesAreKeptAndTheRestIsAllThere) {
  constexpr uint64_t kHoles = 20'000;
  std::set<uint64_t> reserved;
  TestMemory ram({{PhysAddr(0), GiB(1)}}, true, [&](BootMemory& boot) {
    std::vector<MemRange> holes;
    for (uint64_t i = 1; i <= kHoles; ++i) {
      uint64_t pfn = i * 13 - i % 7;
      reserved.insert(pfn);
      holes.push_back({Pfn(pfn).address(), kPageSize});
    }
    EXPECT_TRUE(boot.reserve_all(holes, Reservation::kNoInit));
  });
  EXPECT_EQ(ram.managed_pages(), GiB(1) / kPageSize - reserved.size() - 1);
  for (int i = 0; i < 2'000; ++i) {
    Page* page = *ram->alloc_pages(Order(3), kGfpKernel);
    uint64_t pfn = ram.map().pfn(page).value();
    auto hole = reserved.lower_bound(pfn);
    ASSERT_TRUE(hole == reserved.end() || *hole >= pfn + 8);
  }
}

}  // namespace
}  // namespace causeway::mm
