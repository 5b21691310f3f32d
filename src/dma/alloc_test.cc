// Coherent allocations (spec scenarios 19 to 25, as far as the direct path goes).
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <set>
#include <thread>
#include <vector>

#include "base/log.h"
#include "dma/direct.h"
#include "dma/state.h"
#include "dma/testing/boot.h"

namespace causeway::dma::testing {
namespace {

bool all_zero(const void* memory, uint64_t size) {
  const auto* bytes = static_cast<const std::byte*>(memory);
  return std::all_of(bytes, bytes + size, [](std::byte b) { return b == std::byte{0}; });
}

// 19
TEST(Alloc, AFewBytesAreAWholeZeroedPageAndFreeReturnsIt) {
  System system;
  Device device = system.device();
  uint64_t before = system.free_pages();
  Coherent dirty = must(alloc_coherent(device, 64, kSleep));
  std::memset(dirty.cpu, 0xff, kPageSize);
  must(free_coherent(device, dirty));

  Coherent memory = must(alloc_coherent(device, 64, kSleep));
  EXPECT_TRUE(memory.handle.is_aligned(kPageSize));
  EXPECT_EQ(memory.cpu, system.at(*device.to_phys(memory.handle)));
  EXPECT_TRUE(all_zero(memory.cpu, kPageSize));
  must(free_coherent(device, memory));
  EXPECT_EQ(system.free_pages(), before);
}

TEST(Alloc, FivePagesAreAnOwnedBlockOfEight) {
  System system;
  Device device = system.device();
  uint64_t before = system.free_pages();
  Coherent memory = must(alloc_coherent(device, KiB(20), kSleep));
  EXPECT_EQ(system.free_pages(), before - 8);
  EXPECT_TRUE(memory.handle.is_aligned(KiB(32)));
  EXPECT_TRUE(all_zero(memory.cpu, KiB(20)));
  must(free_coherent(device, memory));
  EXPECT_EQ(system.free_pages(), before);
}

TEST(Alloc, SizesThatCannotBeAreRefused) {
  System system;
  Device device = system.device();
  EXPECT_EQ(error_of(alloc_coherent(device, 0, kSleep)), EINVAL);
  EXPECT_EQ(error_of(alloc_coherent(device, MiB(4) + 1, kSleep)), ENOMEM);
  EXPECT_EQ(error_of(alloc_coherent(device, ~uint64_t{0}, kSleep)), ENOMEM);
}

// 25
TEST(Alloc, CompoundPagesAndAttributesOfMappingsAreRefused) {
  System system;
  Device device = system.device();
  EXPECT_EQ(error_of(alloc_coherent(device, KiB(4), kSleep | mm::Gfp::kComp)), EINVAL);
  for (Attr attr : {Attr::kCcShared, Attr::kAllocCcShared, Attr::kMmio})
    EXPECT_EQ(error_of(alloc_attrs(device, KiB(4), kSleep, attr)), EINVAL);
}

TEST(Alloc, ABehindIommuDeviceIsNotServedHere) {
  System system;
  Device device = system.device({.iommu = true});
  EXPECT_EQ(error_of(alloc_coherent(device, KiB(4), kSleep)), EOPNOTSUPP);
}

// 20
TEST(Alloc, ANarrowMaskIsNeverGivenMemoryBeyondIt) {
  System system({}, MiB(128));
  for (unsigned bits : {25u, 26u, 32u, 33u}) {
    Device device = system.device();
    must(device.set_mask_and_coherent(bit_mask(bits)));
    std::vector<Coherent> blocks;
    for (int i = 0; i < 20; ++i) {
      auto block = alloc_attrs(device, KiB(256), kSleep, Attr::kNoWarn);
      if (!block) break;
      EXPECT_LE(block->handle.value() + block->size - 1, bit_mask(bits)) << bits << " bits";
      blocks.push_back(*block);
    }
    EXPECT_FALSE(blocks.empty()) << bits << " bits";
    for (const Coherent& block : blocks) must(free_coherent(device, block));
  }
}

TEST(Alloc, MemoryNoWindowShowsIsNotUsed) {
  System system;
  Device device = system.device();
  // The window shows the first half of low RAM alone, somewhere else on the bus.
  must(device.set_bus_windows({{PhysAddr{0}, DmaAddr{GiB(1)}, MiB(16)}}));
  Coherent memory = must(alloc_coherent(device, KiB(64), kSleep));
  EXPECT_GE(memory.handle, DmaAddr{GiB(1)});
  EXPECT_LE(memory.handle + memory.size, DmaAddr{GiB(1) + MiB(16)});
  EXPECT_EQ(memory.cpu, system.at(*device.to_phys(memory.handle)));
  must(free_coherent(device, memory));
}

// 21
TEST(Alloc, AnIncoherentDeviceGetsAnUncachedAliasOfTheSamePages) {
  System system;
  Device device = system.device({.coherent = false});
  PageAttributes& attributes = system.dma().state().attributes;
  Coherent memory = must(alloc_coherent(device, KiB(20), kSleep));
  PhysAddr phys = *device.to_phys(memory.handle);
  EXPECT_NE(memory.cpu, system.at(phys));
  std::memset(memory.cpu, 0x5a, KiB(20));
  EXPECT_EQ(std::memcmp(memory.cpu, system.at(phys), KiB(20)), 0);
  EXPECT_EQ(attributes.policy(Pfn::containing(phys)), CachePolicy::kUncached);
  EXPECT_EQ(attributes.cleaned_pages(), 8u);
  must(free_coherent(device, memory));
  EXPECT_EQ(attributes.changed_pages(), 0u);
}

TEST(Alloc, WriteCombineIsAnotherMappingForIncoherentDevicesOnly) {
  System system;
  PageAttributes& attributes = system.dma().state().attributes;
  Device incoherent = system.device({.coherent = false}, "a");
  Coherent combined = must(alloc_attrs(incoherent, KiB(4), kSleep, Attr::kWriteCombine));
  EXPECT_EQ(attributes.policy(Pfn(combined.handle.value() >> kPageShift)), CachePolicy::kWriteCombine);
  must(free_attrs(incoherent, combined, Attr::kWriteCombine));

  Device coherent = system.device({}, "b");
  Coherent plain = must(alloc_attrs(coherent, KiB(4), kSleep, Attr::kWriteCombine));
  EXPECT_EQ(attributes.changed_pages(), 0u);
  must(free_attrs(coherent, plain, Attr::kWriteCombine));
}

TEST(Alloc, SetUncachedSwitchesTheLinearMapping) {
  System system;
  Device device = system.device({.coherent = false, .can_remap = false, .can_set_uncached = true});
  Coherent memory = must(alloc_coherent(device, KiB(4), kSleep));
  PhysAddr phys = *device.to_phys(memory.handle);
  EXPECT_EQ(memory.cpu, system.at(phys));
  EXPECT_EQ(system.dma().state().attributes.policy(Pfn::containing(phys)), CachePolicy::kUncached);
  must(free_coherent(device, memory));
  EXPECT_EQ(system.dma().state().attributes.changed_pages(), 0u);
}

TEST(Alloc, AnIncoherentDeviceWithoutAnyUncachedMappingIsRefused) {
  System system;
  Device device = system.device({.coherent = false, .can_remap = false});
  uint64_t before = system.free_pages();
  EXPECT_EQ(error_of(alloc_coherent(device, KiB(4), kSleep)), EOPNOTSUPP);
  EXPECT_EQ(system.free_pages(), before);
}

// 21
TEST(Alloc, WithoutBlockingARemappedDeviceIsServedFromTheAtomicPoolUntilItIsEmpty) {
  System system;
  Device device = system.device({.coherent = false});
  AtomicPools& pools = *system.dma().state().atomic_pools;
  const uint64_t before = pools.free_pages();
  std::vector<Coherent> blocks;
  for (;;) {
    auto block = alloc_attrs(device, KiB(4), mm::kGfpAtomic, Attr::kNoWarn);
    if (!block) break;
    PhysAddr phys = *device.to_phys(block->handle);
    EXPECT_TRUE(pools.contains(phys, KiB(4)));
    EXPECT_TRUE(all_zero(block->cpu, KiB(4)));
    std::memset(block->cpu, 0xff, KiB(4));
    blocks.push_back(*block);
  }
  EXPECT_EQ(blocks.size(), before);
  log::Capture capture;
  EXPECT_EQ(error_of(alloc_coherent(device, KiB(4), mm::kGfpAtomic)), ENOMEM);
  EXPECT_TRUE(capture.contains("exhausted"));
  for (const Coherent& block : blocks) must(free_coherent(device, block));
  EXPECT_EQ(pools.free_pages(), before);
}

TEST(Alloc, WithoutBlockingACoherentDeviceGetsOrdinaryPages) {
  System system;
  Device device = system.device();
  Coherent memory = must(alloc_coherent(device, KiB(4), mm::kGfpAtomic));
  EXPECT_FALSE(system.dma().state().atomic_pools->contains(*device.to_phys(memory.handle), KiB(4)));
  must(free_coherent(device, memory));
}

TEST(Alloc, WithoutAtomicPoolsARemappedDeviceMustBlock) {
  System system({.dma = {.coherent_pool = false}});
  Device device = system.device({.coherent = false});
  EXPECT_EQ(error_of(alloc_coherent(device, KiB(4), mm::kGfpAtomic)), ENOMEM);
  must(free_coherent(device, must(alloc_coherent(device, KiB(4), kSleep))));
}

// 22
TEST(Alloc, MemoryIsSharedWithTheHostAndTakenBackAtFree) {
  System system;
  Device device = system.device({.force_unencrypted = true});
  PageAttributes& attributes = system.dma().state().attributes;
  Coherent memory = must(alloc_coherent(device, KiB(20), kSleep));
  EXPECT_EQ(attributes.changed_pages(), 8u);
  EXPECT_TRUE(attributes.is_decrypted(Pfn(memory.handle.value() >> kPageShift)));
  must(free_coherent(device, memory));
  EXPECT_EQ(attributes.changed_pages(), 0u);
}

// 22
TEST(Alloc, MemoryThatCouldNotBeDecryptedIsNeverUsedAgain) {
  if (!has_points()) GTEST_SKIP() << "built without named points";
  System system;
  Device device = system.device({.force_unencrypted = true});
  uint64_t before = system.free_pages();
  {
    FailingStep refused("dma.attributes.decrypt", EIO);
    EXPECT_EQ(error_of(alloc_coherent(device, KiB(16), kSleep)), EIO);
  }
  EXPECT_EQ(system.free_pages(), before - 4);
  EXPECT_EQ(system.dma().stats().withheld_pages, 4u);
}

// 22
TEST(Alloc, MemoryThatCouldNotBeEncryptedAtFreeIsNeverUsedAgain) {
  if (!has_points()) GTEST_SKIP() << "built without named points";
  System system;
  Device device = system.device({.force_unencrypted = true});
  uint64_t before = system.free_pages();
  Coherent memory = must(alloc_coherent(device, KiB(16), kSleep));
  FailingStep refused("dma.attributes.encrypt", EIO);
  must(free_coherent(device, memory));
  EXPECT_EQ(system.free_pages(), before - 4);
  EXPECT_EQ(system.dma().stats().withheld_pages, 4u);
  EXPECT_EQ(system.dma().stats().allocations, 0u);
}

TEST(Alloc, AFailedMappingGivesThePagesBack) {
  if (!has_points()) GTEST_SKIP() << "built without named points";
  System system;
  PageAttributes& attributes = system.dma().state().attributes;
  uint64_t before = system.free_pages();
  Device remapped = system.device({.coherent = false, .force_unencrypted = true});
  {
    FailingStep refused("dma.direct.remap", ENOMEM);
    EXPECT_EQ(error_of(alloc_coherent(remapped, KiB(16), kSleep)), ENOMEM);
  }
  Device switched = system.device({.coherent = false, .can_remap = false, .can_set_uncached = true});
  {
    FailingStep refused("dma.attributes.uncached", EIO);
    EXPECT_EQ(error_of(alloc_coherent(switched, KiB(16), kSleep)), EIO);
  }
  EXPECT_EQ(system.free_pages(), before);
  EXPECT_EQ(attributes.changed_pages(), 0u);
  EXPECT_EQ(system.dma().stats().allocations, 0u);
}

// 23
TEST(Alloc, WithoutAKernelMappingTheCpuAddressIsACookie) {
  System system;
  Device device = system.device();
  Coherent memory = must(alloc_attrs(device, KiB(16), kSleep, Attr::kNoKernelMapping));
  EXPECT_FALSE(system.map().direct_map().contains(memory.cpu));
  EXPECT_EQ(error_of(free_coherent(device, memory)), EINVAL) << "freed without the attribute";
  must(free_attrs(device, memory, Attr::kNoKernelMapping));
}

TEST(Alloc, SharedMemoryIsMappedEvenIfNobodyAsksForAMapping) {
  System system;
  Device device = system.device({.force_unencrypted = true});
  Coherent memory = must(alloc_attrs(device, KiB(4), kSleep, Attr::kNoKernelMapping));
  EXPECT_EQ(memory.cpu, system.at(*device.to_phys(memory.handle)));
  must(free_attrs(device, memory, Attr::kNoKernelMapping));
}

// 24
TEST(Alloc, ADevicesOwnMemoryIsTheOnlyPlaceItIsServedFrom) {
  System system({.dma = {.device_memory_size = KiB(16)}});
  Device device = system.device({.coherent_memory = true});
  Coherent first = must(alloc_coherent(device, KiB(16), kSleep));
  uint64_t before = system.free_pages();
  EXPECT_EQ(error_of(alloc_coherent(device, KiB(4), kSleep)), ENOMEM);
  EXPECT_EQ(error_of(alloc_coherent(device, KiB(32), kSleep)), ENOMEM);
  EXPECT_EQ(system.free_pages(), before);
  must(free_coherent(device, first));
  must(free_coherent(device, must(alloc_coherent(device, KiB(4), kSleep))));
}

// 42
TEST(Alloc, DevicesShareTheRestrictedPoolAndGetNothingElse) {
  System system({.dma = {.restricted_pool_size = KiB(32)}});
  Device a = system.device({.restricted_pool = true}, "a");
  Device b = system.device({.restricted_pool = true}, "b");
  Coherent first = must(alloc_coherent(a, KiB(16), kSleep));
  Coherent second = must(alloc_coherent(b, KiB(16), kSleep));
  EXPECT_EQ(error_of(alloc_coherent(a, KiB(4), kSleep)), ENOMEM);
  must(free_coherent(b, second));
  Coherent third = must(alloc_coherent(a, KiB(4), mm::kGfpAtomic));
  must(free_coherent(a, first));
  must(free_coherent(a, third));
}

TEST(Alloc, TheGlobalPoolServesIncoherentDevicesAlone) {
  System system({.dma = {.global_pool = true, .global_pool_size = KiB(16)}});
  Device incoherent = system.device({.coherent = false}, "a");
  Device coherent = system.device({}, "b");
  Coherent all = must(alloc_coherent(incoherent, KiB(16), kSleep));
  EXPECT_EQ(error_of(alloc_coherent(incoherent, KiB(4), kSleep)), ENOMEM);
  must(free_coherent(coherent, must(alloc_coherent(coherent, KiB(4), kSleep))));
  must(free_coherent(incoherent, all));
}

TEST(Free, NullIsNothing) {
  System system;
  Device device = system.device();
  EXPECT_EQ(error_of(free_coherent(device, Coherent{})), 0);
}

TEST(Free, WhatDoesNotFitItsAllocationIsRefusedAndLogged) {
  System system;
  Device device = system.device();
  Device other = system.device({}, "0000:00:02.0");
  Coherent memory = must(alloc_coherent(device, KiB(20), kSleep));
  uint64_t before = system.free_pages();
  log::Capture capture;
  Coherent wrong = memory;
  wrong.size = KiB(16);
  EXPECT_EQ(error_of(free_coherent(device, wrong)), EINVAL);
  wrong = memory;
  wrong.handle += kPageSize;
  EXPECT_EQ(error_of(free_coherent(device, wrong)), EINVAL);
  EXPECT_EQ(error_of(free_coherent(other, memory)), EINVAL);
  EXPECT_EQ(error_of(free_attrs(device, memory, Attr::kForceContiguous)), EINVAL);
  EXPECT_TRUE(capture.contains("want 20480 bytes"));
  EXPECT_TRUE(capture.contains("another device"));
  EXPECT_EQ(system.free_pages(), before);
  EXPECT_EQ(error_of(free_attrs(device, memory, Attr::kNoWarn)), 0) << "a hint may differ";
}

TEST(Free, TwiceIsRefusedTheSecondTime) {
  System system;
  Device device = system.device();
  Coherent memory = must(alloc_coherent(device, KiB(4), kSleep));
  must(free_coherent(device, memory));
  uint64_t before = system.free_pages();
  EXPECT_EQ(error_of(free_coherent(device, memory)), EINVAL);
  EXPECT_EQ(system.free_pages(), before);
  EXPECT_EQ(system.pages().stats().bad_pages, 0u);
}

TEST(Stats, LiveAllocationsAreCounted) {
  System system;
  Device device = system.device();
  Coherent a = must(alloc_coherent(device, KiB(4), kSleep));
  Coherent b = must(alloc_coherent(device, KiB(8), kSleep));
  EXPECT_EQ(system.dma().stats().allocations, 2u);
  must(free_coherent(device, a));
  must(free_coherent(device, b));
  EXPECT_EQ(system.dma().stats().allocations, 0u);
}

TEST(Threads, AllocatingAndFreeingFromManyIsSafe) {
  System system;
  uint64_t before = system.free_pages();
  {
    std::vector<std::thread> threads;
    for (unsigned t = 0; t < 4; ++t) {
      threads.emplace_back([&system, t] {
        Device device = system.device({.coherent = t % 2 == 0}, "device " + std::to_string(t));
        for (unsigned i = 0; i < 100; ++i) {
          Coherent memory = must(alloc_coherent(device, KiB(4) << (i % 4), kSleep));
          *memory.as<uint64_t>() = uint64_t{t} << 32 | i;
          Token token = must(preserve_allocation(device, memory, Attr::kNone));
          EXPECT_EQ(*memory.as<uint64_t>(), uint64_t{t} << 32 | i);
          must(unpreserve_allocation(device, token));
          must(free_coherent(device, memory));
        }
      });
    }
    for (std::thread& thread : threads) thread.join();
  }
  EXPECT_EQ(system.dma().stats().allocations, 0u);
  EXPECT_EQ(system.dma().stats().preserved, 0u);
  EXPECT_LE(before - system.free_pages(), 64u) << "the tree's nodes and page tables of aliases";
}

}  // namespace
}  // namespace causeway::dma::testing
