#include "dma/pool.h"

#include <gtest/gtest.h>

#include "dma/testing/boot.h"

namespace causeway::dma::testing {
namespace {

TEST(PagePool, HandsOutEveryPageOnceAndThenNothing) {
  System system;
  auto pool = must(PagePool::create(system.pages(), KiB(16)));
  PhysAddr first = must(pool->alloc(1, 1));
  EXPECT_EQ(first, pool->range().begin.address());
  for (unsigned i = 1; i < 4; ++i) EXPECT_EQ(must(pool->alloc(1, 1)), first + i * kPageSize);
  EXPECT_EQ(error_of(pool->alloc(1, 1)), ENOMEM);
  EXPECT_EQ(pool->free_pages(), 0u);
}

TEST(PagePool, BlocksAreAligned) {
  System system;
  auto pool = must(PagePool::create(system.pages(), KiB(32)));
  PhysAddr single = must(pool->alloc(1, 1));
  PhysAddr block = must(pool->alloc(4, 4));
  EXPECT_TRUE(block.is_aligned(KiB(16)));
  EXPECT_EQ(block - single, KiB(16));
  EXPECT_EQ(error_of(pool->alloc(4, 4)), ENOMEM) << "only three pages before the block are left";
}

TEST(PagePool, FreedPagesComeBack) {
  System system;
  auto pool = must(PagePool::create(system.pages(), KiB(16)));
  PhysAddr block = must(pool->alloc(4, 4));
  EXPECT_TRUE(pool->free(block, 4));
  EXPECT_EQ(pool->free_pages(), 4u);
  EXPECT_EQ(must(pool->alloc(4, 4)), block);
}

TEST(PagePool, WhatIsNotAllocatedInItCannotBeFreed) {
  System system;
  auto pool = must(PagePool::create(system.pages(), KiB(16)));
  PhysAddr block = must(pool->alloc(2, 2));
  EXPECT_FALSE(pool->free(block, 3)) << "the third page is free";
  EXPECT_FALSE(pool->free(block + 4 * kPageSize, 1)) << "behind the pool";
  EXPECT_FALSE(pool->free(block + 1, 1)) << "not a page";
  EXPECT_FALSE(pool->free(block, 0));
  EXPECT_EQ(pool->free_pages(), 2u);
}

TEST(PagePool, ContainsItsOwnRangeOnly) {
  System system;
  auto pool = must(PagePool::create(system.pages(), KiB(16)));
  PhysAddr base = pool->range().begin.address();
  EXPECT_TRUE(pool->contains(base, KiB(16)));
  EXPECT_FALSE(pool->contains(base, KiB(20)));
  EXPECT_FALSE(pool->contains(base - 1, 1));
  EXPECT_FALSE(pool->contains(base + KiB(16), 1));
  EXPECT_FALSE(pool->contains(base + 1, ~uint64_t{0}));
}

TEST(PagePool, ImpossibleSizesAreRefused) {
  System system;
  EXPECT_EQ(error_of(PagePool::create(system.pages(), 0)), EINVAL);
  EXPECT_EQ(error_of(PagePool::create(system.pages(), MiB(8))), ENOMEM);
}

TEST(AtomicPools, TheLimitChoosesThePool) {
  System system;
  AtomicPools pools(system.pages(), KiB(64));
  PhysAddr anywhere = must(pools.alloc(KiB(4), PhysAddr{~uint64_t{0}}));
  PhysAddr low = must(pools.alloc(KiB(4), PhysAddr{mm::kDma32Limit.value() - 1}));
  EXPECT_LT(low, mm::kDma32Limit);
  EXPECT_TRUE(pools.contains(anywhere, KiB(4)));
  EXPECT_TRUE(pools.contains(low, KiB(4)));
  EXPECT_EQ(error_of(pools.alloc(KiB(4), PhysAddr{KiB(8)})), ENOMEM) << "no pool lies that low";
}

TEST(AtomicPools, AnExhaustedPoolGoesOnToTheNextLowerOne) {
  System system;
  AtomicPools pools(system.pages(), KiB(16));
  uint64_t pages = pools.free_pages();
  for (uint64_t i = 0; i < pages; ++i) must(pools.alloc(KiB(4), PhysAddr{~uint64_t{0}}));
  EXPECT_EQ(error_of(pools.alloc(KiB(4), PhysAddr{~uint64_t{0}})), ENOMEM);
}

TEST(AtomicPools, FreeTakesBackByAddressAndSize) {
  System system;
  AtomicPools pools(system.pages(), KiB(64));
  uint64_t pages = pools.free_pages();
  PhysAddr block = must(pools.alloc(KiB(12), PhysAddr{~uint64_t{0}}));
  EXPECT_TRUE(block.is_aligned(KiB(16)));
  EXPECT_EQ(pools.free_pages(), pages - 3);
  EXPECT_TRUE(pools.free(block, KiB(12)));
  EXPECT_FALSE(pools.free(block, KiB(12)));
  EXPECT_EQ(pools.free_pages(), pages);
}

}  // namespace
}  // namespace causeway::dma::testing
