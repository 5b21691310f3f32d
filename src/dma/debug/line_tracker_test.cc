// Spec scenarios 69 and 70: mappings that share a cache line.
#include "dma/debug/line_tracker.h"

#include <gtest/gtest.h>

#include <array>

#include "dma/debug/testing/watched.h"

namespace causeway::dma::testing {
namespace {

using enum Direction;
using enum DebugError;

constexpr uint64_t kRam = MiB(24);

DmaAddr bus(unsigned i) { return DmaAddr{0x100000 + i * 4096}; }
void map(Watched& t, unsigned i, uint64_t phys, Direction direction, Attr attrs = Attr::kNone) {
  t.debug.map_phys(t.device, PhysAddr(phys), 64, direction, bus(i), attrs);
  t.debug.mapping_error(t.device, bus(i));
}
size_t exceeded(Watched& t) {
  size_t lines = 0;
  for (const std::string& line : t.capture.lines()) lines += line.find("exceeded 7 overlapping") != std::string::npos;
  return lines;
}

// 69
TEST(Overlap, NineMappingsOfALineWarnOnceAndTheLineIsForgottenOnlyAfterTheLast) {
  Watched t;
  for (unsigned i = 0; i < 8; ++i) map(t, i, kRam, kFromDevice);
  EXPECT_EQ(exceeded(t), 0u);
  map(t, 8, kRam, kFromDevice);
  EXPECT_EQ(exceeded(t), 1u);
  map(t, 9, kRam, kFromDevice);
  EXPECT_EQ(exceeded(t), 1u);
  EXPECT_EQ(t.fresh(), Errors(9, kCachelineOverlap));
  // The kernel has forgotten the line when two are left of ten.
  for (unsigned i = 0; i < 9; ++i) t.debug.unmap_phys(t.device, bus(i), 64, kFromDevice, Attr::kNone);
  map(t, 0, kRam, kFromDevice);
  EXPECT_EQ(t.fresh(), Errors{kCachelineOverlap});
  t.debug.unmap_phys(t.device, bus(0), 64, kFromDevice, Attr::kNone);
  t.debug.unmap_phys(t.device, bus(9), 64, kFromDevice, Attr::kNone);
  map(t, 0, kRam, kFromDevice);
  EXPECT_EQ(t.fresh(), Errors{});
}

// 69
TEST(Overlap, TheTrackerCountsExactly) {
  LineTracker lines(64);
  std::array<DebugEntry, 10> entries;
  for (unsigned i = 0; i < entries.size(); ++i) {
    entries[i].phys = PhysAddr{kRam};
    entries[i].size = 64;
    entries[i].direction = kFromDevice;
    EXPECT_EQ(lines.insert(&entries[i]).others, i);
  }
  for (DebugEntry& entry : entries) {
    EXPECT_GT(lines.tracked(), 0u);
    lines.remove(&entry);
  }
  EXPECT_EQ(lines.tracked(), 0u);
  EXPECT_EQ(lines.insert(&entries[0]).others, 0u);
}

// 70
TEST(Overlap, MappingsThatAllIgnoreCacheLinesAreSilentOneAloneIsNot) {
  for (Attr clean : {Attr::kDebuggingIgnoreCachelines, Attr::kRequireCoherent}) {
    Watched t;
    map(t, 0, kRam, kFromDevice, clean);
    map(t, 1, kRam, kFromDevice, clean);
    EXPECT_EQ(t.fresh(), Errors{});
    map(t, 2, kRam, kFromDevice);
    EXPECT_EQ(t.fresh(), Errors{kCachelineOverlap});
    // One that does not is there now.
    map(t, 3, kRam, kFromDevice, clean);
    EXPECT_EQ(t.fresh(), Errors{kCachelineOverlap});
    t.debug.unmap_phys(t.device, bus(2), 64, kFromDevice, Attr::kNone);
    map(t, 4, kRam, kFromDevice, clean);
    EXPECT_EQ(t.fresh(), Errors{});
  }
}

// 70
TEST(Overlap, AManifoldCleanOverlapDoesNotWarn) {
  Watched t;
  for (unsigned i = 0; i < 12; ++i) map(t, i, kRam, kFromDevice, Attr::kDebuggingIgnoreCachelines);
  EXPECT_EQ(exceeded(t), 0u);
  EXPECT_EQ(t.fresh(), Errors{});
}

// 70
TEST(Overlap, ANewMappingThatSkipsSyncsIsSilent) {
  Watched t;
  map(t, 0, kRam, kFromDevice);
  map(t, 1, kRam, kFromDevice, Attr::kSkipCpuSync);
  EXPECT_EQ(t.fresh(), Errors{});
  map(t, 2, kRam, kFromDevice);
  EXPECT_EQ(t.fresh(), Errors{kCachelineOverlap});
}

TEST(Overlap, WhatTheDeviceOnlyReadsIsNoOverlap) {
  Watched t;
  map(t, 0, kRam, kToDevice);
  map(t, 1, kRam, kFromDevice);
  map(t, 2, kRam, kToDevice);
  EXPECT_EQ(t.fresh(), Errors{});
  map(t, 3, kRam, kBidirectional);
  EXPECT_EQ(t.fresh(), Errors{kCachelineOverlap});
}

TEST(Overlap, MmioTakesPart) {
  Watched t;
  map(t, 0, 0xfe000000, kFromDevice, Attr::kMmio);
  map(t, 1, 0xfe000000, kFromDevice, Attr::kMmio);
  EXPECT_EQ(t.fresh(), Errors{kCachelineOverlap});
}

TEST(Overlap, OnlyTheFirstLineCountsAndTheNextLineIsAnother) {
  Watched t;
  t.map(kRam, 4096, kFromDevice);
  t.map(kRam + 64, 64, kFromDevice);
  EXPECT_EQ(t.fresh(), Errors{});
  t.map(kRam + 32, 16, kFromDevice);
  EXPECT_EQ(t.fresh(), Errors{kCachelineOverlap});
  EXPECT_NE(t.last_text().find("with device address 0x1800000 of 0000:00:01.0, 4096 bytes"), std::string::npos)
      << t.last_text();
}

TEST(Overlap, ASystemWhereItDoesNoHarmIsSilent) {
  for (Debug::Options options : {Debug::Options{.all_errors = true, .track_overlap = false},
                                 Debug::Options{.all_errors = true, .bounces_kmalloc = true}}) {
    Watched t(options);
    map(t, 0, kRam, kFromDevice);
    map(t, 1, kRam, kFromDevice);
    EXPECT_EQ(t.fresh(), Errors{});
  }
}

}  // namespace
}  // namespace causeway::dma::testing
