// What a device would read although nobody wrote it (KMSAN's hook, spec 9 and 12.17).
#include "dma/debug/init_tracker.h"

#include <gtest/gtest.h>

#include <cstring>

#include "dma/debug/testing/watched.h"

namespace causeway::dma::testing {
namespace {

using enum Direction;
using enum DebugError;

constexpr uint64_t kRam = MiB(24);
const Debug::Options kTracking{.all_errors = true, .track_init = true, .init_seed = 7};

TEST(InitTracker, AGapIsFoundWithItsOffsetAndLength) {
  System system;
  InitTracker tracker(system.map(), 7);
  const PhysAddr phys{kRam};
  tracker.poison(phys, 4096);
  std::memset(system.at(phys), 0x5a, 4096);
  EXPECT_FALSE(tracker.scan(phys, 4096));
  tracker.poison(phys + 104, 16);
  tracker.poison(phys + 2048, 64);
  auto run = tracker.scan(phys, 4096);
  ASSERT_TRUE(run);
  EXPECT_EQ(run->offset, 104u);
  EXPECT_EQ(run->words, 10u);
  EXPECT_EQ(run->runs, 2u);
  // Relative to where the scan begins, and only whole aligned words.
  run = tracker.scan(phys + 99, 200);
  ASSERT_TRUE(run);
  EXPECT_EQ(run->offset, 5u);
  EXPECT_FALSE(tracker.scan(phys + 105, 16));
}

TEST(InitTracker, OneWordOfThePatternMayBeChance) {
  System system;
  InitTracker tracker(system.map(), 7);
  std::memset(system.at(PhysAddr{kRam}), 0, 4096);
  tracker.poison(PhysAddr{kRam + 64}, 8);
  EXPECT_FALSE(tracker.scan(PhysAddr{kRam}, 4096));
}

TEST(InitTracker, RangesOutsideMemoryAreLeftAlone) {
  System system;
  InitTracker tracker(system.map(), 7);
  EXPECT_FALSE(tracker.scan(PhysAddr{~uint64_t{0} - 64}, 4096));
  tracker.poison(PhysAddr{~uint64_t{0} - 64}, 64);
  EXPECT_FALSE(tracker.scan(PhysAddr{kRam}, 0));
}

TEST(InitTracker, ThePatternIsOfTheBootAndOrdinaryMemoryNeverLooksLikeIt) {
  System system;
  EXPECT_NE(InitTracker(system.map(), 1).pattern(), InitTracker(system.map(), 2).pattern());
  EXPECT_NE(InitTracker(system.map(), 0).pattern(), InitTracker(system.map(), 0).pattern());
  for (uint64_t seed = 1; seed < 100; ++seed) {
    uint64_t pattern = InitTracker(system.map(), seed).pattern();
    for (unsigned byte = 0; byte < 8; ++byte) {
      EXPECT_NE(pattern >> 8 * byte & 0xff, 0u);
      EXPECT_NE(pattern >> 8 * byte & 0xff, 0xffu);
    }
  }
}

TEST(Uninitialised, OnlyWhatTheDeviceReadsIsReported) {
  Watched t(kTracking);
  t.debug.init_tracker()->poison(PhysAddr{kRam}, 4096);
  t.map(kRam, 4096, kFromDevice);
  EXPECT_EQ(t.fresh(), Errors{});
  t.unmap(kRam, 4096, kFromDevice);
  for (Direction direction : {kToDevice, kBidirectional}) {
    t.map(kRam, 4096, direction);
    EXPECT_EQ(t.fresh(), Errors{kUninitialised});
    t.unmap(kRam, 4096, direction);
  }
  std::memset(t.system.at(PhysAddr{kRam}), 0, 4096);
  t.map(kRam, 4096, kToDevice);
  EXPECT_EQ(t.fresh(), Errors{});
}

TEST(Uninitialised, AReportSaysHowMuchAndWhere) {
  Watched t(kTracking);
  std::memset(t.system.at(PhysAddr{kRam}), 1, 4096);
  t.debug.init_tracker()->poison(PhysAddr{kRam + 512}, 32);
  t.map(kRam, 4096, kToDevice);
  EXPECT_NE(t.last_text().find("4096 bytes, 32 of them unwritten in 1 runs, the first at offset 512"), std::string::npos)
      << t.last_text();
}

TEST(Uninitialised, ListsAndLinksAreLookedAtToo) {
  Watched t(kTracking);
  t.debug.init_tracker()->poison(PhysAddr{kRam}, 512);
  std::vector<ScatterEntry> list = {{PhysAddr{kRam + 4096}, 512, DmaAddr{0x1000}, 1024}, {PhysAddr{kRam}, 512}};
  t.debug.map_sg(t.device, list, 1, kToDevice, Attr::kNone);
  EXPECT_EQ(t.fresh(), Errors{kUninitialised});
  t.debug.link(t.device, PhysAddr{kRam}, 512, kToDevice, DmaAddr{0x4000}, Attr::kNone);
  EXPECT_EQ(t.fresh(), Errors{kUninitialised});
}

// 12.17
TEST(Uninitialised, AFailedMapIsLookedAtAndNotRecorded) {
  Watched t(kTracking);
  t.debug.init_tracker()->poison(PhysAddr{kRam}, 512);
  t.debug.map_phys(t.device, PhysAddr{kRam}, 512, kToDevice, kMappingError, Attr::kNone);
  EXPECT_EQ(t.fresh(), Errors{kUninitialised});
  EXPECT_EQ(t.debug.entries(), 0u);
}

TEST(Uninitialised, MmioIsNeverRead) {
  Watched t(kTracking);
  t.debug.init_tracker()->poison(PhysAddr{kRam}, 512);
  t.system.map().page(PhysAddr{kRam})->set(mm::kPageReserved);
  t.map(kRam, 512, kToDevice, Attr::kMmio);
  t.system.map().page(PhysAddr{kRam})->clear(mm::kPageReserved);
  EXPECT_EQ(t.fresh(), Errors{});
}

}  // namespace
}  // namespace causeway::dma::testing
