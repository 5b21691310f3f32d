// Owners that free: CoherentBuffer and ManagedAllocations.
#include "dma/managed.h"

#include <gtest/gtest.h>

#include <type_traits>

#include "base/log.h"
#include "dma/coherent_buffer.h"
#include "dma/testing/boot.h"

namespace causeway::dma::testing {
namespace {

static_assert(!std::is_copy_constructible_v<CoherentBuffer>);

uint64_t live(System& system) {
  return system.dma().stats().allocations;
}

TEST(CoherentBuffer, FreesOnceHoweverItIsMoved) {
  System system;
  Device device = system.device();
  const uint64_t before = system.free_pages();
  {
    CoherentBuffer ring = must(CoherentBuffer::create(device, KiB(20), kSleep));
    ring.as<uint64_t>()[3] = 7;
    CoherentBuffer moved = std::move(ring);
    EXPECT_FALSE(ring);
    EXPECT_EQ(moved.as<uint64_t>()[3], 7u);
    EXPECT_EQ(live(system), 1u);
    CoherentBuffer other = must(CoherentBuffer::create(device, KiB(4), kSleep));
    other = std::move(moved);  // what it had is freed
    EXPECT_EQ(live(system), 1u);
    EXPECT_EQ(other.size(), KiB(20));
  }
  EXPECT_EQ(live(system), 0u);
  EXPECT_EQ(system.free_pages(), before);
}

TEST(CoherentBuffer, FreesWithTheAttributesItWasMadeWith) {
  System system;
  Device device = system.device();
  log::Capture capture;
  must(CoherentBuffer::create(device, KiB(4), kSleep, Attr::kForceContiguous)).reset();
  EXPECT_EQ(live(system), 0u);
  EXPECT_TRUE(capture.lines().empty());
  EXPECT_EQ(error_of(CoherentBuffer::create(device, 0, kSleep)), EINVAL);
}

TEST(CoherentBuffer, ReleasedAndPreservedMemoryStays) {
  System system;
  Device device = system.device();
  Coherent kept = must(CoherentBuffer::create(device, KiB(4), kSleep)).release();
  EXPECT_EQ(live(system), 1u);
  Token token = must(preserve_allocation(device, kept, Attr::kNone));
  CoherentBuffer::adopt(device, kept).reset();
  EXPECT_EQ(live(system), 1u) << "a preserved one is not freed";
  must(unpreserve_allocation(device, token));
  CoherentBuffer::adopt(device, kept).reset();
  EXPECT_EQ(live(system), 0u);
}

TEST(Managed, WhatIsLeftIsFreedWithItsOwner) {
  System system;
  Device device = system.device();
  const uint64_t before = system.free_pages();
  {
    ManagedAllocations managed(device);
    must(managed.alloc_coherent(KiB(20), kSleep));
    Coherent second = must(managed.alloc_attrs(KiB(8), kSleep, Attr::kForceContiguous));
    must(managed.alloc_coherent(KiB(4), kSleep));
    must(managed.free_coherent(second));
    EXPECT_EQ(managed.size(), 2u);
    EXPECT_EQ(live(system), 2u);
  }
  EXPECT_EQ(live(system), 0u);
  EXPECT_EQ(system.free_pages(), before);
}

TEST(Managed, AFreeThatDoesNotFitIsWarnedOfAndFreesNothing) {
  System system;
  Device device = system.device();
  ManagedAllocations managed(device);
  Coherent memory = must(managed.alloc_coherent(KiB(20), kSleep));
  Coherent foreign = must(alloc_coherent(device, KiB(4), kSleep));
  log::Capture capture;
  EXPECT_EQ(error_of(managed.free_coherent(foreign)), EINVAL);
  EXPECT_TRUE(capture.contains("nothing managed has this address"));
  Coherent wrong = memory;
  wrong.size = KiB(16);
  EXPECT_EQ(error_of(managed.free_coherent(wrong)), EINVAL);
  wrong = memory;
  wrong.handle += kPageSize;
  EXPECT_EQ(error_of(managed.free_coherent(wrong)), EINVAL);
  EXPECT_TRUE(capture.contains("its size or handle is another"));
  EXPECT_EQ(live(system), 2u);
  must(managed.free_coherent(memory));
  EXPECT_EQ(error_of(managed.free_coherent(memory)), EINVAL) << "twice";
  must(free_coherent(device, foreign));
}

TEST(Managed, APreservedOneStaysManagedUntilItIsNot) {
  System system;
  Device device = system.device();
  {
    ManagedAllocations managed(device);
    Coherent memory = must(managed.alloc_coherent(KiB(4), kSleep));
    Token token = must(preserve_allocation(device, memory, Attr::kNone));
    EXPECT_EQ(error_of(managed.free_coherent(memory)), EBUSY);
    EXPECT_EQ(managed.size(), 1u);
    must(unpreserve_allocation(device, token));
  }
  EXPECT_EQ(live(system), 0u);
}

}  // namespace
}  // namespace causeway::dma::testing
