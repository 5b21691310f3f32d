// Contiguous allocations beyond the largest buddy block, and exact ranges.
#include <gtest/gtest.h>

#include <cstring>

#include "base/log.h"
#include "mm/testing/memory.h"

namespace causeway::mm {
namespace {

TEST(Contig, AnyNumberOfPagesEachWithAReference) {
  TestMemory ram(both_zones());
  Page* first = *ram->alloc_contig(3333, 64, kGfpKernel);
  EXPECT_TRUE(is_aligned(ram.map().pfn(first).value(), 64));
  for (int i = 0; i < 3333; ++i) ASSERT_EQ(first[i].count(), 1);
  EXPECT_EQ(ram.free_pages(), ram.managed_pages() - 3333);
  ram->free_contig(first, 3333);
  ram.expect_all_free();
}

TEST(Contig, APieceOfUntouchedMemoryGivesTheWholePageblockBack) {
  TestMemory ram({{kDma32Limit, MiB(8)}});
  Page* piece = *ram->alloc_contig_range({kNormalStart + 100, kNormalStart + 1500});
  ram->free_contig(piece, 1400);
  EXPECT_TRUE(ram->alloc_pages(kMaxPageOrder, kGfpKernel));
  EXPECT_TRUE(ram->alloc_pages(kMaxPageOrder, kGfpKernel));
}

TEST(Contig, BadArgumentsAreEinval) {
  TestMemory ram(both_zones());
  EXPECT_EQ(ram->alloc_contig(0, 1, kGfpKernel).error().code, Errno{EINVAL});
  EXPECT_EQ(ram->alloc_contig(8, 3, kGfpKernel).error().code, Errno{EINVAL});
  EXPECT_EQ(ram->alloc_contig(8, 0, kGfpKernel).error().code, Errno{EINVAL});
  EXPECT_EQ(ram->alloc_contig(6, 1, kGfpKernel | Gfp::kComp).error().code, Errno{EINVAL});
  EXPECT_EQ(ram->alloc_contig(1 << 30, 1, kGfpKernel | Gfp::kNoWarn).error().code, Errno{ENOMEM});
}

TEST(Contig, Dma32RequestsStayBelow4GiB) {
  TestMemory ram(both_zones());
  Page* first = *ram->alloc_contig(5000, 1, kGfpKernel | Gfp::kDma32);
  EXPECT_LT(ram.map().pfn(first) + 5000, kNormalStart);
}

TEST(Contig, FreeBlocksAndPerCpuListsServeToo) {
  TestMemory ram({{kDma32Limit, MiB(16)}});
  std::vector<Page*> pages;
  while (auto page = ram->alloc_pages(kOrder0, kGfpKernel | Gfp::kNoWarn)) pages.push_back(*page);
  // All memory has been used; what is contiguous now lies in buddy blocks and on a per-CPU list.
  for (Page* page : pages) ram->put_page(page);
  Page* first = *ram->alloc_contig(4096, 4096, kGfpKernel);
  EXPECT_EQ(ram.free_pages(), 0u);
  ram->free_contig(first, 4096);
  ram.expect_all_free();
}

TEST(Contig, ABusyFrameIsSteppedOver) {
  TestMemory ram({{kDma32Limit, MiB(16)}});
  std::vector<Page*> pages;
  while (auto page = ram->alloc_pages(kOrder0, kGfpKernel | Gfp::kNoWarn)) pages.push_back(*page);
  Page* busy = ram.map().page(kNormalStart + 1500);
  for (Page* page : pages) {
    if (page != busy) ram->put_page(page);
  }
  Page* first = *ram->alloc_contig(2048, 512, kGfpKernel);
  EXPECT_EQ(ram.map().pfn(first), kNormalStart + 1536);
  EXPECT_EQ(*ram->alloc_contig(1500, 1, kGfpKernel), ram.map().page(kNormalStart));
  EXPECT_EQ(ram->alloc_contig(513, 1, kGfpKernel | Gfp::kNoWarn).error().code, Errno{ENOMEM});
}

TEST(Contig, AnExactRangeIsTakenFromWhereverItsFramesAre) {
  TestMemory ram({{kDma32Limit, MiB(32)}});
  (void)*ram->alloc_pages(kOrder0, kGfpKernel);  // the first pageblock becomes buddy blocks
  PfnRange range{kNormalStart + 1000, kNormalStart + 5001};
  ASSERT_EQ(ram->alloc_contig_range(range).value(), ram.map().page(range.begin));
  EXPECT_EQ(ram->alloc_contig_range({range.end - 1, range.end + 5}).error().code, Errno{EBUSY});
  EXPECT_EQ(ram->state(range.begin - 1), FrameState::kFree);
  EXPECT_EQ(ram->state(range.begin), FrameState::kAllocated);
  EXPECT_EQ(ram->state(range.end), FrameState::kFree);
  ram->free_contig(ram.map().page(range.begin), range.pages());
  EXPECT_EQ(ram.free_pages(), ram.managed_pages() - 1);
}

TEST(Contig, ARangeOutsideRamIsEinvalAndLeavesNothingTaken) {
  TestMemory ram({{kDma32Limit, MiB(8)}});
  EXPECT_EQ(ram->alloc_contig_range({kNormalStart + 2000, kNormalStart + 2100}).error().code, Errno{EINVAL});
  EXPECT_EQ(ram->alloc_contig_range({Pfn(5), Pfn(5)}).error().code, Errno{EINVAL});
  EXPECT_EQ(ram->alloc_contig_range({Pfn(0), Pfn(UINT64_MAX)}).error().code, Errno{EINVAL});
  ram.expect_all_free();
}

TEST(Contig, ARangeMayCross4GiB) {
  TestMemory ram({{PhysAddr(GiB(4) - MiB(8)), MiB(16)}});
  PfnRange range{kNormalStart - 1000, kNormalStart + 1000};
  Page* first = *ram->alloc_contig_range(range);
  EXPECT_EQ(ram->stats().zone[0].free_pages, 1048u);
  EXPECT_EQ(ram->stats().zone[1].free_pages, 1048u);
  ram->free_contig(first, 2000);
  ram.expect_all_free();
}

TEST(Contig, CmaMemoryIsTakenByRangeOrByMovableRequests) {
  TestMemory ram({{kDma32Limit, MiB(8)}}, true, [](BootMemory& boot) {
    EXPECT_TRUE(boot.reserve({kDma32Limit, MiB(8)}));
  });
  ram->release_reserved({kNormalStart, kNormalStart + 2048}, MigrateType::kCma);
  EXPECT_EQ(ram->alloc_contig(8, 1, kGfpKernel | Gfp::kNoWarn).error().code, Errno{ENOMEM});
  Page* area = *ram->alloc_contig_range({kNormalStart + 100, kNormalStart + 300});
  EXPECT_TRUE(ram->alloc_contig(1024, 1024, kGfpKernel | Gfp::kMovable));
  EXPECT_EQ(ram->stats().zone[1].free_cma_pages, 824u);
  ram->free_contig(area, 200);
  EXPECT_EQ(ram->stats().zone[1].free_cma_pages, 1024u);
}

TEST(Contig, AGiganticFolioIsFreedByItsLastReference) {
  TestMemory ram({{kDma32Limit, MiB(64)}});
  Page* head = *ram->alloc_contig(8192, 8192, kGfpKernel | Gfp::kComp);
  EXPECT_EQ(head->order, 13);
  EXPECT_EQ(ram.map().head(head + 8191), head);
  ram->get_page(head + 77);
  ram->put_page(head);
  ram->free_contig(head, 8192);
  ram.expect_all_free();
}

TEST(Contig, ZeroedRangeIsZeroThoughItWasUsedBefore) {
  TestMemory ram({{kDma32Limit, MiB(8)}});
  for (uint64_t pages : {2048, 100}) {
    Page* first = *ram->alloc_contig(pages, 1, kGfpKernel);
    std::memset(ram.map().address(first), 0x5a, pages * kPageSize);
    ram->free_contig(first, pages);
    first = *ram->alloc_contig(pages, 1, kGfpKernel | Gfp::kZero);
    const std::byte* data = ram.map().address(first);
    for (uint64_t i = 0; i < pages * kPageSize; i += 64) ASSERT_EQ(data[i], std::byte{0});
    ram->free_contig(first, pages);
  }
}

TEST(Contig, APageStillReferencedStaysWhenTheRangeIsFreed) {
  TestMemory ram({{kDma32Limit, MiB(8)}});
  Page* first = *ram->alloc_contig(100, 1, kGfpKernel);
  ram->get_page(first + 50);
  ram->free_contig(first, 100);
  EXPECT_EQ(ram.free_pages(), ram.managed_pages() - 1);
  ram->put_page(first + 50);
  ram.expect_all_free();
}

TEST(Contig, ABadPageInAFreedRangeIsLeakedAlone) {
  TestMemory ram({{kDma32Limit, MiB(8)}});
  log::Capture log;
  Page* first = *ram->alloc_contig(100, 1, kGfpKernel);
  first[10].set(kPageLocked);
  ram->free_contig(first, 100);
  EXPECT_EQ(ram->stats().leaked_pages, 1u);
  EXPECT_EQ(ram.free_pages(), ram.managed_pages() - 1);
  ram->free_contig(first, 100);
  EXPECT_EQ(ram->stats().bad_pages, 101u);
  EXPECT_EQ(ram.free_pages(), ram.managed_pages() - 1);
}

}  // namespace
}  // namespace causeway::mm
