#include <gtest/gtest.h>

#include <thread>

#include "base/log.h"
#include "base/point.h"
#include "kho/testing/test_machine.h"

namespace causeway::kho {
namespace {

class Preserve : public ::testing::Test {
 protected:
  explicit Preserve(Format format = Format::kV4) : now_(machine_, test_params(format)) {
    base_ = now_.kho->stats();
    log::set_level(log::Level::kWarn);
  }
  ~Preserve() override { log::set_level(log::Level::kInfo); }
  // Keys that the test itself has added.
  uint64_t blocks() const { return now_.kho->stats().preserved_blocks - base_.preserved_blocks; }
  uint64_t pages() const { return now_.kho->stats().preserved_pages - base_.preserved_pages; }
  // What the next kernel would find, without the FDT and the metadata page.
  std::vector<Block> handed_over() {
    now_.commit();
    Generation next(machine_);
    EXPECT_TRUE(next.adopted_handover);
    return next.kho->unrestored();
  }
  mm::Page* alloc(Order order) { return now_.alloc(order); }
  Pfn pfn(const mm::Page* page) const { return now_.map.pfn(page); }

  TestMachine machine_;
  Generation now_;
  KhoStats base_;
};

TEST_F(Preserve, APageIsOneKeyAndTwiceIsSuccessNotCounted) {
  mm::Page* page = alloc(Order(3));
  EXPECT_TRUE(now_.kho->preserve_page(page, Order(3)).has_value());
  EXPECT_TRUE(now_.kho->preserve_page(page, Order(3)).has_value());
  EXPECT_EQ(blocks(), 1u);
  EXPECT_EQ(pages(), 8u);
  now_.kho->unpreserve_page(page, Order(3));
  EXPECT_EQ(blocks(), 0u);
  EXPECT_EQ(pages(), 0u);
}

TEST_F(Preserve, AFolioGoesByItsOwnOrder) {
  mm::Page* folio = *now_.allocator->alloc_pages(Order(4), mm::kGfpKernel | mm::Gfp::kComp);
  EXPECT_TRUE(now_.kho->preserve_folio(folio).has_value());
  EXPECT_EQ(pages(), 16u);
  EXPECT_EQ(now_.kho->preserve_folio(folio + 1).error().code, Errno{EINVAL});
  now_.kho->unpreserve_folio(folio);
  EXPECT_EQ(pages(), 0u);
}

TEST_F(Preserve, ARunIsCutIntoAlignedBlocks) {
  mm::Page* block = alloc(Order(4));
  EXPECT_TRUE(now_.kho->preserve_pages(block + 1, 13).has_value());  // 1 + 2 + 4 + 4 + 2
  EXPECT_EQ(blocks(), 5u);
  EXPECT_EQ(pages(), 13u);
  now_.kho->unpreserve_pages(block + 1, 13);
  EXPECT_EQ(blocks(), 0u);
  EXPECT_TRUE(now_.kho->preserve_pages(block, 0).has_value());
  now_.kho->unpreserve_pages(block, 0);
  EXPECT_EQ(blocks(), 0u);
}

TEST_F(Preserve, ALongRunIsFewKeys) {
  mm::Page* run = *now_.allocator->alloc_contig(2048, 2048, mm::kGfpKernel);
  EXPECT_TRUE(now_.kho->preserve_pages(run, 2048).has_value());
  EXPECT_EQ(blocks(), 1u);
  const std::vector<Block> found = handed_over();
  EXPECT_EQ(found, (std::vector<Block>{{pfn(run), Order(11)}}));
}

TEST_F(Preserve, BlocksAreAllOrNothing) {
  mm::Page* good = alloc(Order(3));
  mm::Page* there = alloc(kOrder0);
  ASSERT_TRUE(now_.kho->preserve_page(there, kOrder0).has_value());
  const Block batch[] = {{pfn(good), Order(2)}, {pfn(there), kOrder0}, {Pfn(GiB(2) >> 12), kOrder0}};
  log::Capture quiet;
  EXPECT_EQ(now_.kho->preserve_blocks(batch).error().code, Errno{EINVAL});
  EXPECT_EQ(blocks(), 1u);
  EXPECT_EQ(pages(), 1u);
  EXPECT_TRUE(now_.kho->preserve_blocks(std::span(batch, 2)).has_value());
  EXPECT_EQ(pages(), 5u);
}

TEST_F(Preserve, ManyBlocksRollBackAcrossWords) {
  std::vector<Block> batch;
  for (int i = 0; i < 200; ++i) batch.push_back({pfn(alloc(kOrder0)), kOrder0});
  ASSERT_TRUE(now_.kho->preserve_blocks(std::span(batch).subspan(100, 3)).has_value());
  batch.push_back({Pfn(1), Order(1)});
  log::Capture quiet;
  EXPECT_FALSE(now_.kho->preserve_blocks(batch).has_value());
  EXPECT_EQ(blocks(), 3u);
  batch.pop_back();
  EXPECT_TRUE(now_.kho->preserve_blocks(batch).has_value());
  EXPECT_EQ(blocks(), 200u);
}

TEST_F(Preserve, WhatIsNotRamOrMisalignedOrInScratchIsRefused) {
  log::Capture capture;
  auto code = [&](Pfn at, unsigned order) {
    const Block block{at, Order(order)};
    return now_.kho->preserve_blocks(std::span(&block, 1)).error().code;
  };
  const Pfn scratch = Pfn::containing(now_.kho->scratch()[0].base);
  EXPECT_EQ(code(scratch, 0), Errno{EINVAL});
  EXPECT_EQ(code(scratch - 1024, 11), Errno{EINVAL});  // reaches into it
  EXPECT_TRUE(capture.contains("scratch"));
  EXPECT_EQ(code(Pfn(3), 1), Errno{EINVAL});
  EXPECT_EQ(code(Pfn(GiB(3) >> 12), 0), Errno{EINVAL});
  EXPECT_EQ(code(Pfn(now_.map.end_pfn()), 0), Errno{EINVAL});
  EXPECT_EQ(code(Pfn(0), 52), Errno{EINVAL});
  EXPECT_EQ(now_.kho->preserve_pages(now_.map.page(Pfn(1)), ~uint64_t{0}).error().code, Errno{EINVAL});
  EXPECT_EQ(blocks(), 0u);
}

TEST_F(Preserve, RefusalIsQuietWithoutDebug) {
  TestMachine machine;
  KhoParams params = test_params();
  params.debug = false;
  Generation now(machine, params);
  log::Capture capture;
  EXPECT_EQ(now.kho->preserve_page(now.page(now.kho->scratch()[0].base), kOrder0).error().code,
            Errno{EINVAL});
  EXPECT_TRUE(capture.lines().empty());
}

TEST_F(Preserve, HotAddedMemoryCanBePreserved) {
  const Pfn hot(GiB(5) >> 12);
  log::Capture quiet;
  EXPECT_EQ(now_.kho->preserve_pages(now_.map.page(hot), 16).error().code, Errno{EINVAL});
  ASSERT_TRUE(now_.allocator->hot_add({hot, hot + 1024}).has_value());
  EXPECT_TRUE(now_.kho->preserve_pages(now_.map.page(hot), 16).has_value());
}

// One such key would make the next kernel refuse everybody's memory.
TEST_F(Preserve, LinuxDefectNotReproducedOverlappingBlocksAreRefused) {
  log::Capture capture;
  mm::Page* block = alloc(Order(4));
  ASSERT_TRUE(now_.kho->preserve_page(block, Order(4)).has_value());
  EXPECT_EQ(now_.kho->preserve_page(block + 4, Order(2)).error().code, Errno{EBUSY});
  EXPECT_EQ(now_.kho->preserve_pages(block, 3).error().code, Errno{EBUSY});
  now_.kho->unpreserve_page(block, Order(4));
  ASSERT_TRUE(now_.kho->preserve_page(block + 5, kOrder0).has_value());
  EXPECT_EQ(now_.kho->preserve_page(block, Order(4)).error().code, Errno{EBUSY});
  EXPECT_TRUE(capture.contains("overlaps a preserved block"));
  EXPECT_EQ(handed_over(), (std::vector<Block>{{pfn(block) + 5, kOrder0}}));
}

TEST_F(Preserve, UnpreservingAFreeNeighbourIsSilentAStrangerWarns) {
  mm::Page* page = alloc(Order(1));
  ASSERT_TRUE(now_.kho->preserve_page(page, kOrder0).has_value());
  log::Capture capture;
  now_.kho->unpreserve_page(page + 1, kOrder0);
  EXPECT_TRUE(capture.lines().empty());
  now_.kho->unpreserve_page(page, Order(9));
  EXPECT_EQ(capture.lines().size(), 1u);
  EXPECT_EQ(blocks(), 1u);
}

TEST_F(Preserve, AllocPreserveIsZeroedAndPreserved) {
  void* memory = *now_.kho->alloc_preserve(3 * kPageSize);
  EXPECT_EQ(pages(), 4u);
  const mm::Page* head = now_.page(now_.phys(memory));
  EXPECT_TRUE(head->has(mm::kPageHead));
  for (uint64_t i = 0; i < 4 * kPageSize; ++i) ASSERT_EQ(static_cast<char*>(memory)[i], 0);
  now_.kho->unpreserve_free(memory);
  EXPECT_EQ(pages(), 0u);
  EXPECT_EQ(now_.state(now_.map.phys(head)), mm::FrameState::kFree);
  now_.kho->unpreserve_free(nullptr);
  now_.expect_sound();
}

TEST_F(Preserve, AllocPreserveErrors) {
  EXPECT_EQ(now_.kho->alloc_preserve(0).error().code, Errno{EINVAL});
  EXPECT_EQ(now_.kho->alloc_preserve(MiB(4) + 1).error().code, Errno{E2BIG});
  EXPECT_EQ(now_.kho->alloc_preserve(~uint64_t{0}).error().code, Errno{E2BIG});
}

TEST_F(Preserve, SplitIsForTheTypedFormatOnly) {
  mm::Page* block = alloc(Order(2));
  EXPECT_EQ(now_.kho->split_preserved_pages(block, 4).error().code, Errno{EOPNOTSUPP});
}

TEST_F(Preserve, ThreadsPreserveTogether) {
  std::vector<std::vector<mm::Page*>> owned(4);
  for (auto& mine : owned)
    for (int i = 0; i < 300; ++i) mine.push_back(alloc(kOrder0));
  std::vector<std::thread> threads;
  for (auto& mine : owned) {
    threads.emplace_back([this, &mine] {
      for (mm::Page* page : mine) EXPECT_TRUE(now_.kho->preserve_pages(page, 1).has_value());
      for (size_t i = 0; i < mine.size(); i += 3) now_.kho->unpreserve_pages(mine[i], 1);
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(blocks(), 800u);
}

#if CW_POINTS
TEST_F(Preserve, OutOfMemoryAtAnyNodeTakesTheWholeRunBack) {
  mm::Page* run = *now_.allocator->alloc_contig(1024, 1024, mm::kGfpKernel);
  // Nodes that a failed run has made stay, so each attempt gets further.
  int failures = 0;
  for (int n = 2; failures < 100; ++failures) {
    ASSERT_TRUE(point::arm("kho.radix.alloc_node=fail:" + std::to_string(n)).has_value());
    Status preserved = now_.kho->preserve_pages(run + 1, 1022);
    point::disarm_all();
    if (preserved.has_value()) break;
    EXPECT_EQ(preserved.error().code, Errno{ENOMEM});
    EXPECT_EQ(blocks(), 0u);
    EXPECT_EQ(pages(), 0u);
    n = failures % 2 == 0 ? 6 : 2;
  }
  EXPECT_GE(failures, 3);
  EXPECT_EQ(pages(), 1022u);
}
#endif

class PreserveTyped : public Preserve {
 protected:
  PreserveTyped() : Preserve(Format::kTyped) {}
};

TEST_F(PreserveTyped, TheTypeIsTheSecondPagesReference) {
  mm::Page* contiguous = alloc(Order(3));
  mm::Page* split = alloc(Order(3));
  ASSERT_TRUE(now_.allocator->split_page(split, Order(3)).has_value());
  ASSERT_TRUE(now_.kho->preserve_pages(contiguous, 8).has_value());
  ASSERT_TRUE(now_.kho->preserve_pages(split, 8).has_value());
  std::vector<Block> expected = {{pfn(contiguous), Order(3), PageType::kContig},
                                 {pfn(split), Order(3), PageType::kSplit}};
  if (expected[1].pfn < expected[0].pfn) std::swap(expected[0], expected[1]);
  EXPECT_EQ(handed_over(), expected);
}

TEST_F(PreserveTyped, Order0IsSymmetricWhateverTheNeighbourIs) {
  mm::Page* pair = alloc(Order(1));
  for (int neighbour = 0; neighbour < 2; ++neighbour) {
    pair[1].set_count(neighbour);
    ASSERT_TRUE(now_.kho->preserve_pages(pair, 1).has_value());
    pair[1].set_count(1 - neighbour);
    now_.kho->unpreserve_pages(pair, 1);
    EXPECT_EQ(blocks(), 0u);
  }
}

TEST_F(PreserveTyped, UnpreserveFindsTheKeyEvenAfterASplit) {
  mm::Page* block = alloc(Order(3));
  ASSERT_TRUE(now_.kho->preserve_pages(block, 8).has_value());
  ASSERT_TRUE(now_.allocator->split_page(block, Order(3)).has_value());
  now_.kho->unpreserve_pages(block, 8);
  EXPECT_EQ(blocks(), 0u);
  ASSERT_TRUE(now_.kho->preserve_pages(block, 8).has_value());
  now_.kho->unpreserve_pages(block, 8);
  EXPECT_EQ(blocks(), 0u);
}

TEST_F(PreserveTyped, SplittingMovesTheKeys) {
  for (const bool published : {false, true}) {
    if (published) now_.commit();
    mm::Page* block = alloc(Order(3));
    ASSERT_TRUE(now_.kho->preserve_pages(block, 8).has_value());
    const KhoStats before = now_.kho->stats();
    ASSERT_TRUE(now_.allocator->split_page(block, Order(3)).has_value());
    ASSERT_TRUE(now_.kho->split_preserved_pages(block, 8).has_value());
    ASSERT_TRUE(now_.kho->split_preserved_pages(block, 8).has_value());
    EXPECT_EQ(now_.kho->stats().preserved_blocks, before.preserved_blocks);
    EXPECT_EQ(now_.kho->stats().preserved_pages, before.preserved_pages);
    std::vector<Block> found;
    for (const Block& each : handed_over())
      if (each.pfn == pfn(block)) found.push_back(each);
    EXPECT_EQ(found, (std::vector<Block>{{pfn(block), Order(3), PageType::kSplit}}));
  }
}

TEST_F(PreserveTyped, SplittingWhatIsNotPreservedIsEnoent) {
  mm::Page* block = alloc(Order(3));
  EXPECT_EQ(now_.kho->split_preserved_pages(block, 8).error().code, Errno{ENOENT});
  ASSERT_TRUE(now_.kho->preserve_pages(block, 4).has_value());
  EXPECT_EQ(now_.kho->split_preserved_pages(block, 8).error().code, Errno{ENOENT});
  EXPECT_TRUE(now_.kho->split_preserved_pages(block, 0).has_value());
}

}  // namespace
}  // namespace causeway::kho
