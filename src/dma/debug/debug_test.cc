// Spec scenario 68: each row of dma-debug's table, the wrong call and the right one; and the counters. 71, 90.
#include "dma/debug/debug.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "dma/debug/testing/watched.h"

namespace causeway::dma::testing {
namespace {

using enum Direction;
using enum DebugError;

constexpr uint64_t kRam = MiB(24);

// 68
TEST(Debug, TheUnmapOfAFailedMapIsReported) {
  Watched t;
  t.debug.map_phys(t.device, PhysAddr{kRam}, 64, kToDevice, kMappingError, Attr::kNone);
  EXPECT_EQ(t.debug.entries(), 0u);
  EXPECT_EQ(t.fresh(), Errors{});
  t.debug.unmap_phys(t.device, kMappingError, 64, kToDevice, Attr::kNone);
  EXPECT_EQ(t.fresh(), Errors{kInvalidAddressFreed});
}

// 68
TEST(Debug, ADoubleUnmapAndAForeignDeviceAreReported) {
  Watched t;
  t.map(kRam, 64, kToDevice);
  t.unmap(kRam, 64, kToDevice);
  EXPECT_EQ(t.fresh(), Errors{});
  t.unmap(kRam, 64, kToDevice);
  EXPECT_EQ(t.fresh(), Errors{kNotAllocated});

  t.map(kRam, 64, kToDevice);
  Device other = t.system.device({}, "0000:00:02.0");
  t.debug.unmap_phys(other, DmaAddr{kRam}, 64, kToDevice, Attr::kNone);
  EXPECT_EQ(t.fresh(), Errors{kNotAllocated});
  EXPECT_NE(t.last_text().find("0000:00:02.0"), std::string::npos);
  EXPECT_EQ(t.debug.entries(), 1u);
}

// 68, 90
TEST(Debug, AnotherSizeIsReportedWithBoth) {
  Watched t;
  t.map(kRam, 4096, kToDevice);
  t.unmap(kRam, 4096, kToDevice);
  EXPECT_EQ(t.fresh(), Errors{});
  t.map(kRam, 4096, kToDevice);
  t.unmap(kRam, 512, kToDevice);
  EXPECT_EQ(t.fresh(), Errors{kDifferentSize});
  EXPECT_NE(t.last_text().find("mapped 4096 bytes, unmapped 512"), std::string::npos) << t.last_text();
  EXPECT_EQ(t.debug.entries(), 0u);
}

// 68
TEST(Debug, AnotherFunctionIsReported) {
  Watched t;
  t.debug.alloc_coherent(t.device, t.system.at(PhysAddr{kRam}), PhysAddr{kRam}, 4096, DmaAddr{kRam}, Attr::kNone);
  t.unmap(kRam, 4096, kBidirectional);
  EXPECT_EQ(t.fresh(), Errors{kWrongFunction});
  EXPECT_NE(t.last_text().find("mapped as coherent, unmapped as phys"), std::string::npos) << t.last_text();
}

// 68
TEST(Debug, AnotherCpuAddressOfAnAllocationIsReported) {
  Watched t;
  const std::byte* cpu = t.system.at(PhysAddr{kRam});
  t.debug.alloc_coherent(t.device, cpu, PhysAddr{kRam}, 4096, DmaAddr{kRam}, Attr::kNone);
  t.debug.free_coherent(t.device, cpu, 4096, DmaAddr{kRam}, Attr::kNone);
  t.debug.alloc_pages(t.device, PhysAddr{kRam}, 4096, kToDevice, DmaAddr{kRam});
  t.debug.free_pages(t.device, PhysAddr{kRam}, 4096, kToDevice, DmaAddr{kRam});
  EXPECT_EQ(t.fresh(), Errors{});

  t.debug.alloc_coherent(t.device, cpu, PhysAddr{kRam}, 4096, DmaAddr{kRam}, Attr::kNone);
  t.debug.free_coherent(t.device, cpu + 4096, 4096, DmaAddr{kRam}, Attr::kNone);
  EXPECT_EQ(t.fresh(), Errors{kDifferentCpuAddress});
  t.debug.alloc_pages(t.device, PhysAddr{kRam}, 4096, kToDevice, DmaAddr{kRam});
  t.debug.free_pages(t.device, PhysAddr{kRam + 4096}, 4096, kToDevice, DmaAddr{kRam});
  EXPECT_EQ(t.fresh(), Errors{kDifferentCpuAddress});
}

// 68, 90
TEST(Debug, AnotherDirectionIsReported) {
  Watched t;
  t.map(kRam, 64, kToDevice);
  t.unmap(kRam, 64, kFromDevice);
  EXPECT_EQ(t.fresh(), Errors{kDifferentDirection});
}

// 68
TEST(Debug, AMapNeverCheckedForAnErrorIsReported) {
  Watched t;
  t.debug.map_phys(t.device, PhysAddr{kRam}, 64, kToDevice, DmaAddr{kRam}, Attr::kNone);
  t.unmap(kRam, 64, kToDevice);
  EXPECT_EQ(t.fresh(), Errors{kMapErrorNotChecked});
  t.map(kRam, 64, kToDevice);
  t.unmap(kRam, 64, kToDevice);
  EXPECT_EQ(t.fresh(), Errors{});
}

// 68
TEST(Debug, ACheckCountsForOneMapOnly) {
  Watched t;
  for (size_t size : {64, 128}) t.debug.map_phys(t.device, PhysAddr{kRam}, size, kToDevice, DmaAddr{kRam}, Attr::kNone);
  t.debug.mapping_error(t.device, DmaAddr{kRam});
  t.unmap(kRam, 64, kToDevice);
  EXPECT_EQ(t.fresh(), Errors{});
  t.unmap(kRam, 128, kToDevice);
  EXPECT_EQ(t.fresh(), Errors{kMapErrorNotChecked});
}

// 68
TEST(Debug, OfTheAttributesOnlyThoseThatMatterAreCompared) {
  for (Attr matters : {Attr::kNoKernelMapping, Attr::kForceContiguous, Attr::kRequireCoherent, Attr::kPrivileged,
                       Attr::kCcShared}) {
    Watched t;
    t.map(kRam, 64, kToDevice, matters);
    t.unmap(kRam, 64, kToDevice);
    EXPECT_EQ(t.fresh(), Errors{kDifferentAttributes}) << static_cast<uint64_t>(matters);
  }
  Watched t;
  t.map(kRam, 64, kToDevice);
  t.unmap(kRam, 64, kToDevice, Attr::kMmio);
  EXPECT_EQ(t.fresh(), Errors{kDifferentAttributes});
  for (Attr hint : {Attr::kWeakOrdering, Attr::kSkipCpuSync, Attr::kNoWarn, Attr::kDebuggingIgnoreCachelines}) {
    t.map(kRam, 64, kToDevice, hint);
    t.unmap(kRam, 64, kToDevice);
    EXPECT_EQ(t.fresh(), Errors{}) << static_cast<uint64_t>(hint);
  }
}

// 68
TEST(Debug, MemoryOnTheStackIsReported) {
  Watched t;
  const void* frame = __builtin_frame_address(0);
  t.debug.check_single(t.device, frame, 64);
  EXPECT_EQ(t.fresh(), Errors{kMapsFromStack});
  t.debug.check_single(t.device, t.system.at(PhysAddr{kRam}), 64);
  EXPECT_EQ(t.fresh(), Errors{});
}

// 68
TEST(Debug, TextReadOnlyDataAndVmallocAreReported) {
  Watched t;
  t.debug.check_single(t.device, reinterpret_cast<const void*>(&bit_mask), 4);
  EXPECT_EQ(t.fresh(), Errors{kMapsKernelText});
  static constexpr char kText[] = "constant data of this program, which no device may be given";
  t.debug.check_single(t.device, kText, sizeof(kText));
  EXPECT_EQ(t.fresh(), Errors{kMapsKernelText});
  const mm::VmArea* area = must(t.system.vmalloc().alloc(KiB(8), mm::kGfpKernel));
  t.debug.check_single(t.device, area->address, 64);
  EXPECT_EQ(t.fresh(), Errors{kMapsVmalloc});
  auto heap = std::make_unique<char[]>(64);
  t.debug.check_single(t.device, heap.get(), 64);
  EXPECT_EQ(t.fresh(), Errors{kMapsInvalidArea});
}

// 68
TEST(Debug, WhatIsNoMemoryIsReportedUnlessItIsAResource) {
  Watched t;
  constexpr uint64_t kHole = 0xfe000000;
  t.map(kHole, 64, kToDevice);
  EXPECT_EQ(t.fresh(), Errors{kMapsInvalidArea});
  t.map(kHole + 4096, 64, kToDevice, Attr::kMmio);
  EXPECT_EQ(t.fresh(), Errors{});
  // The last byte counts, and a length that wraps is no memory either.
  t.debug.map_phys(t.device, PhysAddr{MiB(64) - 64}, 128, kToDevice, DmaAddr{kRam}, Attr::kNone);
  EXPECT_EQ(t.fresh(), Errors{kMapsInvalidArea});
  t.debug.map_phys(t.device, PhysAddr{kRam}, ~size_t{0}, kToDevice, DmaAddr{kRam}, Attr::kNone);
  EXPECT_EQ(t.fresh(), Errors{kMapsInvalidArea});
}

// 68
TEST(Debug, RamMappedAsAResourceIsReportedButNotReservedRam) {
  Watched t;
  t.map(kRam, 64, kToDevice, Attr::kMmio);
  EXPECT_EQ(t.fresh(), Errors{kResourceIsRam});
  t.system.map().page(PhysAddr{kRam + 4096})->set(mm::kPageReserved);
  t.map(kRam + 4096, 64, kToDevice, Attr::kMmio);
  EXPECT_EQ(t.fresh(), Errors{});
  t.system.map().page(PhysAddr{kRam + 4096})->clear(mm::kPageReserved);
}

// 68
TEST(Debug, ARemovedDeviceWithLiveMappingsIsReportedOnceWithTheirNumber) {
  Watched t;
  Device other = t.system.device({}, "0000:00:02.0");
  t.debug.map_phys(other, PhysAddr{kRam}, 64, kToDevice, DmaAddr{kRam}, Attr::kNone);
  EXPECT_EQ(t.debug.device_removed(t.device), 0u);
  EXPECT_EQ(t.fresh(), Errors{});
  for (unsigned i = 0; i < 3; ++i) t.map(kRam + i * MiB(1), 64, kToDevice);
  EXPECT_EQ(t.debug.device_removed(t.device), 3u);
  EXPECT_EQ(t.fresh(), Errors{kPendingAllocations});
  EXPECT_NE(t.last_text().find("3 of them"), std::string::npos) << t.last_text();
  EXPECT_EQ(t.debug.entries(), 1u);
  EXPECT_EQ(t.debug.device_removed(t.device), 0u);
  EXPECT_EQ(t.debug.device_removed(other), 1u);
}

// 12: what unmap_page() with kMmio leaves behind
TEST(Debug, AnMmioMappingThatWasNeverUnmappedIsFoundAtUnbind) {
  Watched t;
  t.map(0xfe000000, 4096, kBidirectional, Attr::kMmio);
  EXPECT_EQ(t.debug.device_removed(t.device), 1u);
  EXPECT_EQ(t.fresh(), Errors{kPendingAllocations});
}

// 71
TEST(Debug, OneAddressMappedTwiceWithDistinctSizesMayBeUnmappedInEitherOrder) {
  for (bool oldest_first : {true, false}) {
    Watched t;
    t.map(kRam, 64, kToDevice);
    t.map(kRam, 128, kToDevice);
    t.unmap(kRam, oldest_first ? 64 : 128, kToDevice);
    t.unmap(kRam, oldest_first ? 128 : 64, kToDevice);
    EXPECT_EQ(t.fresh(), Errors{});
    EXPECT_EQ(t.debug.entries(), 0u);
  }
}

// 71: several at the address and none fits
TEST(Debug, AnAmbiguousUnmapIsNotGuessed) {
  Watched t;
  t.map(kRam, 64, kToDevice);
  t.map(kRam, 128, kToDevice);
  t.unmap(kRam, 256, kToDevice);
  EXPECT_EQ(t.fresh(), Errors{kNotAllocated});
  EXPECT_EQ(t.debug.entries(), 2u);
}

TEST(Debug, TheOldestOfEqualMappingsGoesFirst) {
  // Its address was given away before its record went: the new owner's map is not yet checked.
  Watched t;
  t.map(kRam, 64, kToDevice);
  t.debug.map_phys(t.device, PhysAddr{kRam + 4096}, 64, kToDevice, DmaAddr{kRam}, Attr::kNone);
  t.unmap(kRam, 64, kToDevice);
  EXPECT_EQ(t.fresh(), Errors{});
  t.debug.mapping_error(t.device, DmaAddr{kRam});
  t.unmap(kRam, 64, kToDevice);
  EXPECT_EQ(t.fresh(), Errors{});
}

TEST(Debug, AReportNamesTheDeviceTheMappingAndBothStacks) {
  Watched t;
  t.map(kRam, 64, kFromDevice);
  t.unmap(kRam, 32, kFromDevice);
  const std::string text = t.last_text();
  for (const char* part : {"0000:00:01.0", "device address=0x1800000", "size=32", "phys=0x1800000", "from device",
                           "mapped as phys", "mapped at ", "reported at ", "dma_test"})
    EXPECT_NE(text.find(part), std::string::npos) << part << " in " << text;
  EXPECT_EQ(text.find("unknown"), std::string::npos) << text;
  EXPECT_TRUE(t.capture.contains(text));
}

TEST(Debug, OneReportIsPrintedByDefaultAndAllAreCounted) {
  Watched t(Debug::Options{});
  auto printed = [&] {
    size_t lines = 0;
    for (const std::string& line : t.capture.lines()) lines += line.find("unmap of what is not mapped") != std::string::npos;
    return lines;
  };
  for (unsigned i = 0; i < 3; ++i) t.unmap(kRam, 64, kToDevice);
  EXPECT_EQ(printed(), 1u);
  EXPECT_EQ(t.debug.errors(), 3u);
  EXPECT_EQ(t.debug.errors(kNotAllocated), 3u);
  EXPECT_EQ(t.debug.errors(kDifferentSize), 0u);
  t.debug.set_num_errors(2);
  for (unsigned i = 0; i < 3; ++i) t.unmap(kRam, 64, kToDevice);
  EXPECT_EQ(printed(), 3u);
  t.debug.set_all_errors(true);
  for (unsigned i = 0; i < 3; ++i) t.unmap(kRam, 64, kToDevice);
  EXPECT_EQ(printed(), 6u);
  EXPECT_EQ(t.fresh().size(), 9u);
}

TEST(Debug, AFilteredDeviceIsCountedButNotPrintedAndCostsNoBudget) {
  Watched t({.driver_filter = "0000:00:02.0"});
  t.unmap(kRam, 64, kToDevice);
  EXPECT_FALSE(t.capture.contains("unmap of what is not mapped"));
  EXPECT_EQ(t.debug.errors(), 1u);
  Device chosen = t.system.device({}, "0000:00:02.0");
  t.debug.unmap_phys(chosen, DmaAddr{kRam}, 64, kToDevice, Attr::kNone);
  EXPECT_TRUE(t.capture.contains("0000:00:02.0: unmap of what is not mapped"));
}

TEST(Debug, EntriesBeyondTheReservedOnesAreMadeUntilMemoryEnds) {
  Watched t({.entries = 10, .max_entries = 100, .all_errors = true});
  EXPECT_EQ(t.debug.min_free_entries(), 10u);
  for (unsigned i = 0; i < 100; ++i) t.map(kRam + i * 4096, 64, kToDevice);
  EXPECT_EQ(t.debug.entries(), 100u);
  EXPECT_EQ(t.debug.min_free_entries(), 0u);
  EXPECT_TRUE(t.debug.enabled());
  EXPECT_TRUE(t.capture.contains("the pool has grown"));
  t.map(kRam + 100 * 4096, 64, kToDevice);
  EXPECT_FALSE(t.debug.enabled());
  EXPECT_TRUE(t.capture.contains("out of memory"));
  // For good: what was recorded is no longer compared with anything.
  t.unmap(kRam, 1, kFromDevice);
  t.unmap(kRam + 100 * 4096, 64, kToDevice);
  t.map(kRam, 64, kToDevice);
  EXPECT_EQ(t.fresh(), Errors{});
  EXPECT_EQ(t.debug.entries(), 100u);
}

TEST(Debug, AnAllocationFailureDisablesToo) {
  if (!has_points()) GTEST_SKIP();
  Watched t;
  FailingStep step("dma.debug.grow_pool");
  t.map(kRam, 64, kToDevice);
  EXPECT_FALSE(t.debug.enabled());
}

TEST(Debug, FreeEntriesAreReused) {
  Watched t({.entries = 10, .max_entries = 10, .all_errors = true});
  for (unsigned round = 0; round < 50; ++round) {
    for (unsigned i = 0; i < 10; ++i) t.map(kRam + i * 4096, 64, kToDevice);
    for (unsigned i = 0; i < 10; ++i) t.unmap(kRam + i * 4096, 64, kToDevice);
  }
  EXPECT_TRUE(t.debug.enabled());
  EXPECT_EQ(t.debug.entries(), 0u);
  EXPECT_EQ(t.fresh(), Errors{});
}

TEST(Debug, TheDumpHasALineForEachLiveEntry) {
  Watched t;
  t.map(kRam, 64, kToDevice);
  t.debug.map_phys(t.device, PhysAddr{kRam + 4096}, 128, kFromDevice, DmaAddr{kRam + 4096}, Attr::kNone);
  EXPECT_EQ(t.debug.dump(),
            "0000:00:01.0 phys phys=0x1800000 dma=0x1800000 size=64 to device attrs=0x0 checked\n"
            "0000:00:01.0 phys phys=0x1801000 dma=0x1801000 size=128 from device attrs=0x0 not checked\n");
}

TEST(Debug, EveryErrorHasItsOwnName) {
  std::vector<std::string> names;
  for (unsigned i = 0; i < kDebugErrors; ++i) names.emplace_back(name_of(static_cast<DebugError>(i)));
  std::sort(names.begin(), names.end());
  EXPECT_EQ(std::unique(names.begin(), names.end()), names.end());
  EXPECT_EQ(std::count(names.begin(), names.end(), "unknown"), 0);
}

}  // namespace
}  // namespace causeway::dma::testing
