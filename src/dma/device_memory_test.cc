// Memory of one device, and interrupts disabled (spec section 6.1, scenarios 24 and 67).
#include "dma/device_memory.h"

#include <gtest/gtest.h>

#include "base/log.h"
#include "base/warn_once.h"
#include "dma/irq_context.h"
#include "dma/state.h"
#include "dma/testing/boot.h"
#include "dma/user_map.h"

namespace causeway::dma::testing {
namespace {

constexpr DmaAddr kBusBase{GiB(1)};

// 16 pages that are the caller's.
PhysAddr frames(System& system, uint64_t pages = 16) {
  return system.map().phys(must(system.pages().alloc_contig(pages, 1, kSleep)));
}

TEST(DeviceMemory, IsServedAtTheAddressItWasDeclaredAt) {
  System system;
  Device device = system.device();
  PhysAddr base = frames(system);
  must(declare_coherent_memory(device, base, kBusBase, KiB(64)));
  Coherent first = must(alloc_coherent(device, KiB(4), kSleep));
  Coherent second = must(alloc_coherent(device, KiB(8), kSleep));
  EXPECT_EQ(first.handle, kBusBase);
  EXPECT_EQ(second.handle, kBusBase + KiB(8)) << "naturally aligned";
  EXPECT_EQ(second.cpu, system.at(base + KiB(8)));
  must(free_coherent(device, first));
  must(free_coherent(device, second));
}

// 67
TEST(DeviceMemory, SizesAreRoundedUpToRegionsOfAnOrder) {
  System system;
  Device device = system.device();
  // Regions are aligned within the memory, whatever its own address is.
  PhysAddr base = frames(system, 17) + kPageSize;
  must(declare_coherent_memory(device, base, kBusBase, KiB(64)));
  Coherent five = must(alloc_coherent(device, KiB(20), kSleep));
  Coherent three = must(alloc_coherent(device, KiB(12), kSleep));
  EXPECT_EQ(five.handle, kBusBase);
  EXPECT_EQ(three.handle, kBusBase + KiB(32)) << "five pages take eight";
  Coherent four = must(alloc_coherent(device, KiB(16), kSleep));
  EXPECT_EQ(four.handle, kBusBase + KiB(48)) << "three pages take four";
  EXPECT_EQ(error_of(alloc_coherent(device, KiB(4), kSleep)), ENOMEM);
  must(free_coherent(device, three));
  EXPECT_EQ(must(alloc_coherent(device, KiB(16), kSleep)).handle, kBusBase + KiB(32)) << "the whole region came back";
}

// 24
TEST(DeviceMemory, ItsFailureIsFinal) {
  System system;
  Device device = system.device();
  must(declare_coherent_memory(device, frames(system), kBusBase, KiB(64)));
  Coherent all = must(alloc_coherent(device, KiB(64), kSleep));
  const uint64_t before = system.free_pages();
  EXPECT_EQ(error_of(alloc_coherent(device, KiB(4), kSleep)), ENOMEM);
  EXPECT_EQ(error_of(alloc_coherent(device, KiB(128), kSleep)), ENOMEM) << "larger than all of it";
  EXPECT_EQ(system.free_pages(), before);
  Device other = system.device({}, "another");
  must(free_coherent(other, must(alloc_coherent(other, KiB(4), kSleep))));
  must(free_coherent(device, all));
}

TEST(DeviceMemory, WhatCannotBeDeclaredIsRefused) {
  System system;
  Device device = system.device();
  PhysAddr base = frames(system);
  EXPECT_EQ(error_of(declare_coherent_memory(device, base, kBusBase, 0)), EINVAL);
  EXPECT_EQ(error_of(declare_coherent_memory(device, base + 1, kBusBase, KiB(4))), EINVAL);
  EXPECT_EQ(error_of(declare_coherent_memory(device, base, kBusBase, KiB(4) + 1)), EINVAL);
  EXPECT_EQ(error_of(declare_coherent_memory(device, base, DmaAddr{~uint64_t{0} & kPageMask}, KiB(8))), EINVAL);
  EXPECT_EQ(error_of(declare_coherent_memory(device, PhysAddr{~uint64_t{0} & kPageMask}, kBusBase, KiB(8))), EINVAL);
  EXPECT_EQ(error_of(declare_coherent_memory(device, base, kBusBase, MiB(32))), EINVAL) << "free memory behind it";
  {
    if (has_points()) {
      FailingStep step("dma.device_memory.declare", ENOMEM);
      EXPECT_EQ(error_of(declare_coherent_memory(device, base, kBusBase, KiB(64))), ENOMEM);
    }
  }
  must(declare_coherent_memory(device, base, kBusBase, KiB(64)));
  EXPECT_EQ(error_of(declare_coherent_memory(device, base, kBusBase, KiB(64))), EBUSY);
  Device born = system.device({.coherent_memory = true}, "born with it");
  EXPECT_EQ(error_of(declare_coherent_memory(born, base, kBusBase, KiB(64))), EBUSY);
}

TEST(DeviceMemory, BeyondTheCoherentMaskIsOnlyWarnedOf) {
  System system;
  Device device = system.device();
  must(device.set_coherent_mask(bit_mask(32)));
  log::Capture capture;
  must(declare_coherent_memory(device, frames(system), DmaAddr{GiB(4)}, KiB(64)));
  EXPECT_TRUE(capture.contains("beyond its coherent mask"));
  EXPECT_EQ(must(alloc_coherent(device, KiB(4), kSleep)).handle, DmaAddr{GiB(4)});
}

TEST(DeviceMemory, IsGivenUpOnlyWhenNothingIsAllocatedThere) {
  System system;
  Device device = system.device();
  EXPECT_EQ(error_of(release_coherent_memory(device)), EINVAL);
  must(declare_coherent_memory(device, frames(system), kBusBase, KiB(64)));
  Coherent memory = must(alloc_coherent(device, KiB(4), kSleep));
  EXPECT_EQ(error_of(release_coherent_memory(device)), EBUSY);
  must(free_coherent(device, memory));
  must(release_coherent_memory(device));
  Coherent ordinary = must(alloc_coherent(device, KiB(4), kSleep));
  EXPECT_NE(ordinary.handle, kBusBase);
  must(free_coherent(device, ordinary));
}

TEST(DeviceMemory, UsersMayMapItWithinItsBounds) {
  System system;
  Device device = system.device({.coherent = false});
  must(declare_coherent_memory(device, frames(system), kBusBase, KiB(64)));
  Coherent memory = must(alloc_coherent(device, KiB(12), kSleep));
  EXPECT_FALSE(can_mmap(device));
  EXPECT_EQ(must(mmap_attrs(device, memory, Attr::kNone, 1, 2)).pieces.at(0).size, KiB(8));
  EXPECT_EQ(error_of(mmap_attrs(device, memory, Attr::kNone, 3, 1)), ENXIO);
  EXPECT_EQ(error_of(mmap_attrs(device, memory, Attr::kNone, 1, 3)), ENXIO);
}

// 74, row 8
TEST(DeviceMemory, IsNeitherPreservedNorRestored) {
  System system;
  Token token;
  {
    Device device = system.device();
    Coherent ordinary = must(alloc_coherent(device, KiB(4), kSleep));
    token = must(preserve_allocation(device, ordinary, Attr::kNone));
    must(declare_coherent_memory(device, frames(system), kBusBase, KiB(64)));
    Coherent memory = must(alloc_coherent(device, KiB(4), kSleep));
    EXPECT_EQ(error_of(preserve_allocation(device, memory, Attr::kNone)), EOPNOTSUPP);
    must(free_coherent(device, memory));
  }
  system.kexec();
  Device device = system.device();
  must(declare_coherent_memory(device, frames(system), kBusBase, KiB(64)));
  EXPECT_EQ(error_of(restore_allocation(device, KiB(4), kSleep, Attr::kNone, token)), EOPNOTSUPP);
  must(release_coherent_memory(device));
  Coherent restored = must(restore_allocation(device, KiB(4), kSleep, Attr::kNone, token));  // the token is still good
  must(free_coherent(device, restored));
}

// 24
TEST(IrqsOff, FreeingWarnsUnlessTheMemoryIsTheDevicesOwn) {
  System system({.dma = {.device_memory_size = KiB(16)}});
  Device plain = system.device({}, "plain");
  Device own = system.device({.coherent_memory = true}, "own");
  Coherent a = must(alloc_coherent(plain, KiB(4), kSleep));
  Coherent b = must(alloc_coherent(plain, KiB(4), kSleep));
  Coherent c = must(alloc_coherent(own, KiB(4), kSleep));
  log::clear_warn_once();
  {
    log::Capture capture;
    must(free_coherent(plain, a));
    EXPECT_FALSE(capture.contains("interrupts disabled"));
  }
  {
    IrqsOff section;
    log::Capture capture;
    must(free_coherent(own, c));
    EXPECT_FALSE(capture.contains("interrupts disabled"));
    must(free_coherent(plain, b));
    EXPECT_TRUE(capture.contains("interrupts disabled"));
  }
  EXPECT_FALSE(IrqsOff::here());
  log::clear_warn_once();
  IrqsOff section;
  log::Capture capture;
  must(free_coherent(plain, Coherent{}));
  EXPECT_TRUE(capture.contains("interrupts disabled")) << "asked before whether there is anything to free";
}

}  // namespace
}  // namespace causeway::dma::testing
