// Pools that come and go: Swiotlb with Options::dynamic.
#include <gtest/gtest.h>

#include <atomic>
#include <thread>
#include <vector>

#include "base/log.h"
#include "dma/swiotlb/testing/bounce_box.h"

namespace causeway::dma::testing {
namespace {

using enum Direction;

constexpr Swiotlb::Options kDynamic{.size = MiB(1), .areas = 1, .dynamic = true};

std::vector<PhysAddr> fill_up(BounceBox& box, Device& device) {
  std::vector<PhysAddr> taken;
  for (unsigned i = 0; i < 4; ++i) taken.push_back(must(box.map(device, box.data(), kMaxBounce, kToDevice)));
  return taken;
}

// 41
TEST(DynamicSwiotlb, AFullPoolIsFollowedByATransientOneAtOnceAndAnotherSharedOneSoon) {
  BounceBox box(kDynamic);
  Device device = box.device();
  Device other = box.device(0, 0, {}, "0000:00:02.0");
  fill_up(box, device);
  uint64_t before = box.system.free_pages();
  PhysAddr transient;
  {
    FailingStep step("dma.swiotlb.alloc_pool");  // the worker's
    box.fill(box.data(), 10000, 0x11);
    transient = must(box.map(device, box.data(), 10000));
    box.pool->settle();
    EXPECT_EQ(step.hits(), 1u);
  }
  EXPECT_EQ(box.pool->stats().transient_slots, 5u);
  EXPECT_EQ(box.pool->stats().pools, 1u);
  EXPECT_TRUE(box.pool->contains(device, transient));
  EXPECT_TRUE(box.pool->contains(device, transient + 9999));
  EXPECT_FALSE(box.pool->contains(device, transient + 5 * kSlotSize));
  EXPECT_FALSE(box.pool->contains(other, transient)) << "it is the device's own";
  EXPECT_TRUE(box.is(transient, 10000, 0x11));
  box.fill(transient, 10000, 0x22);
  box.pool->sync_for_cpu(device, transient + 5000, 100, kFromDevice);
  EXPECT_TRUE(box.is(box.data(5000), 100, 0x22));
  EXPECT_TRUE(box.is(box.data(5100), 100, 0x11));
  box.unmap(device, transient, 10000);
  EXPECT_TRUE(box.is(box.data(), 10000, 0x22));
  EXPECT_FALSE(box.pool->contains(device, transient));
  EXPECT_EQ(box.pool->stats().transient_slots, 0u);
  box.pool->settle();
  EXPECT_EQ(box.system.free_pages(), before);

  PhysAddr again = must(box.map(device, box.data(), 10000));
  box.pool->settle();
  EXPECT_EQ(box.pool->stats().pools, 2u);
  EXPECT_EQ(box.pool->stats().slots, 1024u);
  PhysAddr grown = must(box.map(device, box.data(), kMaxBounce, kToDevice));
  EXPECT_EQ(box.pool->stats().transient_slots, 5u) << "from the new pool";
  EXPECT_TRUE(box.pool->contains(other, grown));
  EXPECT_EQ(box.pool->stats().used, 512u + 128u);
  box.unmap(device, again, 10000);
  box.unmap(device, grown, kMaxBounce, kToDevice);
  EXPECT_EQ(box.pool->stats().used, 512u);
  EXPECT_EQ(box.pool->stats().pools, 2u) << "shared pools stay";
}

// 41
TEST(DynamicSwiotlb, ATransientPoolsMemoryIsNotFreedBeforeTheGracePeriod) {
  if (!has_points()) GTEST_SKIP();
  BounceBox box(kDynamic);
  box.pool->default_base();
  Device device = box.device();
  fill_up(box, device);
  uint64_t before = box.system.free_pages();
  std::atomic<bool> reached{false}, go{false};
  must(point::on_hit("dma.swiotlb.before_grace", [&]() -> Status {
    reached = true;
    while (!go) std::this_thread::yield();
    return {};
  }));
  PhysAddr transient = must(box.map(device, box.data(), 4096));
  box.unmap(device, transient, 4096);
  while (!reached) std::this_thread::yield();
  EXPECT_EQ(before - box.system.free_pages(), 1u);
  EXPECT_EQ(box.system.state(transient), mm::FrameState::kAllocated);
  go = true;
  box.pool->settle();
  point::disarm_all();
  EXPECT_EQ(box.system.free_pages(), before);
}

// 41
TEST(DynamicSwiotlb, WhatNoPoolCanHoldFailsAtOnce) {
  BounceBox box(kDynamic);
  Device device = box.device();
  EXPECT_EQ(error_of(box.map(device, box.data(), kMaxBounce + 1, kToDevice, 0, Attr::kNoWarn)), ENOMEM);
  box.pool->settle();
  EXPECT_EQ(box.pool->stats().pools, 1u) << "another pool would not help";
  fill_up(box, device);
  FailingStep step("dma.swiotlb.alloc_transient");
  EXPECT_EQ(error_of(box.map(device, box.data(), 1, kToDevice, 0, Attr::kNoWarn)), ENOMEM);
}

TEST(DynamicSwiotlb, AskingForTheBaseEndsItsGrowth) {
  BounceBox box(kDynamic);
  Device device = box.device();
  EXPECT_EQ(box.pool->default_base(), box.base());
  fill_up(box, device);
  PhysAddr transient = must(box.map(device, box.data(), 100));
  box.pool->settle();
  EXPECT_EQ(box.pool->stats().pools, 1u);
  box.unmap(device, transient, 100);
  box.pool->settle();
}

TEST(DynamicSwiotlb, TransientPoolsObeyMasksAndReach) {
  BounceBox box(kDynamic);
  box.pool->default_base();
  Device filler = box.device();
  fill_up(box, filler);
  struct Case {
    uint32_t min_align;
    uint64_t alloc_align;
    uint64_t offset;
    size_t size;
  };
  for (Case c : {Case{0xfff, 0, 0xe78, 100}, Case{0xfff, 0xfff, 0xe78, 4096}, Case{0xffff, 0, 0xa678, 5000},
                 Case{0, 0xffff, 0x123, 1}, Case{0, 0, 0x123, kMaxBounce}, Case{0xfff, 0, 0xfff, 258048}}) {
    Device device = box.device(c.min_align, 0x3ffff);
    must(device.set_mask(bit_mask(26)));
    box.fill(box.data(c.offset), c.size, 0x11);
    PhysAddr bounce = must(box.map(device, box.data(c.offset), c.size, kBidirectional, c.alloc_align));
    EXPECT_EQ(bounce.value() & c.min_align, c.offset & c.min_align);
    EXPECT_EQ((bounce.value() - (c.offset & c.min_align)) & c.alloc_align, 0u);
    EXPECT_LT(bounce.value() + c.size, uint64_t{1} << 26);
    EXPECT_TRUE(box.is(bounce, c.size, 0x11));
    box.unmap(device, bounce, c.size);
  }
  Device wide = box.device(0xffffffff);
  EXPECT_EQ(error_of(box.map(wide, box.data(0x1234), 100, kToDevice, 0, Attr::kNoWarn)), ENOMEM);
  box.pool->settle();
  EXPECT_EQ(box.pool->stats().transient_slots, 0u);
}

TEST(DynamicSwiotlb, SharedMemoryIsEncryptedAgainWhenItGoes) {
  BounceBox box({.size = MiB(1), .areas = 1, .dynamic = true, .cc_shared = true});
  box.pool->default_base();
  Device device = box.device(0, 0, {.force_unencrypted = true});
  fill_up(box, device);
  uint64_t before = box.system.free_pages();
  PhysAddr transient = must(box.map(device, box.data(), 100));
  EXPECT_TRUE(box.attributes.is_decrypted(Pfn::containing(transient)));
  box.unmap(device, transient, 100);
  box.pool->settle();
  EXPECT_FALSE(box.attributes.is_decrypted(Pfn::containing(transient)));
  EXPECT_EQ(box.system.free_pages(), before);
  {
    FailingStep step("dma.attributes.encrypt", EIO);
    box.unmap(device, must(box.map(device, box.data(), 100)), 100);
    box.pool->settle();
  }
  EXPECT_EQ(before - box.system.free_pages(), 1u) << "withheld: the host can still read it";
  FailingStep step("dma.attributes.decrypt", EIO);
  EXPECT_EQ(error_of(box.map(device, box.data(), 100, kToDevice, 0, Attr::kNoWarn)), EIO);
}

// 41: lookups of everybody's addresses while transient pools come and go.
TEST(DynamicSwiotlb, LookupsAreSafeWhilePoolsComeAndGo) {
  BounceBox box(kDynamic);
  box.pool->default_base();
  Device filler = box.device();
  fill_up(box, filler);
  uint64_t before = box.system.free_pages();
  std::atomic<bool> stop{false};
  std::vector<std::thread> threads;
  std::atomic<uint64_t> found{0};
  for (unsigned t = 0; t < 2; ++t) {
    threads.emplace_back([&] {
      Device device = box.device();
      do {
        for (uint64_t at = 0; at < MiB(32); at += KiB(64))
          if (box.pool->contains(device, box.base() + at)) ++found;
      } while (!stop);
    });
  }
  std::vector<std::thread> mappers;
  for (unsigned t = 0; t < 4; ++t) {
    mappers.emplace_back([&, t] {
      Device device = box.device();
      const PhysAddr orig = box.data(t * KiB(64));
      for (unsigned i = 0; i < 200; ++i) {
        size_t size = 1 + (i * 997) % 9000;
        box.fill(orig, size, static_cast<int>(i));
        PhysAddr bounce = must(box.map(device, orig, size));
        EXPECT_TRUE(box.pool->contains(device, bounce));
        EXPECT_TRUE(box.is(bounce, size, static_cast<int>(i)));
        box.fill(bounce, size, ~static_cast<int>(i) & 0xff);
        box.unmap(device, bounce, size);
        EXPECT_TRUE(box.is(orig, size, ~static_cast<int>(i) & 0xff));
      }
    });
  }
  for (std::thread& thread : mappers) thread.join();
  stop = true;
  for (std::thread& thread : threads) thread.join();
  EXPECT_GT(found.load(), 0u);
  box.pool->settle();
  EXPECT_EQ(box.pool->stats().transient_slots, 0u);
  EXPECT_EQ(box.system.free_pages(), before);
}

}  // namespace
}  // namespace causeway::dma::testing
