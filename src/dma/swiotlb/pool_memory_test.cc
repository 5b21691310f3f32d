// How a pool is made: size, place, encryption; and what it says about itself.
#include <gtest/gtest.h>

#include "base/log.h"
#include "dma/swiotlb/testing/bounce_box.h"

namespace causeway::dma::testing {
namespace {

using enum Direction;

TEST(Swiotlb, ContainsItsSlotsAndNothingElse) {
  BounceBox box;
  Device device = box.device();
  EXPECT_TRUE(box.pool->contains(device, box.base()));
  EXPECT_TRUE(box.pool->contains(device, box.base() + MiB(1) - 1));
  EXPECT_FALSE(box.pool->contains(device, box.base() + MiB(1)));
  EXPECT_FALSE(box.pool->contains(device, box.base() - 1));
  EXPECT_FALSE(box.pool->contains(device, PhysAddr{0}));
  EXPECT_FALSE(box.pool->contains(device, PhysAddr{~uint64_t{0}}));
}

TEST(Swiotlb, APoolIsMadeAsLargeAsItsAreasNeedAndAsMemoryAllows) {
  BounceBox grown({.size = KiB(1), .areas = 3});
  EXPECT_EQ(grown.pool->stats().slots, 512u) << "four areas of a set each";
  BounceBox exact({.size = MiB(1), .base = PhysAddr{MiB(24)}});
  EXPECT_EQ(exact.base(), PhysAddr{MiB(24)});

  System system({.dma = {.swiotlb_size = 0}});
  PageAttributes attributes;
  {
    FailingStep step("dma.swiotlb.alloc_pool", ENOMEM, 1);
    EXPECT_EQ(error_of(Swiotlb::create(system.pages(), attributes, {.size = MiB(16), .areas = 64})), ENOMEM);
    EXPECT_EQ(step.hits(), 5u) << "16, 8, 4, 2 and 1 MiB";
  }
  auto halved = must(Swiotlb::create(system.pages(), attributes, {.size = MiB(128), .areas = 256}));
  EXPECT_GE(halved->stats().slots, 8192u);
  EXPECT_LT(halved->stats().slots, 32768u);
  auto below = must(Swiotlb::create(system.pages(), attributes, {.size = MiB(1), .limit = PhysAddr{MiB(16) - 1}}));
  EXPECT_LE(below->stats().base.value() + MiB(1), MiB(16));
  EXPECT_EQ(error_of(Swiotlb::create(system.pages(), attributes, {.size = 0})), EINVAL);
  EXPECT_EQ(error_of(Swiotlb::create(system.pages(), attributes, {.size = GiB(2)})), EINVAL);
  EXPECT_EQ(error_of(Swiotlb::create(system.pages(), attributes, {.size = MiB(1), .base = below->stats().base})), EBUSY);
}

TEST(Swiotlb, TheHighWaterMarkIsKeptOnlyWhenAskedFor) {
  BounceBox tracked({.size = MiB(1), .areas = 1, .track_hiwater = true});
  Device device = tracked.device();
  PhysAddr first = must(tracked.map(device, tracked.data(), 6000));
  tracked.unmap(device, must(tracked.map(device, tracked.data(), 100)), 100);
  EXPECT_EQ(tracked.pool->stats().used_hiwater, 4u);
  must(tracked.pool->reset_hiwater());
  EXPECT_EQ(tracked.pool->stats().used_hiwater, 0u);
  tracked.unmap(device, first, 6000);
  tracked.unmap(device, must(tracked.map(device, tracked.data(), 100)), 100);
  EXPECT_EQ(tracked.pool->stats().used_hiwater, 1u);

  BounceBox plain;
  Device other = plain.device();
  must(plain.map(other, plain.data(), 100));
  EXPECT_EQ(plain.pool->stats().used_hiwater, 0u);
}

TEST(Swiotlb, EncryptionOfThePoolAndNeedOfTheDeviceMustAgree) {
  BounceBox encrypted;
  Device plain = encrypted.device();
  Device needs = encrypted.device(0, 0, {.force_unencrypted = true});
  EXPECT_EQ(error_of(encrypted.map(needs, encrypted.data(), 100)), EPERM);
  Attr attrs = Attr::kCcShared | Attr::kNoWarn;
  must(encrypted.pool->map(plain, encrypted.data(), 100, 0, kToDevice, &attrs));
  EXPECT_EQ(attrs, Attr::kNoWarn);

  BounceBox shared({.size = MiB(1), .areas = 1, .cc_shared = true});
  EXPECT_EQ(shared.attributes.changed_pages(), 256u);
  EXPECT_EQ(error_of(shared.map(plain, shared.data(), 100)), EPERM);
  PhysAddr bounce = must(shared.pool->map(needs, shared.data(), 100, 0, kToDevice, &attrs));
  EXPECT_EQ(attrs, Attr::kCcShared | Attr::kNoWarn);
  EXPECT_TRUE(shared.attributes.is_decrypted(Pfn::containing(bounce)));

  BounceBox host({.size = MiB(1), .areas = 1, .cc_shared = true, .host_encrypted = true});
  EXPECT_EQ(error_of(host.map(plain, host.data(), 100)), 0);
  EXPECT_EQ(error_of(host.map(needs, host.data(), 100)), 0);
}

TEST(Swiotlb, APoolThatCannotBeDecryptedIsNotMade) {
  BounceBox box;
  uint64_t before = box.system.free_pages();
  FailingStep step("dma.attributes.decrypt", EIO);
  EXPECT_EQ(error_of(Swiotlb::create(box.system.pages(), box.attributes, {.size = MiB(1), .cc_shared = true})), EIO);
  EXPECT_EQ(before - box.system.free_pages(), 256u) << "in an unknown state: nobody else gets them";
}

TEST(Swiotlb, TheDisabledPoolIsAlwaysFull) {
  BounceBox box;
  auto disabled = Swiotlb::disabled(box.system.pages(), box.attributes, {.restricted = true});
  Device device = box.device();
  EXPECT_TRUE(disabled->force_bounce());
  Attr attrs = Attr::kNone;
  log::Capture capture;
  EXPECT_EQ(error_of(disabled->map(device, box.data(), 1, 0, kToDevice, &attrs)), ENOMEM);
  EXPECT_TRUE(capture.contains("full"));
  EXPECT_EQ(error_of(disabled->alloc(device, 1)), ENOMEM);
  EXPECT_FALSE(disabled->contains(device, PhysAddr{0}));
}

}  // namespace
}  // namespace causeway::dma::testing
