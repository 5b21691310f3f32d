// What dma-debug is told of allocations, restored ones included (spec sections 6.1, 7 and 8.6).
#include "dma/alloc_tracking.h"

#include <gtest/gtest.h>

#include "base/log.h"
#include "dma/alloc_pages.h"
#include "dma/debug/init_tracker.h"
#include "dma/noncontiguous.h"
#include "dma/testing/boot.h"

namespace causeway::dma::testing {
namespace {

constexpr Direction kIn = Direction::kFromDevice;
const BootOptions kDebugging{.dma = {.debug = true}};

Debug& debug(System& system) {
  return *system.dma().state().debug;
}

TEST(AllocTracking, EveryKindIsAnEntryUntilItsFree) {
  System system(kDebugging);
  Device device = system.device();
  Coherent coherent = must(alloc_coherent(device, KiB(20), kSleep));
  DmaPages pages = must(alloc_pages(device, KiB(8), kIn, kSleep));
  Noncontiguous scattered = must(alloc_noncontiguous(device, KiB(8), kIn, kSleep, Attr::kNone));
  EXPECT_EQ(debug(system).entries(), 3u);
  must(free_coherent(device, coherent));
  must(free_pages(device, pages, kIn));
  must(free_noncontiguous(device, scattered, kIn));
  EXPECT_EQ(debug(system).entries(), 0u);
  EXPECT_EQ(debug(system).errors(), 0u);
}

TEST(AllocTracking, ADevicesOwnMemoryIsInvisible) {
  System system({.dma = {.device_memory_size = KiB(16), .debug = true}});
  Device device = system.device({.coherent_memory = true});
  Coherent memory = must(alloc_coherent(device, KiB(4), kSleep));
  EXPECT_EQ(debug(system).entries(), 0u);
  must(free_coherent(device, memory));
  EXPECT_EQ(debug(system).errors(), 0u);
}

TEST(AllocTracking, ARestoredAllocationIsOneLikeAnyOther) {
  System system(kDebugging);
  Token token;
  {
    Device device = system.device();
    token = must(preserve_allocation(device, must(alloc_coherent(device, KiB(20), kSleep)), Attr::kNone));
  }
  system.kexec(kDebugging);
  Device device = system.device();
  Coherent memory = must(restore_allocation(device, KiB(20), kSleep, Attr::kNone, token));
  EXPECT_EQ(debug(system).entries(), 1u);
  must(free_coherent(device, memory));
  EXPECT_EQ(debug(system).errors(), 0u) << "a free of what was never allocated otherwise";
  EXPECT_EQ(debug(system).entries(), 0u);
}

TEST(AllocTracking, AWrongFreeIsReported) {
  System system(kDebugging);
  Device device = system.device();
  log::Capture capture;
  Coherent memory = must(alloc_coherent(device, KiB(20), kSleep));
  Coherent wrong = memory;
  wrong.size = KiB(16);
  EXPECT_EQ(error_of(free_coherent(device, wrong)), EINVAL);
  EXPECT_EQ(debug(system).errors(DebugError::kDifferentSize), 1u);
}

TEST(AllocTracking, ARefusedFreeOfPreservedMemoryLeavesItsEntry) {
  System system(kDebugging);
  Device device = system.device();
  Coherent memory = must(alloc_coherent(device, KiB(4), kSleep));
  Token token = must(preserve_allocation(device, memory, Attr::kNone));
  EXPECT_EQ(error_of(free_coherent(device, memory)), EBUSY);
  EXPECT_EQ(debug(system).entries(), 1u);
  must(unpreserve_allocation(device, token));
  must(free_coherent(device, memory));
  EXPECT_EQ(debug(system).errors(), 0u);
}

TEST(AllocTracking, MemoryThatIsNotZeroedIsPoisoned) {
  System system;
  Dma::State& state = system.dma().state();
  state.debug = std::make_unique<Debug>(state.map(), Debug::Options{.track_init = true, .init_seed = 7});
  InitTracker& tracker = *state.debug->init_tracker();
  Device device = system.device();
  DmaPages pages = must(alloc_pages(device, KiB(8), kIn, kSleep));
  EXPECT_TRUE(tracker.scan(system.map().phys(pages.page), KiB(8)));
  DmaPages zeroed = must(alloc_pages(device, KiB(8), kIn, kSleep | mm::kGfpZero));
  EXPECT_FALSE(tracker.scan(system.map().phys(zeroed.page), KiB(8)));
  Coherent cookie = must(alloc_attrs(device, KiB(4), kSleep, Attr::kNoKernelMapping));
  EXPECT_TRUE(tracker.scan(*device.to_phys(cookie.handle), KiB(4)));
  Coherent coherent = must(alloc_coherent(device, KiB(4), kSleep));
  EXPECT_FALSE(tracker.scan(*device.to_phys(coherent.handle), KiB(4)));
  must(free_pages(device, pages, kIn));
  must(free_pages(device, zeroed, kIn));
  must(free_attrs(device, cookie, Attr::kNoKernelMapping));
  must(free_coherent(device, coherent));
}

}  // namespace
}  // namespace causeway::dma::testing
