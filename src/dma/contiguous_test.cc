// Coherent memory from CMA areas (spec section 6.3, last item; 3.2).
#include "dma/contiguous.h"

#include <gtest/gtest.h>

#include <cstring>

#include "base/log.h"
#include "dma/state.h"
#include "dma/testing/boot.h"

namespace causeway::dma::testing {
namespace {

// Without atomic pools, which would take their memory from the area.
const BootOptions kWithArea{.dma = {.cma_size = MiB(8), .coherent_pool = false}};

mm::CmaArea& default_area(System& system) {
  return *system.dma().state().contiguous.default_area();
}

TEST(Contiguous, MoreThanAPageComesFromTheDefaultAreaAndOnlyWhatWasAskedFor) {
  System system(kWithArea);
  Device device = system.device();
  const uint64_t all = default_area(system).available();
  Coherent memory = must(alloc_coherent(device, KiB(20), kSleep));
  EXPECT_EQ(default_area(system).available(), all - 5) << "pages, not a block of eight";
  EXPECT_TRUE(memory.handle.is_aligned(KiB(32)));
  for (uint64_t i = 0; i < KiB(20); ++i) ASSERT_EQ(memory.as<char>()[i], 0);
  std::memset(memory.cpu, 0xff, KiB(20));
  must(free_coherent(device, memory));
  EXPECT_EQ(default_area(system).available(), all);
  memory = must(alloc_coherent(device, KiB(20), kSleep));
  for (uint64_t i = 0; i < KiB(20); ++i) ASSERT_EQ(memory.as<char>()[i], 0) << "zeroed again";
  must(free_coherent(device, memory));
}

TEST(Contiguous, ASinglePageAndACallerWhoMayNotBlockGoToThePageAllocator) {
  System system(kWithArea);
  Device device = system.device();
  const uint64_t all = default_area(system).available();
  Coherent page = must(alloc_coherent(device, KiB(4), kSleep));
  Coherent atomic = must(alloc_coherent(device, KiB(64), mm::kGfpAtomic));
  EXPECT_EQ(default_area(system).available(), all);
  must(free_coherent(device, page));
  must(free_coherent(device, atomic));
}

TEST(Contiguous, BlocksLargerThanTheBuddysCanBeHad) {
  System system(kWithArea);
  Device device = system.device();
  Coherent large = must(alloc_coherent(device, MiB(6), kSleep));
  EXPECT_EQ(default_area(system).available(), MiB(2) >> kPageShift);
  EXPECT_EQ(error_of(alloc_attrs(device, MiB(6), kSleep, Attr::kNoWarn)), ENOMEM) << "neither the area nor the buddy";
  must(free_coherent(device, large));
  System without;
  Device poor = without.device();
  EXPECT_EQ(error_of(alloc_attrs(poor, MiB(6), kSleep, Attr::kNoWarn)), ENOMEM);
}

TEST(Contiguous, AFullAreaAndOneOutOfReachFallBackToThePageAllocator) {
  System system(kWithArea);
  Device device = system.device();
  Coherent all = must(alloc_coherent(device, MiB(8), kSleep));
  Coherent more = must(alloc_coherent(device, KiB(64), kSleep));
  must(free_coherent(device, more));
  must(free_coherent(device, all));

  Device narrow = system.device({}, "narrow");
  must(narrow.set_bus_windows({{PhysAddr{0}, DmaAddr{0}, MiB(4)}}));
  const uint64_t available = default_area(system).available();
  Coherent low = must(alloc_coherent(narrow, KiB(64), kSleep));
  EXPECT_LT(low.handle, DmaAddr{MiB(4)});
  EXPECT_EQ(default_area(system).available(), available) << "what the device cannot reach went back";
  must(free_coherent(narrow, low));
}

TEST(Contiguous, ADevicesOwnAreaServesEverySizeAndBeforeTheDefaultOne) {
  System system(kWithArea);
  mm::Cma cma;
  mm::CmaArea* own = must(cma.create_from_free(system.pages(), MiB(4), PhysAddr{~uint64_t{0}}, 0, "own"));
  Device device = system.device();
  must(set_cma_area(device, own));
  const uint64_t other = default_area(system).available();
  Coherent page = must(alloc_coherent(device, 100, kSleep));
  Coherent block = must(alloc_coherent(device, KiB(12), kSleep));
  EXPECT_EQ(own->available(), own->pages() - 4);
  EXPECT_EQ(default_area(system).available(), other);
  // Where it came from counts, not what the device has by now.
  must(set_cma_area(device, nullptr));
  must(free_coherent(device, page));
  must(free_coherent(device, block));
  EXPECT_EQ(own->available(), own->pages());
}

TEST(Contiguous, RemappedAndDecryptedMemoryIsThatOfTheAreaToo) {
  System system(kWithArea);
  PageAttributes& attributes = system.dma().state().attributes;
  Device device = system.device({.coherent = false, .force_unencrypted = true});
  const uint64_t changed = attributes.changed_pages();
  Coherent memory = must(alloc_coherent(device, KiB(20), kSleep));
  EXPECT_EQ(attributes.changed_pages(), changed + 5) << "not the pages behind, which are somebody else's";
  std::memset(memory.cpu, 0x5a, KiB(20));
  EXPECT_EQ(std::memcmp(memory.cpu, system.at(*device.to_phys(memory.handle)), KiB(20)), 0);
  must(free_coherent(device, memory));
  EXPECT_EQ(attributes.changed_pages(), changed);
  EXPECT_EQ(default_area(system).clear_bits(), default_area(system).pages());
}

TEST(Contiguous, AtomicPoolsAreMadeOfTheAreaWhereItLiesInTheirZone) {
  System system({.dma = {.cma_size = MiB(8)}});
  mm::CmaArea& area = default_area(system);
  EXPECT_LT(area.available(), area.pages());
  const PfnRange range = area.ranges().front();
  EXPECT_TRUE(system.dma().state().atomic_pools->contains(range.begin.address(), kPageSize));
}

// 74, row 2
TEST(Contiguous, NothingIsPreservedOnceThereIsAnArea) {
  System system(kWithArea);
  Device device = system.device();
  Coherent page = must(alloc_coherent(device, KiB(4), kSleep));
  Coherent block = must(alloc_coherent(device, KiB(64), kSleep));
  EXPECT_EQ(error_of(preserve_allocation(device, page, Attr::kNone)), EOPNOTSUPP) << "not even what is not of the area";
  EXPECT_EQ(error_of(preserve_allocation(device, block, Attr::kNone)), EOPNOTSUPP);
  must(free_coherent(device, page));
  must(free_coherent(device, block));
}

// 74, row 2
TEST(Contiguous, MemoryOfADevicesOwnAreaIsNotPreserved) {
  System system;
  mm::Cma cma;
  mm::CmaArea* own = must(cma.create_from_free(system.pages(), MiB(4), PhysAddr{~uint64_t{0}}, 0, "own"));
  Device device = system.device();
  must(set_cma_area(device, own));
  Coherent memory = must(alloc_coherent(device, KiB(4), kSleep));
  EXPECT_EQ(error_of(preserve_allocation(device, memory, Attr::kNone)), EOPNOTSUPP);
  EXPECT_EQ(system.dma().stats().preserved, 0u);
  must(free_coherent(device, memory));
}

}  // namespace
}  // namespace causeway::dma::testing
