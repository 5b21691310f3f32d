// Streaming maps of RAM on the direct path.
#include <gtest/gtest.h>

#include <cstring>
#include <vector>

#include "dma/map.h"
#include "dma/testing/in_flight.h"
#include "dma/testing/streaming.h"

namespace causeway::dma::testing {
namespace {

constexpr Config kArm{.bounce_unaligned_kmalloc = true};

bool in_pool(System& system, const Device& device, DmaAddr address) {
  return address != kMappingError && system.dma().swiotlb()->contains(device, PhysAddr(address.value()));
}

DmaAddr map_and_unmap(Device& device, PhysAddr phys, size_t size, Direction direction) {
  DmaAddr address = map_phys(device, phys, size, direction, Attr::kNone);
  if (address != kMappingError) unmap_phys(device, address, size, direction, Attr::kNone);
  return address;
}

TEST(DirectMap, RamOfACoherentDeviceIsMappedAsItIs) {
  System system;
  Device device = system.device();
  PhysAddr buffer = page(system);
  for (Direction direction : {Direction::kBidirectional, Direction::kToDevice, Direction::kFromDevice}) {
    DmaAddr address = map_phys(device, buffer + 100, 200, direction, Attr::kNone);
    EXPECT_EQ(address, bus(buffer + 100));
    EXPECT_TRUE(mapping_error(device, address));
    unmap_phys(device, address, 200, direction, Attr::kNone);
  }
  EXPECT_TRUE(no_cache_operations(system));
  EXPECT_EQ(error_of(mapping_error(device, kMappingError)), ENOMEM);
}

// 4
TEST(DirectMap, ASmallBufferAnIncoherentDeviceWritesBounces) {
  System system(with(kArm));
  Device device = system.device({.coherent = false});
  PhysAddr buffer = page(system);
  DmaAddr address = map_phys(device, buffer, 4, Direction::kFromDevice, Attr::kNone);
  EXPECT_TRUE(in_pool(system, device, address));
  EXPECT_NE(address, bus(buffer));
  unmap_phys(device, address, 4, Direction::kFromDevice, Attr::kNone);
  EXPECT_EQ(system.dma().swiotlb()->stats().used, 0u);

  Cache::Counts before = cache_operations(system);
  EXPECT_EQ(map_phys(device, buffer, 4, Direction::kToDevice, Attr::kNone), bus(buffer));
  Cache::Counts after = cache_operations(system);
  EXPECT_EQ(after.for_device - before.for_device, 1u);
  EXPECT_EQ(after.for_cpu, before.for_cpu);
}

// 5
TEST(DirectMap, WithoutBounceBuffersItIsRefusedThoughReachable) {
  Config config = kArm;
  config.swiotlb_size = 0;
  System system(with(config));
  Device device = system.device({.coherent = false});
  PhysAddr buffer = page(system);
  LogCount overflows("overflow");
  EXPECT_EQ(map_phys(device, buffer, 4, Direction::kFromDevice, Attr::kNone), kMappingError);
  EXPECT_EQ(overflows.count(), 1u);
  EXPECT_EQ(map_phys(device, buffer, 64, Direction::kFromDevice, Attr::kNone), bus(buffer));
}

// 6
TEST(DirectMap, TheKmallocRuleGoesByTheBucket) {
  struct Case {
    unsigned line;
    size_t size;
    bool bounces;
  };
  for (unsigned line : {64u, 128u}) {
    Config config = kArm;
    config.cache_line = line;
    System system(with(config));
    Device device = system.device({.coherent = false});
    PhysAddr buffer = page(system);
    for (Case c : {Case{64, 32, true}, Case{64, 64, false}, Case{64, 72, true}, Case{64, 96, true}, Case{64, 128, false},
                   Case{64, 192, false}, Case{64, 256, false}, Case{64, 0, false}, Case{64, 1, true}, Case{64, 33, false},
                   Case{64, 65, true}, Case{64, 97, false}, Case{128, 96, true}, Case{128, 97, false}, Case{128, 129, true},
                   Case{128, 192, true}, Case{128, 193, false}}) {
      if (c.line != line) continue;
      DmaAddr address = map_and_unmap(device, buffer, c.size, Direction::kFromDevice);
      EXPECT_EQ(in_pool(system, device, address), c.bounces) << "line " << line << " size " << c.size;
      EXPECT_EQ(map_and_unmap(device, buffer, c.size, Direction::kToDevice), bus(buffer));
      Device coherent = system.device();
      EXPECT_EQ(map_and_unmap(coherent, buffer, c.size, Direction::kFromDevice), bus(buffer));
    }
  }
}

// 7
TEST(DirectMap, AForcedPoolTakesAllRamAndNothingElse) {
  System system(with({.swiotlb_force = true}));
  Device device = system.device();
  PhysAddr buffer = page(system);
  DmaAddr address = map_phys(device, buffer, 4096, Direction::kToDevice, Attr::kNone);
  EXPECT_TRUE(in_pool(system, device, address));
  LogCount log("");
  EXPECT_EQ(map_resource(device, PhysAddr{0xfe41'0024}, 4, Direction::kToDevice), kMappingError);
  EXPECT_EQ(map_phys(device, buffer, 4096, Direction::kToDevice, Attr::kRequireCoherent), kMappingError);
  EXPECT_EQ(log.lines(), 0u);
  unmap_phys(device, address, 4096, Direction::kToDevice, Attr::kNone);
  EXPECT_EQ(system.dma().swiotlb()->stats().used, 0u);
}

// 8
TEST(DirectMap, WhoRequiresCoherenceIsRefusedByAnIncoherentDevice) {
  System system;
  Device device = system.device({.coherent = false});
  PhysAddr buffer = page(system);
  LogCount log("");
  EXPECT_EQ(map_phys(device, buffer, 4096, Direction::kToDevice, Attr::kRequireCoherent), kMappingError);
  EXPECT_TRUE(no_cache_operations(system));
  EXPECT_EQ(log.lines(), 0u);
  Device coherent = system.device();
  EXPECT_EQ(map_phys(coherent, buffer, 4096, Direction::kToDevice, Attr::kRequireCoherent), bus(buffer));
}

TEST(DirectMap, WhoRequiresCoherenceNeverBounces) {
  System system;
  Device device = system.device();
  device.set_bus_limit(MiB(2));
  PhysAddr buffer = page(system);
  ASSERT_GT(buffer, PhysAddr{MiB(2)});
  LogCount overflows("overflow");
  EXPECT_EQ(map_phys(device, buffer, 4096, Direction::kToDevice, Attr::kRequireCoherent), kMappingError);
  EXPECT_EQ(overflows.count(), 1u);
  EXPECT_EQ(system.dma().swiotlb()->stats().used, 0u);
}

// 9
TEST(DirectMap, RamGoesThroughTheBusWindows) {
  System system;
  Device device = system.device();
  must(device.set_bus_windows({{PhysAddr{0x8000'0000}, DmaAddr{0}, GiB(1)}}));
  device.set_swiotlb(nullptr);
  EXPECT_EQ(map_phys(device, PhysAddr{0x8000'1000}, 4096, Direction::kToDevice, Attr::kNone), DmaAddr{0x1000});
  EXPECT_EQ(map_phys(device, PhysAddr{0xc000'0000}, 4096, Direction::kToDevice, Attr::kNone), kMappingError);
  // Beyond Linux: the last byte must be in the window, too.
  EXPECT_EQ(map_phys(device, PhysAddr{0xbfff'f000}, 4096, Direction::kToDevice, Attr::kNone), DmaAddr{GiB(1) - 4096});
  EXPECT_EQ(map_phys(device, PhysAddr{0xbfff'f000}, 4097, Direction::kToDevice, Attr::kNone), kMappingError);
}

// 9
TEST(DirectMap, RamOutsideTheWindowsBouncesToAPoolInside) {
  System system;
  auto pool = make_pool(system, {.limit = PhysAddr{MiB(32) - 1}});
  PhysAddr base = pool->stats().base;
  Device device = system.device();
  must(device.set_bus_windows({{base, DmaAddr{GiB(2)}, MiB(1)}}));
  device.set_swiotlb(pool.get());
  PhysAddr buffer = page(system);
  fill(system.at(buffer), 4096, 3);
  DmaAddr address = map_phys(device, buffer, 4096, Direction::kBidirectional, Attr::kNone);
  ASSERT_NE(address, kMappingError);
  ASSERT_GE(address, DmaAddr{GiB(2)});
  std::byte* seen = system.at(base + (address - DmaAddr{GiB(2)}));
  EXPECT_TRUE(filled(seen, 4096, 3));
  fill(seen, 4096, 4);
  sync_single_for_cpu(device, address, 100, Direction::kBidirectional);
  EXPECT_TRUE(filled(system.at(buffer), 100, 4));
  EXPECT_FALSE(filled(system.at(buffer), 4096, 4));
  unmap_phys(device, address, 4096, Direction::kBidirectional, Attr::kNone);
  EXPECT_TRUE(filled(system.at(buffer), 4096, 4));
  EXPECT_EQ(pool->stats().used, 0u);
}

// 10
TEST(DirectMap, TheBusLimitIsInclusive) {
  System system({}, GiB(4));  // half of it below 4 GiB
  auto pool = make_pool(system, {.limit = PhysAddr{0x3fff'ffff}});
  Device device = system.device();
  device.set_bus_limit(0x3fff'ffff);
  device.set_swiotlb(pool.get());
  EXPECT_EQ(map_phys(device, PhysAddr{0x3fff'f000}, 0x1000, Direction::kToDevice, Attr::kNone), DmaAddr{0x3fff'f000});
  EXPECT_EQ(pool->stats().used, 0u);
  DmaAddr address = map_phys(device, PhysAddr{0x3fff'f000}, 0x1001, Direction::kToDevice, Attr::kNone);
  EXPECT_TRUE(pool->contains(device, PhysAddr(address.value())));
  EXPECT_EQ(pool->stats().used, 3u);
  unmap_phys(device, address, 0x1001, Direction::kToDevice, Attr::kNone);
  EXPECT_EQ(pool->stats().used, 0u);
}

TEST(DirectMap, APoolTheDeviceCannotReachIsGivenBack) {
  System system({}, GiB(4));  // half of it below 4 GiB
  auto pool = make_pool(system, {});
  Device device = system.device();
  device.set_bus_limit(MiB(16));
  device.set_swiotlb(pool.get());
  ASSERT_GT(pool->stats().base, PhysAddr{MiB(16)});
  PhysAddr buffer = page(system);
  std::memset(system.at(buffer), 9, 4096);
  LogCount overflows("overflow: bounce buffer");
  EXPECT_EQ(map_phys(device, buffer, 4096, Direction::kFromDevice, Attr::kNone), kMappingError);
  EXPECT_EQ(overflows.count(), 1u);
  EXPECT_EQ(pool->stats().used, 0u);
}

TEST(DirectMap, WhatIsNoRamCannotBounce) {
  System system;
  Device device = system.device();
  must(device.set_mask(bit_mask(31)));
  LogCount log("no RAM");
  EXPECT_EQ(map_phys(device, PhysAddr{GiB(3)}, 4096, Direction::kFromDevice, Attr::kNone), kMappingError);
  EXPECT_EQ(map_phys(device, PhysAddr{~uint64_t{0} - 100}, 4096, Direction::kFromDevice, Attr::kNone), kMappingError);
  EXPECT_EQ(log.count(), 1u);
}

// 13
TEST(DirectMap, VmallocMemoryIsRefused) {
  System system;
  Device device = system.device();
  const mm::VmArea* area = must(system.vmalloc().alloc(KiB(16), mm::kGfpKernel));
  LogCount warnings("a vmalloc address");
  EXPECT_EQ(map_single(device, area->address, 100, Direction::kToDevice), kMappingError);
  EXPECT_EQ(warnings.count(), 1u);
  int local = 0;
  EXPECT_EQ(map_single(device, &local, sizeof(local), Direction::kToDevice), kMappingError);
  PhysAddr buffer = page(system);
  EXPECT_EQ(map_single(device, system.at(buffer + 5), 100, Direction::kToDevice), bus(buffer + 5));
  system.vmalloc().free(area->address);
}

// 13
TEST(DirectMapDeathTest, ADirectionThatIsNoneEndsTheProgram) {
  System system;
  Device device = system.device();
  ScatterTable table;
  auto none = Direction::kNone;
  EXPECT_DEATH(map_phys(device, PhysAddr{MiB(8)}, 4, none, Attr::kNone), "BUG");
  EXPECT_DEATH(unmap_phys(device, DmaAddr{MiB(8)}, 4, static_cast<Direction>(77), Attr::kNone), "direction 77");
  EXPECT_DEATH((void)map_sgtable(device, table, none), "BUG");
  EXPECT_DEATH(sync_single_for_cpu(device, DmaAddr{MiB(8)}, 4, none), "BUG");
}

// 13
TEST(DirectMap, ADeviceWithoutAMaskMapsNothing) {
  System system;
  Device device = system.device();
  device.remove_mask();
  LogCount warnings("without a DMA mask");
  EXPECT_EQ(map_phys(device, PhysAddr{MiB(8)}, 4096, Direction::kToDevice, Attr::kNone), kMappingError);
  EXPECT_EQ(warnings.count(), 1u);
  ScatterTable table{.entries = {{.phys = PhysAddr{MiB(8)}, .length = 4096}}};
  EXPECT_TRUE(map_sgtable(device, table, Direction::kToDevice));
  EXPECT_EQ(table.mapped, 0u);
  EXPECT_EQ(max_mapping_size(device), 0u);
}

// 14
TEST(DirectMap, ASizeThatWrapsIsRefused) {
  System system;
  for (bool coherent : {true, false}) {
    Device device = system.device({.coherent = coherent});
    device.set_swiotlb(nullptr);
    for (Attr attrs : {Attr::kNone, Attr::kMmio}) {
      LogCount overflows("overflow");
      EXPECT_EQ(map_phys(device, PhysAddr{MiB(8)}, ~size_t{0} - MiB(8) + 2, Direction::kToDevice, attrs), kMappingError);
      EXPECT_EQ(map_phys(device, PhysAddr{MiB(8)}, ~size_t{0}, Direction::kToDevice, attrs), kMappingError);
      EXPECT_EQ(overflows.count(), 1u);
      // Up to the very end is not a wrap.
      EXPECT_EQ(map_phys(device, PhysAddr{MiB(8)}, ~size_t{0} - MiB(8) + 1, Direction::kToDevice, attrs), DmaAddr{MiB(8)});
    }
  }
}

// 15
TEST(DirectMap, ZeroBytesAreLetThrough) {
  System system;
  for (bool coherent : {true, false}) {
    Device device = system.device({.coherent = coherent});
    device.set_swiotlb(nullptr);
    EXPECT_EQ(map_phys(device, PhysAddr{MiB(8)}, 0, Direction::kToDevice, Attr::kNone), DmaAddr{MiB(8)});
    EXPECT_EQ(map_phys(device, PhysAddr{0}, 0, Direction::kToDevice, Attr::kNone), kMappingError);
  }
}

// 17
TEST(DirectMap, AnEncryptedGuestBouncesThroughASharedPool) {
  System system(with({.encrypted_guest = true}));
  Device device = system.device({.force_unencrypted = true});
  PhysAddr buffer = page(system);
  fill(system.at(buffer), 4096, 5);
  DmaAddr address = map_phys(device, buffer, 4096, Direction::kToDevice, Attr::kNone);
  ASSERT_TRUE(in_pool(system, device, address));
  EXPECT_TRUE(system.dma().state().attributes.is_decrypted(Pfn::containing(PhysAddr(address.value()))));
  EXPECT_TRUE(filled(system.at(PhysAddr(address.value())), 4096, 5));
  unmap_phys(device, address, 4096, Direction::kToDevice, Attr::kNone);
  // Memory that is shared already needs none.
  EXPECT_EQ(map_phys(device, buffer, 4096, Direction::kToDevice, Attr::kCcShared), bus(buffer));
}

TEST(DirectMap, AnEncryptedHostBouncesForDevicesThatCannotSayDecrypt) {
  constexpr uint64_t kBit = uint64_t{1} << 47;
  System system(with({.encryption_mask = kBit}));
  Device device = system.device();
  must(device.set_mask(bit_mask(40)));
  PhysAddr buffer = page(system);
  DmaAddr address = map_phys(device, buffer, 4096, Direction::kToDevice, Attr::kNone);
  EXPECT_TRUE(in_pool(system, device, address));
  unmap_phys(device, address, 4096, Direction::kToDevice, Attr::kNone);
  EXPECT_EQ(system.dma().swiotlb()->stats().used, 0u);
}

// 18
TEST(DirectMap, SharedMemoryIsRefusedWhereTheDirectPathIsNotTaken) {
  System system(with({.debug = true}));
  Device device = system.device({.iommu = true});
  LogCount log("");
  EXPECT_EQ(map_phys(device, PhysAddr{MiB(8)}, 4096, Direction::kToDevice, Attr::kCcShared), kMappingError);
  EXPECT_EQ(system.dma().debug()->entries(), 0u);
  unmap_phys(device, DmaAddr{MiB(8)}, 4096, Direction::kToDevice, Attr::kCcShared);
  EXPECT_EQ(system.dma().debug()->errors(), 0u);
  EXPECT_EQ(log.lines(), 0u);
  // The control: without the attribute dma-debug is told.
  unmap_phys(device, DmaAddr{MiB(8)}, 4096, Direction::kToDevice, Attr::kNone);
  EXPECT_EQ(system.dma().debug()->errors(), 1u);
}

TEST(DirectMap, OperationsThatAreNotThereMapNothing) {
  System system;
  Device device = system.device({.iommu = true});
  EXPECT_EQ(map_phys(device, PhysAddr{MiB(8)}, 4096, Direction::kToDevice, Attr::kNone), kMappingError);
  EXPECT_EQ(map_resource(device, PhysAddr{MiB(8)}, 4096, Direction::kToDevice), kMappingError);
  unmap_phys(device, DmaAddr{MiB(8)}, 4096, Direction::kToDevice, Attr::kNone);
  sync_single_for_cpu(device, DmaAddr{MiB(8)}, 4096, Direction::kToDevice);
  ScatterTable table{.entries = {{.phys = PhysAddr{MiB(8)}, .length = 4096}}};
  EXPECT_EQ(error_of(map_sgtable(device, table, Direction::kToDevice)), EIO);
}

// 40
TEST(DirectMap, TheFirstBounceEndsTheSkippingOfSyncs) {
  System system({}, GiB(4));  // half of it below 4 GiB
  auto pool = make_pool(system, {.limit = PhysAddr{0x3fff'ffff}});
  Device device = system.device();
  device.set_bus_limit(0x3fff'ffff);
  device.set_swiotlb(pool.get());
  PhysAddr low = page_below(system, PhysAddr{0x3fff'ffff});
  PhysAddr high{0x4000'0000 + KiB(64)};
  DmaAddr direct = map_phys(device, low, 4096, Direction::kFromDevice, Attr::kNone);
  EXPECT_TRUE(device.skip_sync());
  EXPECT_FALSE(need_unmap(device));
  EXPECT_FALSE(need_sync(device, direct));

  DmaAddr bounced = map_phys(device, high, 4096, Direction::kFromDevice, Attr::kNone);
  EXPECT_FALSE(device.skip_sync());
  EXPECT_TRUE(need_unmap(device));
  EXPECT_TRUE(need_sync(device, bounced));
  EXPECT_FALSE(need_sync(device, direct));
  fill(system.at(PhysAddr(bounced.value())), 4096, 8);
  sync_single_range_for_cpu(device, bounced, 64, 64, Direction::kFromDevice);
  EXPECT_EQ(std::memcmp(system.at(high + 64), system.at(PhysAddr(bounced.value()) + 64), 64), 0);
  EXPECT_NE(std::memcmp(system.at(high + 128), system.at(PhysAddr(bounced.value()) + 128), 64), 0);
  unmap_phys(device, bounced, 4096, Direction::kFromDevice, Attr::kNone);
  EXPECT_TRUE(filled(system.at(high), 4096, 8));
  // Until a mask is set again.
  EXPECT_TRUE(need_unmap(device));
  must(device.set_mask(bit_mask(64)));
  EXPECT_FALSE(need_unmap(device));
}

TEST(DirectMap, SettingAMaskWhileSomethingBouncesLosesNothing) {
  System system(with({.swiotlb_force = true}));
  Device device = system.device();
  PhysAddr buffer = page(system);
  DmaAddr address = map_phys(device, buffer, 4096, Direction::kToDevice, Attr::kNone);
  must(device.set_mask(bit_mask(64)));
  unmap_phys(device, address, 4096, Direction::kToDevice, Attr::kNone);
  EXPECT_EQ(system.dma().swiotlb()->stats().used, 0u);
}

// 39: the device's alignment changes under a mapping; nobody else's slots may suffer.
TEST(DirectMap, AnAlignmentThatChangesUnderAMappingHarmsNobodyElse) {
  System system(with({.swiotlb_force = true}));
  Device device = system.device();
  Device other = system.device({}, "other");
  PhysAddr memory = page(system, 2);
  fill(system.at(memory), KiB(16), 1);
  DmaAddr before = map_phys(other, memory, KiB(4), Direction::kToDevice, Attr::kNone);
  device.set_parameters({.min_align_mask = 0xfff});
  DmaAddr mine = map_phys(device, memory + KiB(4) + 0xe78, 100, Direction::kToDevice, Attr::kNone);
  DmaAddr after = map_phys(other, memory + KiB(8), KiB(4), Direction::kToDevice, Attr::kNone);
  device.set_parameters({});
  unmap_phys(device, mine, 100, Direction::kToDevice, Attr::kNone);
  EXPECT_TRUE(filled(system.at(PhysAddr(before.value())), KiB(4), 1));
  std::vector<std::byte> want(system.at(memory + KiB(8)), system.at(memory + KiB(12)));
  EXPECT_EQ(std::memcmp(system.at(PhysAddr(after.value())), want.data(), KiB(4)), 0);
  unmap_phys(other, before, KiB(4), Direction::kToDevice, Attr::kNone);
  unmap_phys(other, after, KiB(4), Direction::kToDevice, Attr::kNone);
}

// 90
TEST(DirectMap, AnUnmapOfTheWrongSizeFreesNobodyElsesSlots) {
  System system(with({.swiotlb_force = true}));
  Device device = system.device();
  PhysAddr memory = page(system, 2);
  fill(system.at(memory), KiB(16), 1);
  DmaAddr first = map_phys(device, memory, KiB(2), Direction::kFromDevice, Attr::kNone);
  DmaAddr second = map_phys(device, memory + KiB(4), KiB(2), Direction::kFromDevice, Attr::kNone);
  uint64_t used = system.dma().swiotlb()->stats().used;
  ASSERT_EQ(used, 2u);
  std::memset(system.at(PhysAddr(second.value())), 0x77, KiB(2));
  unmap_phys(device, first, KiB(8), Direction::kBidirectional, Attr::kNone);
  EXPECT_EQ(system.dma().swiotlb()->stats().used, 1u);
  // What lies behind the mapping is as it was.
  EXPECT_NE(std::to_integer<int>(*system.at(memory + KiB(2))), 0x77);
  EXPECT_NE(std::to_integer<int>(*system.at(memory + KiB(4))), 0x77);
  unmap_phys(device, second, KiB(2), Direction::kFromDevice, Attr::kNone);
  EXPECT_EQ(std::to_integer<int>(*system.at(memory + KiB(4))), 0x77);
  EXPECT_EQ(system.dma().swiotlb()->stats().used, 0u);
}

TEST(DirectMap, AWrongUnmapIsReportedByDmaDebug) {
  System system(with({.debug = true}));
  Device device = system.device();
  PhysAddr buffer = page(system);
  Debug& debug = *system.dma().debug();
  DmaAddr address = map_phys(device, buffer, 4096, Direction::kFromDevice, Attr::kNone);
  ASSERT_TRUE(mapping_error(device, address));
  EXPECT_EQ(debug.entries(), 1u);
  unmap_phys(device, address, 2048, Direction::kFromDevice, Attr::kNone);
  EXPECT_EQ(debug.errors(DebugError::kDifferentSize), 1u);
  address = map_phys(device, buffer, 4096, Direction::kFromDevice, Attr::kNone);
  ASSERT_TRUE(mapping_error(device, address));
  unmap_phys(device, address, 4096, Direction::kToDevice, Attr::kNone);
  EXPECT_EQ(debug.errors(DebugError::kDifferentDirection), 1u);
  EXPECT_EQ(debug.entries(), 0u);
}

// 12
TEST(DirectMap, UnmapPageOfARegisterIsIgnoredAndFoundAsALeak) {
  System system(with({.debug = true}));
  Device device = system.device();
  DmaAddr address = map_resource(device, PhysAddr{0xfe41'0024}, 4, Direction::kToDevice);
  ASSERT_TRUE(mapping_error(device, address));
  unmap_page(device, address, 4, Direction::kToDevice, Attr::kMmio);
  EXPECT_EQ(system.dma().debug()->entries(), 1u);
  EXPECT_EQ(system.dma().debug()->device_removed(device), 1u);
  EXPECT_EQ(system.dma().debug()->errors(DebugError::kPendingAllocations), 1u);
}

TEST(DirectMap, WithDmaDebugNoSyncIsSkipped) {
  System system(with({.debug = true}));
  Device device = system.device();
  EXPECT_TRUE(device.skip_sync());
  EXPECT_TRUE(need_unmap(device));
  sync_single_for_cpu(device, DmaAddr{MiB(8)}, 100, Direction::kFromDevice);
  EXPECT_EQ(system.dma().debug()->errors(DebugError::kSyncNotAllocated), 1u);
}

}  // namespace
}  // namespace causeway::dma::testing
