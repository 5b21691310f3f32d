// Restricted pools: reserved memory for coherent allocations and everything that is streamed.
#include <gtest/gtest.h>

#include <vector>

#include "base/log.h"
#include "dma/swiotlb/testing/bounce_box.h"

namespace causeway::dma::testing {
namespace {

using enum Direction;

// 42
TEST(RestrictedSwiotlb, AllocatesAlignedBlocksFromThePoolUntilItIsExhausted) {
  BounceBox box({.size = KiB(64), .restricted = true});
  Device a = box.device(0xfff, 0, {}, "a");
  Device b = box.device(0, 0, {}, "b");
  EXPECT_TRUE(box.pool->force_bounce());
  EXPECT_TRUE(box.pool->for_alloc());
  EXPECT_EQ(box.pool->stats().slots, 32u) << "reserved memory is not rounded up";
  std::vector<uint16_t> initial = box.pool->free_runs();

  PhysAddr page = must(box.pool->alloc(a, 64));
  EXPECT_EQ(page, box.base());
  EXPECT_EQ(box.used(), 2u);
  PhysAddr block = must(box.pool->alloc(b, KiB(20)));
  EXPECT_TRUE(block.is_aligned(KiB(32)));
  EXPECT_EQ(box.used(), 2u + 16u);
  EXPECT_EQ(error_of(box.pool->alloc(a, KiB(32))), ENOMEM);
  PhysAddr bounce = must(box.map(a, box.data(0x123), 3000, kToDevice));
  EXPECT_TRUE(box.pool->contains(b, bounce));
  std::vector<PhysAddr> rest;
  while (auto more = box.pool->alloc(b, KiB(4))) rest.push_back(*more);
  EXPECT_EQ(rest.size(), 6u);
  EXPECT_EQ(error_of(box.map(b, box.data(), 4096, kToDevice, 0, Attr::kNoWarn)), ENOMEM);

  EXPECT_FALSE(box.pool->free(bounce, 3000)) << "that one is a mapping";
  EXPECT_FALSE(box.pool->free(block, KiB(4)));
  EXPECT_FALSE(box.pool->free(block + kPageSize, KiB(20)));
  EXPECT_FALSE(box.pool->free(box.data(), KiB(4)));
  EXPECT_TRUE(box.pool->free(b, block, KiB(20)));
  EXPECT_FALSE(box.pool->free(b, block, KiB(20)));
  EXPECT_TRUE(box.pool->free(page, 64));
  for (PhysAddr more : rest) EXPECT_TRUE(box.pool->free(more, KiB(4)));
  box.unmap(a, bounce, 3000, kToDevice);
  EXPECT_EQ(box.pool->free_runs(), initial);
  EXPECT_EQ(error_of(box.pool->alloc(a, KiB(512))), ENOMEM);
  EXPECT_EQ(error_of(box.pool->alloc(a, 0)), EINVAL);
}

TEST(RestrictedSwiotlb, SyncsOfCoherentMemoryCopyNothing) {
  log::Capture capture;
  BounceBox box({.size = KiB(64), .restricted = true});
  Device device = box.device();
  PhysAddr block = must(box.pool->alloc(device, KiB(4)));
  box.fill(block, KiB(4), 0x11);
  box.pool->sync_for_device(device, block, KiB(4), kToDevice);
  box.pool->sync_for_cpu(device, block, KiB(4), kFromDevice);
  EXPECT_TRUE(box.is(block, KiB(4), 0x11));
  box.unmap(device, block, KiB(4));
  EXPECT_EQ(box.used(), 2u) << "no mapping";
}

TEST(RestrictedSwiotlb, OrdinaryPoolsDoNotAllocate) {
  BounceBox box;
  Device device = box.device();
  EXPECT_EQ(error_of(box.pool->alloc(device, KiB(4))), EOPNOTSUPP);
  PhysAddr bounce = must(box.map(device, box.data(), 4096));
  EXPECT_FALSE(box.pool->free(bounce, KiB(4)));
}

TEST(RestrictedSwiotlb, SharedMemoryIsForDevicesThatNeedItSo) {
  BounceBox box({.size = KiB(64), .restricted = true, .cc_shared = true});
  Device plain = box.device();
  Device needs = box.device(0, 0, {.force_unencrypted = true});
  EXPECT_EQ(error_of(box.pool->alloc(plain, KiB(4))), EPERM);
  PhysAddr block = must(box.pool->alloc(needs, KiB(4)));
  EXPECT_TRUE(box.attributes.is_decrypted(Pfn::containing(block)));
}

// 42
TEST(RestrictedDevice, StreamsThroughThePoolItsCoherentMemoryComesFrom) {
  System system({.dma = {.restricted_pool_size = KiB(64), .swiotlb_size = 0}});
  Device a = system.device({.restricted_pool = true}, "a");
  Device b = system.device({.restricted_pool = true}, "b");
  Device free_one = system.device({}, "c");
  ASSERT_NE(a.swiotlb(), nullptr);
  EXPECT_EQ(a.swiotlb(), b.swiotlb());
  EXPECT_TRUE(a.swiotlb()->force_bounce());
  EXPECT_NE(free_one.swiotlb(), a.swiotlb());
  Coherent ring = must(alloc_coherent(a, KiB(8), mm::kGfpKernel));
  EXPECT_TRUE(a.swiotlb()->contains(a, PhysAddr(ring.handle.value())));
  EXPECT_EQ(a.swiotlb()->stats().used, 4u);
  Attr attrs = Attr::kNone;
  PhysAddr data = system.map().phys(must(system.pages().alloc_pages(kOrder0, mm::kGfpKernel)));
  PhysAddr bounce = must(b.swiotlb()->map(b, data, 4096, 0, kToDevice, &attrs));
  EXPECT_EQ(b.swiotlb()->stats().used, 6u);
  EXPECT_EQ(error_of(alloc_coherent(b, KiB(64), mm::kGfpKernel)), ENOMEM) << "from there or from nowhere";
  b.swiotlb()->unmap(b, bounce, 4096, kToDevice, attrs);
  // What the device has by now does not matter to the free.
  Swiotlb* pool = a.swiotlb();
  a.set_swiotlb(nullptr);
  EXPECT_EQ(error_of(alloc_coherent(a, KiB(4), mm::kGfpKernel)), ENOMEM);
  must(free_coherent(a, ring));
  EXPECT_EQ(pool->stats().used, 0u);
}

// 42
TEST(RestrictedDevice, ThatNeedsDecryptedMemoryHasAPoolOfIt) {
  System system({.dma = {.restricted_pool_size = KiB(64)}});
  Device plain = system.device({.restricted_pool = true}, "a");
  Device needs = system.device({.force_unencrypted = true, .restricted_pool = true}, "b");
  EXPECT_NE(plain.swiotlb(), needs.swiotlb());
  EXPECT_TRUE(needs.swiotlb()->cc_shared());
  must(free_coherent(needs, must(alloc_coherent(needs, KiB(4), mm::kGfpAtomic))));
  must(free_coherent(plain, must(alloc_coherent(plain, KiB(4), mm::kGfpAtomic))));
}

// 42
TEST(RestrictedDevice, WhosePoolCannotBeMadeReachesNothing) {
  if (!has_points()) GTEST_SKIP();
  System system({.dma = {.swiotlb_size = 0}});
  log::Capture capture;
  FailingStep step("dma.swiotlb.alloc_pool");
  Device device = system.device({.restricted_pool = true});
  EXPECT_TRUE(capture.contains("no restricted pool of 1048576 bytes"));
  ASSERT_NE(device.swiotlb(), nullptr);
  EXPECT_TRUE(device.swiotlb()->force_bounce()) << "or it would stream around it";
  EXPECT_EQ(error_of(alloc_coherent(device, KiB(4), mm::kGfpKernel)), ENOMEM);
}

}  // namespace
}  // namespace causeway::dma::testing
