// Atomic pools: which one serves a request, and how they grow (spec section 6.2, scenario 21).
#include <gtest/gtest.h>

#include <thread>
#include <vector>

#include "base/log.h"
#include "dma/pool.h"
#include "dma/state.h"
#include "dma/testing/boot.h"

namespace causeway::dma::testing {
namespace {

constexpr PhysAddr kAnywhere{~uint64_t{0}};
constexpr uint64_t kHighRam = MiB(128);

bool anything(PhysAddr, uint64_t) {
  return true;
}

TEST(AtomicPoolSize, Is128KibPerGibWithinItsBounds) {
  EXPECT_EQ(AtomicPools::default_size(0), KiB(128));
  EXPECT_EQ(AtomicPools::default_size(MiB(64) >> kPageShift), KiB(128));
  EXPECT_EQ(AtomicPools::default_size(GiB(3) >> kPageShift), KiB(384));
  EXPECT_EQ(AtomicPools::default_size(GiB(1024) >> kPageShift), MiB(4));
}

TEST(AtomicPoolSelection, BlocksThePredicateRefusesAreReturnedAndTheNextPoolIsAsked) {
  System system({.dma = {.coherent_pool = false}}, kHighRam);
  AtomicPools pools(system.pages(), KiB(64));
  const uint64_t before = pools.free_pages();
  std::vector<PhysAddr> offered;
  // Where pools lie depends on the machine: the third one asked is taken, whichever it is.
  auto third = [&](PhysAddr base, uint64_t) {
    offered.push_back(base);
    return offered.size() == 3;
  };
  PhysAddr block = must(pools.alloc(KiB(8), PoolZone::kKernel, third, mm::kGfpAtomic));
  EXPECT_LT(block, PhysAddr{MiB(16)}) << "kernel, DMA32, DMA";
  EXPECT_EQ(offered.size(), 3u);
  EXPECT_EQ(pools.free_pages(), before - 2) << "what was refused has gone back";
}

TEST(AtomicPoolSelection, ADmaRequestGoesNoFurtherThanTheDmaPool) {
  System system({.dma = {.coherent_pool = false}}, kHighRam);
  AtomicPools pools(system.pages(), KiB(64));
  unsigned offered = 0;
  auto nothing = [&](PhysAddr, uint64_t) { return ++offered == 0; };
  EXPECT_EQ(error_of(pools.alloc(KiB(4), PoolZone::kDma, nothing, mm::Gfp::kNoWarn)), ENOMEM);
  EXPECT_EQ(offered, 1u);
  EXPECT_EQ(error_of(pools.alloc(KiB(4), PoolZone::kDma32, nothing, mm::Gfp::kNoWarn)), ENOMEM);
  EXPECT_EQ(offered, 1u + 2u);
}

TEST(AtomicPoolSelection, ExhaustionIsWarnedOfUnlessTheCallerSaysNot) {
  System system({.dma = {.coherent_pool = false}});
  AtomicPools pools(system.pages(), KiB(4));
  while (pools.alloc(KiB(4), kAnywhere)) continue;
  log::Capture capture;
  EXPECT_EQ(error_of(pools.alloc(KiB(4), PoolZone::kKernel, anything, mm::Gfp::kNoWarn)), ENOMEM);
  EXPECT_FALSE(capture.contains("exhausted"));
  EXPECT_EQ(error_of(pools.alloc(KiB(4), PoolZone::kKernel, anything, mm::kGfpAtomic)), ENOMEM);
  EXPECT_TRUE(capture.contains("exhausted"));
}

// 21
TEST(AtomicPoolGrowth, AnExhaustedPoolServesAgainOnceTheWorkerHasRun) {
  System system({.dma = {.coherent_pool = false}}, kHighRam);
  AtomicPools pools(system.pages(), KiB(64), {.grow = true});
  const uint64_t first = pools.pages();
  // More than all three hold at first, one worker's turn between two attempts at most.
  for (uint64_t i = 0; i < 4 * first; ++i) {
    auto block = pools.alloc(KiB(4), kAnywhere);
    if (block) continue;
    pools.settle();
    ASSERT_TRUE(pools.alloc(KiB(4), kAnywhere)) << "allocation " << i;
  }
  pools.settle();
  EXPECT_GE(pools.pages(), 4 * first);
}

TEST(AtomicPoolGrowth, DoublesWhenLessThanTheFirstSizeIsFreeAndNeverShrinks) {
  System system({.dma = {.coherent_pool = false}}, kHighRam);
  AtomicPools pools(system.pages(), KiB(64), {.grow = true});
  const uint64_t first = pools.pages();
  PhysAddr block = must(pools.alloc(KiB(4), kAnywhere));
  pools.settle();
  EXPECT_EQ(pools.pages(), first + 16) << "the pool that was used has doubled";
  must(pools.alloc(KiB(4), kAnywhere));
  pools.settle();
  EXPECT_EQ(pools.pages(), first + 16) << "more than the first size is free";
  EXPECT_TRUE(pools.contains(block, KiB(4)));
  EXPECT_TRUE(pools.free(block, KiB(4)));
  pools.settle();
  EXPECT_EQ(pools.pages(), first + 16);
}

TEST(AtomicPoolGrowth, WithoutItNothingIsAdded) {
  System system({.dma = {.coherent_pool = false}});
  AtomicPools pools(system.pages(), KiB(64));
  const uint64_t first = pools.pages();
  must(pools.alloc(KiB(64), kAnywhere));
  pools.settle();
  EXPECT_EQ(pools.pages(), first);
}

TEST(AtomicPoolGrowth, MemoryShortageAddsLessOrNothing) {
  System system({.dma = {.coherent_pool = false}});
  AtomicPools pools(system.pages(), KiB(64), {.grow = true});
  // Single pages alone are left, then none.
  std::vector<mm::Page*> taken;
  while (auto page = system.pages().alloc_pages(kOrder0, mm::kGfpKernel | mm::Gfp::kNoWarn)) taken.push_back(*page);
  const uint64_t first = pools.pages();
  must(pools.alloc(KiB(4), kAnywhere));
  pools.settle();
  EXPECT_EQ(pools.pages(), first);
  system.pages().free_pages(taken.back(), kOrder0);
  must(pools.alloc(KiB(4), kAnywhere));
  pools.settle();
  EXPECT_EQ(pools.pages(), first + 1);
}

// 21, through the mapping API
TEST(AtomicPoolGrowth, ADeviceThatMayNotBlockIsServedAgainAfterRefill) {
  System system({.dma = {.atomic_pool_size = KiB(16), .atomic_pools_grow = true}});
  Device device = system.device({.coherent = false});
  for (int i = 0; i < 64; ++i) {
    auto block = alloc_attrs(device, KiB(4), mm::kGfpAtomic, Attr::kNoWarn);
    if (!block) {
      system.dma().state().atomic_pools->settle();
      block = alloc_attrs(device, KiB(4), mm::kGfpAtomic, Attr::kNoWarn);
    }
    ASSERT_TRUE(block) << "allocation " << i;
  }
}

TEST(AtomicPoolGrowth, ManyThreadsAndAShutdownInTheMiddle) {
  System system({.dma = {.coherent_pool = false}}, kHighRam);
  for (int round = 0; round < 3; ++round) {
    AtomicPools pools(system.pages(), KiB(16), {.grow = true});
    std::vector<std::thread> threads;
    for (int t = 0; t < 4; ++t) {
      threads.emplace_back([&] {
        std::vector<PhysAddr> mine;
        for (int i = 0; i < 40; ++i) {
          auto block = pools.alloc(KiB(8), kAnywhere);
          if (!block) continue;
          EXPECT_TRUE(pools.contains(*block, KiB(8)));
          mine.push_back(*block);
        }
        for (PhysAddr block : mine) EXPECT_TRUE(pools.free(block, KiB(8)));
      });
    }
    for (std::thread& thread : threads) thread.join();
  }
}

}  // namespace
}  // namespace causeway::dma::testing
