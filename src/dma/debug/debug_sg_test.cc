// Spec scenario 68: lists, syncs and the two-step API.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "dma/debug/debug.h"
#include "dma/debug/testing/watched.h"

namespace causeway::dma::testing {
namespace {

using enum Direction;
using enum DebugError;

constexpr uint64_t kRam = MiB(24);

// Mapped one to one, at its physical addresses.
std::vector<ScatterEntry> list_of(unsigned entries, uint32_t length = 512) {
  std::vector<ScatterEntry> list;
  for (unsigned i = 0; i < entries; ++i) {
    PhysAddr phys{kRam + i * 4096};
    list.push_back({.phys = phys, .length = length, .dma_address = DmaAddr(phys.value()), .dma_length = length});
  }
  return list;
}

// 68
TEST(DebugSg, TheWholeListIsUnmappedNotTheMappedPart) {
  Watched t;
  // Three entries became two segments, as an IOMMU merges.
  std::vector<ScatterEntry> list = list_of(3);
  list[0].dma_length = 1024;
  list[1].dma_address = DmaAddr{kRam + MiB(1)};
  t.debug.map_sg(t.device, list, 2, kFromDevice, Attr::kNone);
  EXPECT_EQ(t.debug.entries(), 2u);
  // The second segment's memory is the third entry's.
  EXPECT_NE(t.debug.dump().find("phys=0x1802000 dma=0x1900000"), std::string::npos) << t.debug.dump();
  t.debug.unmap_sg(t.device, list, kFromDevice, Attr::kNone);
  EXPECT_EQ(t.fresh(), Errors{});
  EXPECT_EQ(t.debug.entries(), 0u);

  t.debug.map_sg(t.device, list, 2, kFromDevice, Attr::kNone);
  t.debug.unmap_sg(t.device, std::span(list).first(2), kFromDevice, Attr::kNone);
  EXPECT_EQ(t.fresh(), (Errors{kDifferentSgCount, kDifferentSgCount}));
}

// 68
TEST(DebugSg, AListThatIsNotMappedIsReportedOnce) {
  Watched t;
  std::vector<ScatterEntry> list = list_of(3);
  t.debug.unmap_sg(t.device, list, kToDevice, Attr::kNone);
  EXPECT_EQ(t.fresh(), Errors{kNotAllocated});
  t.debug.sync_sg_for_cpu(t.device, list, kFromDevice);
  EXPECT_EQ(t.fresh(), Errors{kSyncNotAllocated});
}

// 68
TEST(DebugSg, ASegmentLongerThanTheDeviceTakesIsReported) {
  Watched t;
  t.device.set_parameters({.max_segment_size = 512});
  std::vector<ScatterEntry> list = list_of(1, 512);
  t.debug.map_sg(t.device, list, 1, kToDevice, Attr::kNone);
  EXPECT_EQ(t.fresh(), Errors{});
  list = list_of(1, 513);
  t.debug.map_sg(t.device, list, 1, kToDevice, Attr::kNone);
  EXPECT_EQ(t.fresh(), Errors{kSegmentTooLong});
}

// 68
TEST(DebugSg, ASegmentAcrossTheBoundaryIsReported) {
  Watched t;
  t.device.set_parameters({.segment_boundary_mask = 0xffff});
  std::vector<ScatterEntry> list = list_of(1, 4096);
  list[0].dma_address = DmaAddr{0x2f000};
  t.debug.map_sg(t.device, list, 1, kToDevice, Attr::kNone);
  EXPECT_EQ(t.fresh(), Errors{});
  list[0].dma_address = DmaAddr{0x3f001};
  t.debug.map_sg(t.device, list, 1, kToDevice, Attr::kNone);
  EXPECT_EQ(t.fresh(), Errors{kSegmentCrossesBoundary});
}

TEST(DebugSg, ListsAreNotOwedAnErrorCheck) {
  Watched t;
  std::vector<ScatterEntry> list = list_of(1);
  t.debug.map_sg(t.device, list, 1, kToDevice, Attr::kNone);
  t.debug.unmap_sg(t.device, list, kToDevice, Attr::kNone);
  EXPECT_EQ(t.fresh(), Errors{});
}

// 68
TEST(DebugSync, PartsOfAMappingMayBeSynced) {
  Watched t;
  t.map(kRam, KiB(256), kFromDevice);
  for (uint64_t offset : {uint64_t{0}, uint64_t{100}, KiB(8), KiB(200), KiB(256) - 1})
    t.debug.sync_single_for_cpu(t.device, DmaAddr{kRam + offset}, 1, kFromDevice);
  t.debug.sync_single_for_device(t.device, DmaAddr{kRam}, KiB(256), kFromDevice);
  EXPECT_EQ(t.fresh(), Errors{});
  t.debug.sync_single_for_cpu(t.device, DmaAddr{kRam + KiB(256)}, 1, kFromDevice);
  EXPECT_EQ(t.fresh(), Errors{kSyncNotAllocated});
  t.debug.sync_single_for_cpu(t.device, DmaAddr{kRam - 1}, 2, kFromDevice);
  EXPECT_EQ(t.fresh(), Errors{kSyncNotAllocated});
  t.debug.sync_single_for_cpu(t.device, DmaAddr{kRam + KiB(255)}, KiB(2), kFromDevice);
  EXPECT_EQ(t.fresh(), Errors{kSyncOutsideRange});
  t.debug.sync_single_for_cpu(t.device, DmaAddr{kRam}, ~size_t{0}, kFromDevice);
  EXPECT_EQ(t.fresh(), Errors{kSyncOutsideRange});
}

TEST(DebugSync, AMappingOfTheWholeTableIsFoundFromItsEnd) {
  Watched t;
  constexpr uint64_t kLong = uint64_t{16384} << 13;
  t.debug.map_phys(t.device, PhysAddr{0xfe000000}, 2 * kLong, kFromDevice, DmaAddr{kRam}, Attr::kMmio);
  t.debug.sync_single_for_cpu(t.device, DmaAddr{kRam + 2 * kLong - 1}, 1, kFromDevice);
  EXPECT_EQ(t.fresh(), Errors{});
}

// 68
TEST(DebugSync, DirectionsMustFit) {
  Watched t;
  t.map(kRam, 64, kToDevice);
  t.debug.sync_single_for_device(t.device, DmaAddr{kRam}, 64, kToDevice);
  t.debug.sync_single_for_cpu(t.device, DmaAddr{kRam}, 64, kToDevice);
  EXPECT_EQ(t.fresh(), Errors{});
  t.debug.sync_single_for_cpu(t.device, DmaAddr{kRam}, 64, kFromDevice);
  EXPECT_EQ(t.fresh(), (Errors{kSyncDifferentDirection, kSyncForCpuReadOnly}));
  t.debug.sync_single_for_device(t.device, DmaAddr{kRam}, 64, kFromDevice);
  EXPECT_EQ(t.fresh(), Errors{kSyncDifferentDirection});

  t.map(kRam + 4096, 64, kFromDevice);
  t.debug.sync_single_for_device(t.device, DmaAddr{kRam + 4096}, 64, kFromDevice);
  EXPECT_EQ(t.fresh(), Errors{});
  t.debug.sync_single_for_device(t.device, DmaAddr{kRam + 4096}, 64, kToDevice);
  EXPECT_EQ(t.fresh(), (Errors{kSyncDifferentDirection, kSyncForDeviceWriteOnly}));
}

// 68
TEST(DebugSync, ABidirectionalMappingTakesAnyDirectionButNotAnyRange) {
  Watched t;
  t.map(kRam, 64, kBidirectional);
  for (Direction direction : {kBidirectional, kToDevice, kFromDevice}) {
    t.debug.sync_single_for_cpu(t.device, DmaAddr{kRam}, 64, direction);
    t.debug.sync_single_for_device(t.device, DmaAddr{kRam}, 64, direction);
  }
  EXPECT_EQ(t.fresh(), Errors{});
  t.debug.sync_single_for_cpu(t.device, DmaAddr{kRam}, 65, kToDevice);
  EXPECT_EQ(t.fresh(), Errors{kSyncOutsideRange});
}

// 68
TEST(DebugSync, AListIsSyncedWhole) {
  Watched t;
  std::vector<ScatterEntry> list = list_of(3);
  t.debug.map_sg(t.device, list, 3, kFromDevice, Attr::kNone);
  t.debug.sync_sg_for_cpu(t.device, list, kFromDevice);
  t.debug.sync_sg_for_device(t.device, list, kFromDevice);
  EXPECT_EQ(t.fresh(), Errors{});
  t.debug.sync_sg_for_cpu(t.device, std::span(list).first(2), kFromDevice);
  EXPECT_EQ(t.fresh(), (Errors{kSyncSgCount, kSyncSgCount}));
}

TEST(DebugLink, AnUnlinkCoversTheLinkedPieces) {
  Watched t;
  for (unsigned i = 0; i < 4; ++i)
    t.debug.link(t.device, PhysAddr{kRam + i * MiB(1)}, 4096, kToDevice, DmaAddr{0x100000 + i * 4096}, Attr::kNone);
  EXPECT_EQ(t.debug.entries(), 4u);
  t.debug.unlink(t.device, DmaAddr{0x103000}, 4096, kToDevice, Attr::kNone);
  t.debug.unlink(t.device, DmaAddr{0x100000}, 3 * 4096, kToDevice, Attr::kNone);
  EXPECT_EQ(t.fresh(), Errors{});
  EXPECT_EQ(t.debug.entries(), 0u);
  t.debug.unlink(t.device, DmaAddr{0x100000}, 4096, kToDevice, Attr::kNone);
  EXPECT_EQ(t.fresh(), Errors{kNotAllocated});
}

TEST(DebugLink, AnUnlinkOfMoreLessOrOtherwiseIsReported) {
  Watched t;
  auto link = [&] { t.debug.link(t.device, PhysAddr{kRam}, 8192, kToDevice, DmaAddr{0x100000}, Attr::kNone); };
  link();
  t.debug.unlink(t.device, DmaAddr{0x100000}, 4096, kToDevice, Attr::kNone);
  EXPECT_EQ(t.fresh(), Errors{kDifferentSize});
  link();
  t.debug.unlink(t.device, DmaAddr{0x100000}, 3 * 4096, kToDevice, Attr::kNone);
  EXPECT_EQ(t.fresh(), Errors{kNotAllocated});
  link();
  t.debug.unlink(t.device, DmaAddr{0x100000}, 8192, kFromDevice, Attr::kNone);
  EXPECT_EQ(t.fresh(), Errors{kDifferentDirection});
  link();
  t.unmap(0x100000, 8192, kToDevice);
  EXPECT_EQ(t.fresh(), Errors{kWrongFunction});
}

}  // namespace
}  // namespace causeway::dma::testing
