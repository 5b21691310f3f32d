// Registers, mapped with kMmio: nothing but bus address and capability may matter.
#include <gtest/gtest.h>

#include <string>

#include "dma/map.h"
#include "dma/testing/streaming.h"

namespace causeway::dma::testing {
namespace {

// The I2S FIFO of an RK3568, 4 bytes wide, mapped by its DMA controller: how the regression of v4 was found.
constexpr PhysAddr kFifo{0xfe41'0024};
constexpr DmaAddr kFifoBus{0xfe41'0024};
constexpr Config kArm{.bounce_unaligned_kmalloc = true};

Device controller(System& system, unsigned mask_bits = 32) {
  Device device = system.device({.coherent = false}, "pl330");
  must(device.set_mask(bit_mask(mask_bits)));
  return device;
}

// 1
TEST(Mmio, ARegisterOfAnIncoherentDeviceIsMappedAsItIs) {
  System system(with(kArm));
  Device device = controller(system);
  LogCount log("");
  EXPECT_EQ(map_resource(device, kFifo, 4, Direction::kFromDevice), kFifoBus);
  EXPECT_TRUE(no_cache_operations(system));
  unmap_resource(device, kFifoBus, 4, Direction::kFromDevice);
  EXPECT_TRUE(no_cache_operations(system));
  EXPECT_EQ(log.lines(), 0u);
}

// 2
TEST(Mmio, NeitherSizeNorDirectionMatters) {
  System system(with(kArm));
  Device device = controller(system);
  for (Direction direction : {Direction::kBidirectional, Direction::kToDevice, Direction::kFromDevice})
    for (size_t size : {1, 2, 3, 8, 4096}) {
      EXPECT_EQ(map_resource(device, kFifo, size, direction), kFifoBus) << size;
      EXPECT_EQ(map_phys(device, kFifo, size, direction, Attr::kMmio | Attr::kSkipCpuSync), kFifoBus);
    }
  EXPECT_TRUE(no_cache_operations(system));
}

// 3
TEST(Mmio, ARegisterOutOfReachIsRefusedWithOneWarning) {
  System system(with(kArm));
  Device device = controller(system, 31);
  LogCount overflows("overflow");
  EXPECT_EQ(map_resource(device, kFifo, 4, Direction::kFromDevice), kMappingError);
  EXPECT_EQ(overflows.count(), 1u);
  EXPECT_TRUE(overflows.contains("mask 0x7fffffff"));
  EXPECT_TRUE(overflows.contains("pl330"));
  EXPECT_TRUE(overflows.contains("0xfe410024"));
  EXPECT_EQ(map_resource(device, kFifo, 4, Direction::kFromDevice), kMappingError);
  EXPECT_EQ(overflows.count(), 1u);
}

// 9: the windows hold for registers too, unless asked for as it was in 2025.
TEST(Mmio, RegistersOutsideTheBusWindowsHaveNoBusAddress) {
  for (bool legacy : {false, true}) {
    System system(with({.legacy_mmio_untranslated = legacy}));
    Device device = system.device();
    must(device.set_bus_windows({{PhysAddr{0x8000'0000}, DmaAddr{0}, GiB(1)}}));
    LogCount overflows("overflow");
    EXPECT_EQ(map_resource(device, PhysAddr{0x8000'1000}, 4, Direction::kToDevice),
              legacy ? DmaAddr{0x8000'1000} : DmaAddr{0x1000});
    EXPECT_EQ(map_resource(device, PhysAddr{0xfe00'0000}, 4, Direction::kToDevice),
              legacy ? DmaAddr{0xfe00'0000} : kMappingError);
    EXPECT_EQ(overflows.count(), legacy ? 0u : 1u);
  }
}

// 11
TEST(Mmio, UnmapDoesNotTakeItsAddressForABounceBuffer) {
  System system(with({.swiotlb_force = true}));
  Device device = system.device();
  PhysAddr buffer = page(system);
  std::memset(system.at(buffer), 1, 100);
  DmaAddr bounced = map_phys(device, buffer, 100, Direction::kFromDevice, Attr::kNone);
  ASSERT_NE(bounced, kMappingError);
  uint64_t used = system.dma().swiotlb()->stats().used;
  std::memset(system.at(PhysAddr(bounced.value())), 2, 100);
  unmap_resource(device, bounced, 100, Direction::kFromDevice);
  EXPECT_EQ(system.dma().swiotlb()->stats().used, used);
  EXPECT_EQ(std::to_integer<int>(*system.at(buffer)), 1);
  unmap_phys(device, bounced, 100, Direction::kFromDevice, Attr::kNone);
  EXPECT_EQ(system.dma().swiotlb()->stats().used, used - 1);
  EXPECT_EQ(std::to_integer<int>(*system.at(buffer)), 2);
}

// 12
TEST(Mmio, ThePageCallsRefuseIt) {
  System system;
  Device device = system.device();
  const mm::Page* memory = system.map().page(page(system));
  LogCount log("");
  EXPECT_EQ(map_page(device, memory, 0, 4, Direction::kToDevice, Attr::kMmio), kMappingError);
  EXPECT_EQ(map_single(device, system.map().address(memory), 4, Direction::kToDevice, Attr::kMmio), kMappingError);
  EXPECT_EQ(log.lines(), 0u);
  EXPECT_EQ(map_page(device, memory, 8, 4, Direction::kToDevice, Attr::kNone), bus(system.map().phys(memory) + 8));
}

// 17
TEST(Mmio, AnEncryptedGuestHasToAskForASharedRegister) {
  constexpr uint64_t kBit = uint64_t{1} << 47;
  System system(with({.encryption_mask = kBit, .encrypted_guest = true}));
  Device device = system.device({.force_unencrypted = true});
  LogCount overflows("overflow");
  EXPECT_EQ(map_resource(device, kFifo, 4, Direction::kToDevice), kMappingError);
  EXPECT_EQ(overflows.count(), 1u);
  EXPECT_EQ(map_resource(device, kFifo, 4, Direction::kToDevice, Attr::kCcShared), kFifoBus);
  // A device that can decrypt is given the encrypted address.
  Device trusted = system.device({});
  EXPECT_EQ(map_resource(trusted, kFifo, 4, Direction::kToDevice), DmaAddr(kFifoBus.value() | kBit));
}

// 17
TEST(Mmio, AnEncryptedHostNeverEncryptsRegisters) {
  constexpr uint64_t kBit = uint64_t{1} << 47;
  System system(with({.encryption_mask = kBit}));
  Device device = system.device();
  EXPECT_EQ(map_resource(device, kFifo, 4, Direction::kToDevice), kFifoBus);
  PhysAddr buffer = page(system);
  DmaAddr ram = map_phys(device, buffer, 4096, Direction::kToDevice, Attr::kNone);
  EXPECT_EQ(ram, DmaAddr(buffer.value() | kBit));
  unmap_phys(device, ram, 4096, Direction::kToDevice, Attr::kNone);
}

// 16: what the posted versions did, and that the tests above would have seen it.
TEST(MmioMutants, VersionFourRefusesTheRegisterThatVersionSixMaps) {
  System system(with(kArm));
  Device device = controller(system);
  system.dma().set_map_fault(MapFault::kKmallocRuleForMmio);
  LogCount overflows("overflow");
  EXPECT_EQ(map_resource(device, kFifo, 4, Direction::kFromDevice), kMappingError);
  EXPECT_EQ(overflows.count(), 1u);
  // As reported: only this direction, and only sizes whose bucket ends inside a line.
  EXPECT_EQ(map_resource(device, kFifo, 4, Direction::kToDevice), kFifoBus);
  EXPECT_EQ(map_resource(device, kFifo, 64, Direction::kFromDevice), kFifoBus);
  system.dma().set_map_fault(MapFault::kNone);
  EXPECT_EQ(map_resource(device, kFifo, 4, Direction::kFromDevice), kFifoBus);
}

// 16
TEST(MmioMutants, VersionFiveHasItTheOtherWayRound) {
  System system(with(kArm));
  Device reaches = controller(system);
  Device does_not = controller(system, 31);
  system.dma().set_map_fault(MapFault::kInvertedCapability);
  LogCount overflows("overflow");
  EXPECT_EQ(map_resource(reaches, kFifo, 4, Direction::kFromDevice), kMappingError);
  EXPECT_EQ(overflows.count(), 1u);
  EXPECT_EQ(map_resource(does_not, kFifo, 4, Direction::kFromDevice), kFifoBus);
  system.dma().set_map_fault(MapFault::kNone);
  EXPECT_EQ(map_resource(reaches, kFifo, 4, Direction::kFromDevice), kFifoBus);
  EXPECT_EQ(map_resource(does_not, kFifo, 4, Direction::kFromDevice), kMappingError);
}

}  // namespace
}  // namespace causeway::dma::testing
