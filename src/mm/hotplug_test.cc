// Memory that comes and goes at run time.
#include <gtest/gtest.h>

#include "mm/testing/memory.h"

namespace causeway::mm {
namespace {

constexpr Pfn kHot = Pfn::containing(PhysAddr(GiB(5)));
constexpr PfnRange kRegion{kHot, kHot + 5000};

TEST(Hotplug, AddedMemoryIsFreeAndServesRequests) {
  TestMemory ram({{kDma32Limit, MiB(4)}});
  EXPECT_EQ(ram->state(kHot), FrameState::kHole);
  ASSERT_TRUE(ram->hot_add(kRegion));
  EXPECT_EQ(ram->state(kHot), FrameState::kFree);
  EXPECT_EQ(ram.managed_pages(), 1024u + 5000);
  EXPECT_TRUE(ram->alloc_contig(4096, 1, kGfpKernel));
  EXPECT_TRUE(ram->alloc_pages(kMaxPageOrder, kGfpKernel));
}

TEST(Hotplug, OverlapIsEexistAndNonsenseEinval) {
  TestMemory ram({{kDma32Limit, MiB(4)}});
  EXPECT_EQ(ram->hot_add({kNormalStart + 1023, kNormalStart + 2000}).error().code, Errno{EEXIST});
  EXPECT_EQ(ram->hot_add({kHot, kHot}).error().code, Errno{EINVAL});
  EXPECT_EQ(ram->hot_add({kHot, Pfn(ram.map().end_pfn() + 1)}).error().code, Errno{EINVAL});
  EXPECT_EQ(ram->hot_remove({kHot, kHot + 1}).error().code, Errno{ENOENT});
  EXPECT_EQ(ram.managed_pages(), 1024u);
}

TEST(Hotplug, UsedMemoryCannotBeRemoved) {
  TestMemory ram({{kDma32Limit, MiB(4)}});
  ASSERT_TRUE(ram->hot_add(kRegion));
  Page* page = *ram->alloc_contig_range({kHot + 4999, kHot + 5000});
  EXPECT_EQ(ram->hot_remove(kRegion).error().code, Errno{EBUSY});
  EXPECT_EQ(ram->state(kHot), FrameState::kFree);
  ram->put_page(page);  // to a per-CPU list, which removal drains
  EXPECT_TRUE(ram->hot_remove(kRegion));
  EXPECT_EQ(ram->state(kHot), FrameState::kHole);
  EXPECT_EQ(ram.managed_pages(), 1024u);
  ram.expect_all_free();
}

TEST(Hotplug, RemovedMemoryLeavesNoTraceInStructPages) {
  TestMemory ram({{kDma32Limit, MiB(4)}});
  PfnRange odd{kHot + 7, kHot + 4099};
  ASSERT_TRUE(ram->hot_add(odd));
  Page* page = *ram->alloc_contig_range(odd);
  ram->free_contig(page, odd.pages());
  ASSERT_TRUE(ram->hot_remove(odd));
  for (Pfn pfn = odd.begin; pfn < odd.end; ++pfn) {
    const Page* entry = ram.map().page(pfn);
    ASSERT_FALSE(entry->has(~0u));
    ASSERT_EQ(entry->order | entry->owned, 0);
    ASSERT_EQ(entry->next | entry->prev, 0u);
  }
  ASSERT_TRUE(ram->hot_add(odd));
  EXPECT_EQ(ram.managed_pages(), 1024u + odd.pages());
  EXPECT_TRUE(ram->alloc_contig_range(odd));
}

TEST(Hotplug, ReservedMemoryIsNeverHandedOut) {
  TestMemory ram({{kDma32Limit, MiB(4)}});
  ASSERT_TRUE(ram->hot_add(kRegion, HotMemory::kReserved));
  EXPECT_EQ(ram->state(kHot), FrameState::kReserved);
  EXPECT_TRUE(ram->is_managed(kHot));
  EXPECT_EQ(ram.managed_pages(), 1024u);
  while (auto page = ram->alloc_pages(kOrder0, kGfpKernel | Gfp::kNoWarn)) {
    ASSERT_FALSE(kRegion.contains(ram.map().pfn(*page)));
  }
  EXPECT_EQ(ram->hot_remove(kRegion).error().code, Errno{EBUSY});
  EXPECT_TRUE(ram->hot_remove(kRegion, HotMemory::kReserved));
  EXPECT_FALSE(ram->is_managed(kHot));
}

TEST(Hotplug, ReservedMemoryWithAPinnedPageCannotBeRemoved) {
  TestMemory ram({{kDma32Limit, MiB(4)}});
  ASSERT_TRUE(ram->hot_add(kRegion, HotMemory::kReserved));
  ram.map().page(kHot + 17)->set_count(1);
  EXPECT_EQ(ram->hot_remove(kRegion, HotMemory::kReserved).error().code, Errno{EBUSY});
  ram.map().page(kHot + 17)->set_count(0);
  EXPECT_TRUE(ram->hot_remove(kRegion, HotMemory::kReserved));
}

TEST(Hotplug, ABootReservationOfWhatWasNoRamDoesNotOutliveIt) {
  TestMemory ram({{kDma32Limit, MiB(4)}}, true, [](BootMemory& boot) {
    EXPECT_TRUE(boot.reserve({kHot.address(), MiB(4)}, Reservation::kNoInit));
  });
  ASSERT_TRUE(ram->hot_add(kRegion));
  EXPECT_EQ(ram->state(kHot), FrameState::kFree);
  EXPECT_EQ(ram.free_pages(), 1024u + 5000);
}

TEST(Hotplug, RegionsComeAndGoManyTimes) {
  TestMemory ram({{kDma32Limit, MiB(4)}});
  for (int round = 0; round < 200; ++round) {
    PfnRange region{kHot + static_cast<uint64_t>(round % 5) * 8192,
                    kHot + static_cast<uint64_t>(round % 5) * 8192 + 3000};
    ASSERT_TRUE(ram->hot_add(region));
    Page* first = *ram->alloc_contig_range({region.begin + 10, region.end - 10});
    ram->free_contig(first, region.pages() - 20);
    ASSERT_TRUE(ram->hot_remove(region));
  }
  ram.expect_all_free();
}

}  // namespace
}  // namespace causeway::mm
