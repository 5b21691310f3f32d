#include "dma/device.h"

#include <gtest/gtest.h>

#include "dma/testing/boot.h"

namespace causeway::dma::testing {
namespace {

TEST(DeviceMask, BitMaskCoversOneToSixtyFourBits) {
  EXPECT_EQ(bit_mask(1), 1u);
  EXPECT_EQ(bit_mask(32), 0xffff'ffffu);
  EXPECT_EQ(bit_mask(64), ~uint64_t{0});
}

TEST(DeviceMask, TooNarrowAMaskIsEioAndChangesNothing) {
  System system;
  Device device = system.device();
  EXPECT_EQ(error_of(device.set_mask(bit_mask(20))), EIO);
  EXPECT_EQ(device.mask(), bit_mask(64));
  EXPECT_EQ(error_of(device.set_mask(bit_mask(24))), 0);
  EXPECT_EQ(device.mask(), bit_mask(24));
}

TEST(DeviceMask, ADeviceStartsWith32Bits) {
  System system;
  Device device(system.dma(), "0000:00:02.0");
  EXPECT_EQ(device.mask(), bit_mask(32));
  EXPECT_EQ(device.coherent_mask(), bit_mask(32));
}

TEST(DeviceMask, TheBusLimitCapsTheCoherentMask) {
  System system;
  Device device = system.device();
  EXPECT_EQ(device.coherent_limit(), bit_mask(64));
  device.set_bus_limit(0x3fff'ffff);
  EXPECT_EQ(device.coherent_limit(), 0x3fff'ffffu);
}

TEST(BusWindows, WithoutOnesBusAndPhysicalAddressesAreEqual) {
  System system;
  Device device = system.device();
  EXPECT_EQ(device.to_dma(PhysAddr{0x1234}), DmaAddr{0x1234});
  EXPECT_EQ(device.to_phys(DmaAddr{0x1234}), PhysAddr{0x1234});
}

TEST(BusWindows, AddressesAreTranslatedInsideAndNothingIsThereOutside) {
  System system;
  Device device = system.device();
  ASSERT_TRUE(device.set_bus_windows({{PhysAddr{0x8000'0000}, DmaAddr{0}, GiB(1)}}));
  EXPECT_EQ(device.to_dma(PhysAddr{0x8000'1000}), DmaAddr{0x1000});
  EXPECT_EQ(device.to_phys(DmaAddr{0x1000}), PhysAddr{0x8000'1000});
  EXPECT_EQ(device.to_dma(PhysAddr{0xc000'0000}), std::nullopt);
  EXPECT_EQ(device.to_dma(PhysAddr{0x7fff'ffff}), std::nullopt);
  EXPECT_EQ(device.to_phys(DmaAddr{GiB(1)}), std::nullopt);
}

TEST(BusWindows, ASecondSetIsRefused) {
  System system;
  Device device = system.device();
  ASSERT_TRUE(device.set_bus_windows({{PhysAddr{0}, DmaAddr{GiB(1)}, GiB(1)}}));
  EXPECT_EQ(error_of(device.set_bus_windows({{PhysAddr{0}, DmaAddr{0}, GiB(1)}})), EINVAL);
}

TEST(BusWindows, EmptyAndWrappingOnesAreRefused) {
  System system;
  Device device = system.device();
  EXPECT_EQ(error_of(device.set_bus_windows({{PhysAddr{0}, DmaAddr{0}, 0}})), EINVAL);
  EXPECT_EQ(error_of(device.set_bus_windows({{PhysAddr{0}, DmaAddr{~uint64_t{0} - 100}, KiB(4)}})), EINVAL);
}

TEST(BusWindows, ABlockAcrossTwoWindowsHasNoHandle) {
  System system;
  Device device = system.device();
  ASSERT_TRUE(device.set_bus_windows(
      {{PhysAddr{0}, DmaAddr{GiB(1)}, MiB(16)}, {PhysAddr{MiB(16)}, DmaAddr{GiB(8)}, MiB(16)}}));
  EXPECT_EQ(device.coherent_handle(PhysAddr{MiB(16) - KiB(4)}, KiB(4)), DmaAddr{GiB(1) + MiB(16) - KiB(4)});
  EXPECT_EQ(device.coherent_handle(PhysAddr{MiB(16) - KiB(4)}, KiB(8)), std::nullopt);
}

TEST(BusWindows, TheLastByteMustBeWithinTheLimit) {
  System system;
  Device device = system.device();
  device.set_bus_limit(0x3fff'ffff);
  EXPECT_TRUE(device.coherent_handle(PhysAddr{0x3fff'f000}, 0x1000));
  EXPECT_FALSE(device.coherent_handle(PhysAddr{0x3fff'f000}, 0x1001));
  EXPECT_FALSE(device.coherent_handle(PhysAddr{~uint64_t{0} - 10}, 100));
}

TEST(BusWindows, ThePhysicalLimitIsTheHighestReachableAddress) {
  System system;
  Device device = system.device();
  ASSERT_TRUE(device.set_bus_windows({{PhysAddr{GiB(4)}, DmaAddr{0}, GiB(1)}}));
  EXPECT_EQ(device.coherent_phys_limit(), PhysAddr{GiB(5) - 1});
  ASSERT_TRUE(device.set_coherent_mask(bit_mask(28)));
  EXPECT_EQ(device.coherent_phys_limit(), PhysAddr{GiB(4) + MiB(256) - 1});
}

TEST(DeviceIdentity, DependsOnTheNameAlone) {
  System system;
  EXPECT_EQ(system.device({}, "a").requester(), system.device({.coherent = false}, "a").requester());
  EXPECT_NE(system.device({}, "a").requester(), system.device({}, "b").requester());
}

}  // namespace
}  // namespace causeway::dma::testing
