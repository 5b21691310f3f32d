#include "mm/page_allocator.h"

#include <gtest/gtest.h>

#include <cstring>
#include <set>

#include "base/log.h"
#include "base/point.h"
#include "mm/testing/memory.h"

namespace causeway::mm {
namespace {

TEST(PageAllocator, ABlockIsCountedOnItsHeadAlone) {
  TestMemory ram(both_zones());
  Page* block = *ram->alloc_pages(Order(3), kGfpKernel);
  EXPECT_EQ(block[0].count(), 1);
  for (int i = 1; i < 8; ++i) EXPECT_EQ(block[i].count(), 0);
  for (int i = 0; i < 8; ++i) EXPECT_FALSE(block[i].has(kPageHead | kPageTail | kPageBuddy));
  EXPECT_TRUE(ram.map().pfn(block).is_aligned(Order(3)));
  EXPECT_EQ(ram.free_pages(), ram.managed_pages() - 8);
  ram->free_pages(block, Order(3));
  ram.expect_all_free();
}

TEST(PageAllocator, NormalMemoryIsUsedFirstThenDma32) {
  TestMemory ram({{PhysAddr(0), MiB(8)}, {kDma32Limit, MiB(8)}});
  std::vector<Page*> blocks;
  while (auto page = ram->alloc_pages(Order(9), kGfpKernel | Gfp::kNoWarn)) blocks.push_back(*page);
  ASSERT_EQ(blocks.size(), 7u);  // frame 0 is nobody's, so its block is not whole
  for (int i = 0; i < 4; ++i) EXPECT_GE(ram.map().pfn(blocks[i]), kNormalStart);
  for (int i = 4; i < 7; ++i) EXPECT_LT(ram.map().pfn(blocks[i]), kNormalStart);
}

TEST(PageAllocator, Dma32RequestsNeverGetNormalMemory) {
  TestMemory ram({{PhysAddr(0), MiB(8)}, {kDma32Limit, MiB(64)}});
  std::vector<Page*> blocks;
  while (auto page = ram->alloc_pages(Order(0), kGfpKernel | Gfp::kDma32 | Gfp::kNoWarn))
    blocks.push_back(*page);
  EXPECT_EQ(blocks.size(), MiB(8) / kPageSize - 1);
  for (Page* page : blocks) ASSERT_LT(ram.map().pfn(page), kNormalStart);
}

TEST(PageAllocator, EveryFrameButFrameZeroIsHandedOutOnce) {
  TestMemory ram({{PhysAddr(0), MiB(12)}, {kDma32Limit, MiB(12)}});
  std::set<Page*> pages;
  for (unsigned order : {10, 3, 0}) {
    while (auto page = ram->alloc_pages(Order(order), kGfpKernel | Gfp::kNoWarn)) {
      for (uint64_t i = 0; i < Order(order).pages(); ++i) ASSERT_TRUE(pages.insert(*page + i).second);
    }
  }
  EXPECT_EQ(pages.size(), MiB(24) / kPageSize - 1);
  EXPECT_EQ(ram->state(Pfn(0)), FrameState::kReserved);
  EXPECT_EQ(ram.free_pages(), 0u);
}

TEST(PageAllocator, FreedMemoryMergesBackToTheLargestBlocks) {
  TestMemory ram({{kDma32Limit, MiB(16)}});
  std::vector<Page*> pages;
  while (auto page = ram->alloc_pages(kOrder0, kGfpKernel | Gfp::kNoWarn)) pages.push_back(*page);
  for (Page* page : pages) ram->put_page(page);
  ram.expect_all_free();
  for (int i = 0; i < 4; ++i) EXPECT_TRUE(ram->alloc_pages(kMaxPageOrder, kGfpKernel)) << i;
}

TEST(PageAllocator, HighOrderRequestGetsWhatPerCpuListsHold) {
  TestMemory ram({{kDma32Limit, MiB(4)}});
  ram->put_page(*ram->alloc_pages(kOrder0, kGfpKernel));
  EXPECT_TRUE(ram->alloc_pages(kMaxPageOrder, kGfpKernel));
}

TEST(PageAllocator, OrderAboveTheMaximumIsEinval) {
  TestMemory ram(both_zones());
  EXPECT_EQ(ram->alloc_pages(Order(11), kGfpKernel).error().code, Errno{EINVAL});
}

TEST(PageAllocator, ExhaustionIsEnomemAndSaysSoUnlessToldNotTo) {
  TestMemory ram({{kDma32Limit, MiB(4)}});
  Page* all = *ram->alloc_pages(kMaxPageOrder, kGfpKernel);
  log::Capture capture;
  EXPECT_EQ(ram->alloc_pages(kOrder0, kGfpKernel | Gfp::kNoWarn).error().code, Errno{ENOMEM});
  EXPECT_TRUE(capture.lines().empty());
  EXPECT_EQ(ram->alloc_pages(kOrder0, kGfpKernel).error().code, Errno{ENOMEM});
  EXPECT_TRUE(capture.contains("page allocation failure: order 0"));
  ram->free_pages(all, kMaxPageOrder);
}

TEST(PageAllocator, ZeroedMemoryIsZeroThoughItWasUsedBefore) {
  TestMemory ram({{kDma32Limit, MiB(4)}});
  Page* block = *ram->alloc_pages(kMaxPageOrder, kGfpKernel);
  std::memset(ram.map().address(block), 0xa5, MiB(4));
  ram->free_pages(block, kMaxPageOrder);
  block = *ram->alloc_pages(Order(4), kGfpKernel | Gfp::kZero);
  const std::byte* data = ram.map().address(block);
  for (uint64_t i = 0; i < Order(4).bytes(); ++i) ASSERT_EQ(data[i], std::byte{0});
}

TEST(PageAllocator, TheLastByteLiesAtOrBelowTheLimit) {
  TestMemory ram(both_zones());
  PhysAddr limit(MiB(20) - 1);
  std::vector<Page*> blocks;
  while (auto page = ram->alloc_pages_below(Order(8), kGfpKernel | Gfp::kNoWarn, limit)) {
    ASSERT_LE(ram.map().phys(*page) + (Order(8).bytes() - 1), limit);
    blocks.push_back(*page);
  }
  EXPECT_EQ(blocks.size(), 19u);  // all of them but the one with frame 0
  EXPECT_EQ(ram->alloc_pages_below(kOrder0, kGfpKernel | Gfp::kNoWarn, PhysAddr(100)).error().code,
            Errno{ENOMEM});
  for (Page* page : blocks) ram->free_pages(page, Order(8));
  // Now from buddy lists instead of untouched memory.
  EXPECT_TRUE(ram->alloc_pages_below(Order(8), kGfpKernel, limit));
}

TEST(PageAllocator, ALimitAboveAllMemoryIsNoLimit) {
  TestMemory ram(both_zones());
  Page* page = *ram->alloc_pages_below(kOrder0, kGfpKernel, PhysAddr(GiB(7)));
  EXPECT_GE(ram.map().pfn(page), kNormalStart);
  page = *ram->alloc_pages_below(kOrder0, kGfpKernel, PhysAddr(GiB(4) - 1));
  EXPECT_LT(ram.map().pfn(page), kNormalStart);
}

TEST(PageAllocator, SplitGivesEveryPageItsOwnReference) {
  TestMemory ram(both_zones());
  Page* block = *ram->alloc_pages(Order(2), kGfpKernel);
  ASSERT_TRUE(ram->split_page(block, Order(2)));
  for (int i = 0; i < 4; ++i) EXPECT_EQ(block[i].count(), 1);
  for (int i = 3; i >= 0; --i) ram->put_page(block + i);
  ram.expect_all_free();
}

TEST(PageAllocator, CompoundAndFreePagesCannotBeSplit) {
  TestMemory ram(both_zones());
  Page* compound = *ram->alloc_pages(Order(2), kGfpKernel | Gfp::kComp);
  EXPECT_EQ(ram->split_page(compound, Order(2)).error().code, Errno{EINVAL});
  EXPECT_EQ(ram->split_page(compound + 1, kOrder0).error().code, Errno{EINVAL});
  EXPECT_EQ(ram->split_page(ram.page(0x100), Order(2)).error().code, Errno{EINVAL});
}

TEST(PageAllocator, CompoundPageIsCountedOnItsHeadAndFreedWhole) {
  TestMemory ram(both_zones());
  Page* head = *ram->alloc_pages(Order(4), kGfpKernel | Gfp::kComp);
  EXPECT_TRUE(head->has(kPageHead));
  EXPECT_EQ(ram.map().head(head + 13), head);
  ram->get_page(head + 5);
  EXPECT_EQ(head->count(), 2);
  ram->put_page(head + 9);
  EXPECT_EQ(ram.free_pages(), ram.managed_pages() - 16);
  ram->put_page(head);
  ram.expect_all_free();
  EXPECT_FALSE(head[5].has(kPageTail));
}

TEST(PageAllocator, DestroyedCompoundIsAPlainBlock) {
  TestMemory ram(both_zones());
  Page* head = *ram->alloc_pages(Order(3), kGfpKernel | Gfp::kComp);
  ram->destroy_compound(head);
  EXPECT_EQ(ram.map().head(head + 3), head + 3);
  ram->free_pages(head, Order(3));
  ram.expect_all_free();
}

TEST(PageAllocator, AReferenceKeepsABlock) {
  TestMemory ram(both_zones());
  Page* block = *ram->alloc_pages(Order(5), kGfpKernel);
  ram->get_page(block);
  ram->free_pages(block, Order(5));
  EXPECT_EQ(ram->state(ram.map().pfn(block)), FrameState::kAllocated);
  ram->free_pages(block, Order(5));
  ram.expect_all_free();
}

TEST(PageAllocator, AStampOnTheHeadIsWipedWhenTheBlockIsFreed) {
  TestMemory ram(both_zones());
  Page* block = *ram->alloc_pages(Order(2), kGfpKernel);
  block->private_data = 0x4b484f5000000002;
  ram->free_pages(block, Order(2));
  EXPECT_EQ(block->private_data, 0u);
  ram.expect_all_free();
}

TEST(PageAllocator, CmaMemoryServesMovableRequestsOnly) {
  TestMemory ram({{kDma32Limit, MiB(16)}}, true, [](BootMemory& boot) {
    EXPECT_TRUE(boot.reserve({kDma32Limit + MiB(4), MiB(8)}));
  });
  ram->release_reserved({kNormalStart + 1024, kNormalStart + 3072}, MigrateType::kCma);
  EXPECT_EQ(ram->stats().zone[1].free_cma_pages, 2048u);
  auto is_cma = [&](Page* page) {
    uint64_t offset = ram.map().pfn(page) - kNormalStart;
    return offset >= 1024 && offset < 3072;
  };
  std::vector<Page*> kept;
  for (int i = 0; i < 100; ++i) kept.push_back(*ram->alloc_pages(kOrder0, kGfpKernel | Gfp::kMovable));
  while (auto page = ram->alloc_pages(kOrder0, kGfpKernel | Gfp::kNoWarn)) {
    ASSERT_FALSE(is_cma(*page));
    kept.push_back(*page);
  }
  EXPECT_EQ(ram->alloc_contig(512, 1, kGfpKernel | Gfp::kNoWarn).error().code, Errno{ENOMEM});
  EXPECT_EQ(
      ram->alloc_pages_below(kOrder0, kGfpKernel | Gfp::kNoWarn, PhysAddr(GiB(4) + MiB(12) - 1)).error().code,
      Errno{ENOMEM});
  while (auto page = ram->alloc_pages(kOrder0, kGfpKernel | Gfp::kMovable | Gfp::kNoWarn))
    kept.push_back(*page);
  EXPECT_EQ(kept.size(), 4096u);
  EXPECT_EQ(ram->stats().zone[1].free_cma_pages, 0u);
  for (Page* page : kept) ram->put_page(page);
  // Freed CMA memory is CMA memory again, in per-CPU lists as well.
  EXPECT_EQ(ram->stats().zone[1].free_cma_pages, 2048u);
  ram.expect_all_free();
  EXPECT_EQ(ram->stats().zone[1].free_cma_pages, 2048u);
}

TEST(PageAllocator, KindsStealFromEachOtherBeforeTheyFail) {
  TestMemory ram({{kDma32Limit, MiB(8)}});
  std::vector<Page*> kept;
  kept.push_back(*ram->alloc_pages(kOrder0, kGfpKernel | Gfp::kMovable));
  while (auto page = ram->alloc_pages(kOrder0, kGfpKernel | Gfp::kNoWarn)) kept.push_back(*page);
  EXPECT_GE(kept.size(), 2048u - 64);  // all but what the movable per-CPU list of this thread keeps
  ram->put_page(kept.back());
  kept.pop_back();
  kept.push_back(*ram->alloc_pages(kOrder0, kGfpKernel | Gfp::kMovable));
  for (Page* page : kept) ram->put_page(page);
  ram.expect_all_free();
}

TEST(PageAllocator, VirginMemoryCostsNoStructPages) {
  TestMemory ram({{kDma32Limit, MiB(64)}});
  (void)*ram->alloc_pages(kOrder0, kGfpKernel);
  // All but the pageblock that was cut is untouched.
  for (uint64_t i = 1024; i < MiB(64) / kPageSize; ++i) {
    const Page* page = ram.map().page(kNormalStart + i);
    ASSERT_FALSE(page->has(~0u));
    ASSERT_EQ(page->order | page->owned, 0);
  }
}

TEST(PageAllocator, AnUnusualLayoutIsServedToTheLastFrame) {
  // Odd sizes, a hole within a pageblock, and RAM up to the last byte below 4 GiB.
  TestMemory ram(
      {{PhysAddr(0x3000), 0x25000}, {PhysAddr(0x2a000), MiB(5)}, {PhysAddr(GiB(4) - MiB(2)), MiB(3)}});
  uint64_t expected = 0x25 + MiB(8) / kPageSize;
  EXPECT_EQ(ram.free_pages(), expected);
  uint64_t got = 0;
  while (ram->alloc_pages(kOrder0, kGfpKernel | Gfp::kNoWarn)) ++got;
  EXPECT_EQ(got, expected);
}

#ifdef CW_SANITIZED
constexpr uint64_t kHugeRam = GiB(16);  // a sanitizer leaves no room for more
#else
constexpr uint64_t kHugeRam = GiB(1024);
#endif

TEST(PageAllocator, ATebibyteIsManagedThroughARangeOrTwo) {
  TestMemory ram(
      {{PhysAddr(0), MiB(4)}}, true,
      [](BootMemory& boot) {
        EXPECT_TRUE(boot.add({kDma32Limit, kHugeRam}));
      },
      GiB(4) + kHugeRam);
  EXPECT_EQ(ram.free_pages(), kHugeRam / kPageSize + 1023);
  Page* giant = *ram->alloc_contig(GiB(1) / kPageSize, GiB(1) / kPageSize, kGfpKernel);
  EXPECT_TRUE(ram.map().phys(giant).is_aligned(GiB(1)));
  ram->free_contig(giant, GiB(1) / kPageSize);
  EXPECT_EQ(ram.free_pages(), ram.managed_pages());
}

#if CW_POINTS
TEST(PageAllocator, AllocationCanBeMadeToFail) {
  TestMemory ram(both_zones());
  ASSERT_TRUE(point::arm("mm.alloc_pages.begin=fail:2"));
  EXPECT_TRUE(ram->alloc_pages(kOrder0, kGfpKernel));
  EXPECT_EQ(ram->alloc_pages(kOrder0, kGfpKernel).error().code, Errno{ENOMEM});
  point::disarm_all();
}
#endif

}  // namespace
}  // namespace causeway::mm
