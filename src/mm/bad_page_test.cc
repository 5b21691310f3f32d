// Every way to free a page in a wrong state is noticed, withholds the block, and corrupts nothing.
#include "mm/bad_page.h"

#include <gtest/gtest.h>

#include "base/log.h"
#include "mm/testing/memory.h"

namespace causeway::mm {
namespace {

// After the damage: none of `block` is ever handed out again, the rest of memory still is.
void expect_leaked(TestMemory& ram, Page* block, uint64_t pages) {
  PageStats stats = ram->stats();
  EXPECT_TRUE(stats.tainted);
  EXPECT_EQ(stats.bad_pages, 1u);
  EXPECT_EQ(stats.leaked_pages, pages);
  EXPECT_TRUE(block->has(kPagePoison));
  for (uint64_t i = 0; i < pages; ++i) EXPECT_EQ(ram->state(ram.map().pfn(block + i)), FrameState::kLeaked);
  uint64_t handed_out = 0;
  while (auto page = ram->alloc_pages(kOrder0, kGfpKernel | Gfp::kNoWarn)) {
    EXPECT_FALSE(*page >= block && *page < block + pages);
    ++handed_out;
  }
  EXPECT_EQ(handed_out, ram.managed_pages() - pages);
}

class BadBlock : public testing::Test {
 protected:
  TestMemory ram_{low_only(MiB(8))};
  Page* block_ = *ram_->alloc_pages(Order(3), kGfpKernel);
  log::Capture log_;
};

TEST_F(BadBlock, TailWithAReferenceIsLeakedWhole) {
  block_[6].set_count(1);
  ram_->free_pages(block_, Order(3));
  Pfn pfn = ram_.map().pfn(block_);
  EXPECT_TRUE(
      log_.contains(fmt::format("bad page state: {}: nonzero refcount (page 6 of an order-3 block at {}), "
                                "freed: refcount 1, want 0",
                                pfn + 6, pfn)));
  expect_leaked(ram_, block_, 8);
}

TEST_F(BadBlock, MappedPageIsLeakedWhole) {
  block_[0].mapcount_plus_one.store(1);
  ram_->free_pages(block_, Order(3));
  EXPECT_TRUE(log_.contains("nonzero mapcount"));
  EXPECT_TRUE(log_.contains("mapcount 0, want -1"));
  expect_leaked(ram_, block_, 8);
}

TEST_F(BadBlock, EveryFlagThatMustBeClearIsNoticed) {
  for (uint32_t flag : {kPageLocked, kPageReserved, kPageLru, kPagePrivate, kPageWriteback, kPageActive,
                        kPageUnevictable, kPageMlocked, kPageSlab, kPagePoison}) {
    for (int index : {0, 7}) {
      TestMemory ram(low_only(MiB(8)));
      Page* block = *ram->alloc_pages(Order(3), kGfpKernel);
      block[index].set(flag);
      ram->free_pages(block, Order(3));
      EXPECT_EQ(ram->stats().leaked_pages, 8u) << flag << " on page " << index;
    }
  }
  EXPECT_TRUE(log_.contains("flags set that must be clear"));
}

TEST_F(BadBlock, TailWithPrivateDataIsLeakedWhole) {
  block_[1].private_data = 0x4b484f5000000000;
  ram_->free_pages(block_, Order(3));
  EXPECT_TRUE(log_.contains("nonzero private of a tail (page 1 of"));
  expect_leaked(ram_, block_, 8);
}

TEST_F(BadBlock, StrayTailFlagIsLeakedWhole) {
  block_[4].set(kPageTail);
  block_[4].private_data = 4;
  ram_->free_pages(block_, Order(3));
  EXPECT_TRUE(log_.contains("inconsistent compound page (page 4 of"));
  expect_leaked(ram_, block_, 8);
}

TEST_F(BadBlock, CompoundTailThatPointsElsewhereIsLeakedWhole) {
  ram_->prep_compound(block_, Order(3));
  block_[5].private_data = 4;
  ram_->put_page(block_);
  EXPECT_TRUE(log_.contains("inconsistent compound page (page 5 of"));
  expect_leaked(ram_, block_, 8);
}

TEST_F(BadBlock, CompoundTailWithoutItsFlagIsLeakedWhole) {
  ram_->prep_compound(block_, Order(3));
  block_[2].clear(kPageTail);
  ram_->put_page(block_);
  expect_leaked(ram_, block_, 8);
}

TEST_F(BadBlock, CompoundTailWithAReferenceIsLeakedWhole) {
  ram_->prep_compound(block_, Order(3));
  block_[2].set_count(1);
  ram_->put_page(block_);
  EXPECT_TRUE(log_.contains("nonzero refcount (page 2 of"));
  expect_leaked(ram_, block_, 8);
}

TEST_F(BadBlock, CompoundFreedWithAnotherOrderIsLeakedWhole) {
  ram_->prep_compound(block_, Order(3));
  ram_->free_pages(block_, Order(2));
  expect_leaked(ram_, block_, 8);
}

TEST_F(BadBlock, DoubleFreeChangesNothing) {
  ram_->free_pages(block_, Order(3));
  ram_->free_pages(block_, Order(3));
  EXPECT_TRUE(log_.contains("free already"));
  EXPECT_EQ(ram_->stats().bad_pages, 1u);
  EXPECT_EQ(ram_->stats().leaked_pages, 0u);
  EXPECT_EQ(ram_.free_pages(), ram_.managed_pages());
}

TEST_F(BadBlock, DoubleFreeOfASinglePageChangesNothing) {
  Page* page = *ram_->alloc_pages(kOrder0, kGfpKernel);
  uint64_t free = ram_.free_pages();
  ram_->put_page(page);
  ram_->put_page(page);
  EXPECT_TRUE(log_.contains("free already"));
  EXPECT_EQ(ram_.free_pages(), free + 1);
}

TEST_F(BadBlock, AForgedReferenceDoesNotFreeAFreePage) {
  for (uint64_t pfn : {0x7ffu, 0x500u}) {
    uint64_t free = ram_.free_pages();
    ASSERT_EQ(ram_->state(Pfn(pfn)), FrameState::kFree);
    ram_.page(pfn)->set_count(1);
    ram_->put_page(ram_.page(pfn));
    EXPECT_EQ(ram_.free_pages(), free);
    EXPECT_EQ(ram_->state(Pfn(pfn)), FrameState::kFree);
  }
  EXPECT_TRUE(log_.contains("free already"));
  EXPECT_EQ(ram_->stats().leaked_pages, 0u);
}

TEST_F(BadBlock, FramesThatAreNotRamOrNotTheAllocatorsAreNotFreed) {
  TestMemory ram(low_only(MiB(8)), true, [](BootMemory& boot) {
    EXPECT_TRUE(boot.reserve({PhysAddr(MiB(4)), MiB(1)}));
    EXPECT_TRUE(boot.reserve({PhysAddr(MiB(6)), MiB(1)}, Reservation::kNoInit));
  });
  uint64_t free = ram.free_pages();
  uint64_t bad = 0;
  for (PhysAddr address : {PhysAddr(GiB(1)), PhysAddr(MiB(4)), PhysAddr(MiB(6)), PhysAddr(0)}) {
    Page* page = ram.map().page(address);
    FrameState before = ram->state(ram.map().pfn(page));
    ram->put_page(page);
    EXPECT_EQ(ram->stats().bad_pages, ++bad);
    page->set_count(1);
    ram->free_pages(page, Order(1));
    EXPECT_EQ(ram->stats().bad_pages, ++bad);
    EXPECT_EQ(ram->state(ram.map().pfn(page)), before);
  }
  EXPECT_TRUE(log_.contains("not the allocator's"));
  EXPECT_EQ(ram.free_pages(), free);
  EXPECT_EQ(ram->stats().leaked_pages, 0u);
}

TEST_F(BadBlock, APointerPastTheMemoryMapIsReported) {
  ram_->free_pages(ram_.map().page(Pfn(ram_.map().end_pfn())), kOrder0);
  ram_->put_page(ram_.map().page(Pfn(ram_.map().end_pfn() + 5)));
  ram_->free_pages(ram_.map().page(Pfn(ram_.map().end_pfn() - 1)), Order(1));
  EXPECT_EQ(ram_->stats().bad_pages, 3u);
}

TEST_F(BadBlock, ATailOfAnUnsplitBlockCannotBePut) {
  ram_->put_page(block_ + 3);
  EXPECT_TRUE(log_.contains("nonzero refcount"));
  EXPECT_EQ(ram_->stats().leaked_pages, 0u);
  EXPECT_EQ(block_[3].count(), 0);
  ram_->free_pages(block_, Order(3));
  EXPECT_EQ(ram_.free_pages(), ram_.managed_pages());
}

TEST_F(BadBlock, ATailOfACompoundPageCannotBeFreedByOrder) {
  ram_->prep_compound(block_, Order(3));
  ram_->free_pages(block_ + 2, kOrder0);
  EXPECT_EQ(ram_->stats().bad_pages, 1u);
  ram_->put_page(block_);
  EXPECT_EQ(ram_.free_pages(), ram_.managed_pages());
}

TEST_F(BadBlock, FreeingMoreThanWasAllocatedLeaksOnlyWhatIsNotFree) {
  // The rest of the order-4 block is on a free list and must stay there.
  uint64_t free = ram_.free_pages();
  ASSERT_EQ(ram_->state(ram_.map().pfn(block_ + 8)), FrameState::kFree);
  ram_->free_pages(block_, Order(4));
  EXPECT_EQ(ram_.free_pages(), free);
  expect_leaked(ram_, block_, 8);
}

TEST_F(BadBlock, FreeingIntoUntouchedMemoryIsNoticed) {
  // Frames 4..7 are a free fragment that nobody has touched: all their struct pages are zero.
  TestMemory ram({{PhysAddr(0x1000), 0x7000}});
  Page* single = *ram->alloc_pages_below(kOrder0, kGfpKernel, PhysAddr(0x3fff));
  uint64_t free = ram.free_pages();
  Pfn pfn = ram.map().pfn(single);
  ASSERT_EQ(pfn, Pfn(1));
  ram->free_pages(ram.page(1), Order(2));
  EXPECT_TRUE(log_.contains("free already"));
  EXPECT_EQ(ram.free_pages(), free);
  EXPECT_EQ(ram->stats().leaked_pages, 1u);
}

TEST_F(BadBlock, APageOfALeakedBlockIsNotFreedByItsOwner) {
  Page* neighbour = *ram_->alloc_pages(Order(3), kGfpKernel);
  ASSERT_EQ(ram_.map().pfn(neighbour), ram_.map().pfn(block_) + 8);
  uint64_t free = ram_.free_pages();
  ram_->free_pages(block_, Order(4));  // takes the neighbour with it
  EXPECT_EQ(ram_->stats().leaked_pages, 16u);
  ram_->free_pages(neighbour, Order(3));
  EXPECT_EQ(ram_->stats().bad_pages, 2u);
  EXPECT_EQ(ram_.free_pages(), free);
  EXPECT_EQ(ram_->state(ram_.map().pfn(neighbour)), FrameState::kLeaked);
}

TEST_F(BadBlock, TakingAReferenceOfAFreePageIsReported) {
  ram_->free_pages(block_, Order(3));
  ram_->get_page(block_);
  EXPECT_EQ(block_->count(), 0);
  EXPECT_TRUE(log_.contains("free already"));
}

TEST_F(BadBlock, APageDamagedWhileFreeIsNotHandedOut) {
  TestMemory ram({{kDma32Limit, MiB(4)}});
  Page* page = *ram->alloc_pages(kOrder0, kGfpKernel);
  ram->put_page(page);
  page->set_count(3);  // a write through a stale pointer
  EXPECT_NE(*ram->alloc_pages(kOrder0, kGfpKernel), page);
  EXPECT_TRUE(log_.contains("found on a free list"));
  EXPECT_EQ(ram->stats().leaked_pages, 1u);
  EXPECT_EQ(ram->state(ram.map().pfn(page)), FrameState::kLeaked);
}

TEST_F(BadBlock, ADamagedBlockIsNotHandedOutEither) {
  TestMemory ram({{kDma32Limit, MiB(8)}});
  Page* block = *ram->alloc_pages(Order(10), kGfpKernel);
  ram->free_pages(block, Order(10));
  block[700].mapcount_plus_one.store(2);
  EXPECT_NE(*ram->alloc_pages(Order(10), kGfpKernel), block);
  EXPECT_EQ(ram->stats().leaked_pages, 1024u);
}

TEST_F(BadBlock, ARangeWithADamagedPageIsNotAllocated) {
  TestMemory ram({{kDma32Limit, MiB(8)}});
  ram.map().page(kNormalStart + 600)->set_count(1);
  EXPECT_EQ(ram->alloc_contig_range({kNormalStart + 500, kNormalStart + 700}).error().code, Errno{EBUSY});
  EXPECT_EQ(ram->stats().leaked_pages, 200u);
  EXPECT_TRUE(ram->alloc_contig(1024, 1024, kGfpKernel));
}

// What the switch is for: with checks off a block restored with split counts frees without a word.
TEST_F(BadBlock, WithoutChecksTailReferencesGoUnnoticed) {
  TestMemory ram(low_only(MiB(8)), false);
  Page* block = *ram->alloc_pages(Order(3), kGfpKernel);
  block[6].set_count(1);
  ram->free_pages(block, Order(3));
  EXPECT_EQ(ram->stats().bad_pages, 0u);
  EXPECT_EQ(ram.free_pages(), ram.managed_pages());
}

}  // namespace
}  // namespace causeway::mm
