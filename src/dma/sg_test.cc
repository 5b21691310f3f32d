// Scatter lists on the direct path: entry by entry, all or nothing.
#include <gtest/gtest.h>

#include <vector>

#include "dma/map.h"
#include "dma/testing/in_flight.h"
#include "dma/testing/streaming.h"

namespace causeway::dma::testing {
namespace {

std::vector<ScatterEntry> entries_of(PhysAddr base, unsigned count, uint32_t length = 1024) {
  std::vector<ScatterEntry> list;
  for (unsigned i = 0; i < count; ++i) list.push_back({.phys = base + i * uint64_t{length}, .length = length});
  return list;
}

void expect_unmapped(const std::vector<ScatterEntry>& list, const std::vector<ScatterEntry>& original) {
  ASSERT_EQ(list.size(), original.size());
  for (size_t i = 0; i < list.size(); ++i) {
    EXPECT_EQ(list[i].phys, original[i].phys);
    EXPECT_EQ(list[i].length, original[i].length);
    EXPECT_EQ(list[i].dma_address, DmaAddr{});
    EXPECT_EQ(list[i].dma_length, 0u);
    EXPECT_EQ(list[i].flags, 0u);
  }
}

TEST(ScatterList, EveryEntryBecomesASegment) {
  System system;
  Device device = system.device();
  std::vector<ScatterEntry> list = entries_of(PhysAddr{MiB(8)}, 4);
  std::vector<ScatterEntry> original = list;
  ASSERT_EQ(map_sg(device, list, Direction::kToDevice), 4u);
  for (const ScatterEntry& entry : list) {
    EXPECT_EQ(entry.dma_address, bus(entry.phys));
    EXPECT_EQ(entry.dma_length, entry.length);
  }
  sync_sg_for_cpu(device, list, Direction::kToDevice);
  unmap_sg(device, list, Direction::kToDevice);
  expect_unmapped(list, original);
}

TEST(ScatterList, AnEntryThatFailsUndoesTheOthersWithoutCopyingBack) {
  System system(with({.swiotlb_force = true}));
  Device device = system.device();
  PhysAddr buffer = page(system);
  std::vector<ScatterEntry> list = entries_of(buffer, 3);
  list.push_back({.phys = PhysAddr{GiB(3)}, .length = 1024});  // no RAM there
  list.push_back({.phys = buffer, .length = 1024});
  std::vector<ScatterEntry> original = list;
  // Whoever copied back would bring this from the slots.
  fill(system.at(buffer), kPageSize, 1);
  EXPECT_EQ(map_sg(device, list, Direction::kFromDevice), 0u);
  expect_unmapped(list, original);
  EXPECT_EQ(system.dma().swiotlb()->stats().used, 0u);
  ScatterTable table{.entries = list};
  EXPECT_EQ(error_of(map_sgtable(device, table, Direction::kFromDevice)), EIO);
  EXPECT_EQ(table.mapped, 0u);
  EXPECT_EQ(system.dma().swiotlb()->stats().used, 0u);
  EXPECT_TRUE(filled(system.at(buffer), kPageSize, 1));
}

TEST(ScatterList, AnUndoneListIsNotSynced) {
  System system;
  Device device = system.device({.coherent = false});
  must(device.set_mask(bit_mask(31)));
  std::vector<ScatterEntry> list = entries_of(PhysAddr{MiB(8)}, 2);
  list.push_back({.phys = PhysAddr{GiB(3)}, .length = 1024});
  EXPECT_EQ(map_sg(device, list, Direction::kBidirectional), 0u);
  EXPECT_EQ(cache_operations(system).for_cpu, 0u);
}

TEST(ScatterList, BouncedEntriesAreCopiedBothWays) {
  System system(with({.swiotlb_force = true}));
  Device device = system.device();
  PhysAddr buffer = page(system);
  fill(system.at(buffer), kPageSize, 1);
  std::vector<ScatterEntry> list = {{.phys = buffer, .length = kPageSize}};
  ASSERT_EQ(map_sg(device, list, Direction::kBidirectional), 1u);
  std::byte* slot = system.at(PhysAddr(list[0].dma_address.value()));
  EXPECT_TRUE(filled(slot, kPageSize, 1));
  fill(system.at(buffer), kPageSize, 2);
  sync_sg_for_device(device, list, Direction::kBidirectional);
  EXPECT_TRUE(filled(slot, kPageSize, 2));
  fill(slot, kPageSize, 3);
  unmap_sg(device, list, Direction::kBidirectional);
  EXPECT_TRUE(filled(system.at(buffer), kPageSize, 3));
}

// 8
TEST(ScatterList, WhoRequiresCoherenceIsRefusedByAnIncoherentDevice) {
  System system;
  Device device = system.device({.coherent = false});
  ScatterTable table{.entries = entries_of(PhysAddr{MiB(8)}, 2)};
  EXPECT_EQ(error_of(map_sgtable(device, table, Direction::kToDevice, Attr::kRequireCoherent)), EOPNOTSUPP);
  EXPECT_EQ(map_sg(device, table.entries, Direction::kToDevice, Attr::kRequireCoherent), 0u);
  EXPECT_TRUE(no_cache_operations(system));
}

TEST(ScatterList, AnEmptyListIsAnErrorOfTheTableCall) {
  System system;
  Device device = system.device();
  ScatterTable table;
  LogCount warnings("nothing was mapped");
  EXPECT_EQ(error_of(map_sgtable(device, table, Direction::kToDevice)), EIO);
  EXPECT_EQ(warnings.count(), 1u);
  EXPECT_EQ(map_sg(device, table.entries, Direction::kToDevice), 0u);
}

TEST(ScatterList, TheTableCallCountsSegments) {
  System system;
  Device device = system.device();
  ScatterTable table{.entries = entries_of(PhysAddr{MiB(8)}, 3)};
  ASSERT_TRUE(map_sgtable(device, table, Direction::kToDevice));
  EXPECT_EQ(table.mapped, 3u);
  unmap_sgtable(device, table, Direction::kToDevice);
  EXPECT_EQ(table.mapped, 0u);
}

// 89: each of them may be anything.
TEST(ScatterList, AHostileListIsRefusedAndLeftAsItWas) {
  System system;
  Device device = system.device();
  must(device.set_mask(bit_mask(32)));
  device.set_parameters({.segment_boundary_mask = 4095});
  struct Hostile {
    PhysAddr phys;
    uint32_t length;
  };
  for (Hostile hostile : {Hostile{PhysAddr{MiB(8)}, 0xffff'ffff}, Hostile{PhysAddr{0xffff'f000}, 4097},
                          Hostile{PhysAddr{~uint64_t{0}}, 2}, Hostile{PhysAddr{~uint64_t{0}}, 0xffff'ffff}}) {
    std::vector<ScatterEntry> list = entries_of(PhysAddr{MiB(8)}, 2);
    list.insert(list.begin() + 1, {.phys = hostile.phys, .length = hostile.length});
    std::vector<ScatterEntry> original = list;
    EXPECT_EQ(map_sg(device, list, Direction::kBidirectional), 0u) << hostile.phys.value();
    expect_unmapped(list, original);
  }
  EXPECT_EQ(system.dma().swiotlb()->stats().used, 0u);
  // The direct path does not cut entries: boundaries are the caller's business there.
  std::vector<ScatterEntry> fine = entries_of(PhysAddr{MiB(8) + 2048}, 2, 4096);
  EXPECT_EQ(map_sg(device, fine, Direction::kToDevice), 2u);
}

TEST(ScatterList, DmaDebugIsToldBeforeTheBackendForgets) {
  System system(with({.debug = true}));
  Device device = system.device();
  Debug& debug = *system.dma().debug();
  std::vector<ScatterEntry> list = entries_of(page(system), 3);
  ASSERT_EQ(map_sg(device, list, Direction::kToDevice), 3u);
  EXPECT_EQ(debug.entries(), 3u);
  unmap_sg(device, list, Direction::kToDevice);
  EXPECT_EQ(debug.entries(), 0u);
  EXPECT_EQ(debug.errors(), 0u);
}

}  // namespace
}  // namespace causeway::dma::testing
