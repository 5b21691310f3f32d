// What a device can do, on the direct path.
#include <gtest/gtest.h>

#include "dma/map.h"
#include "dma/testing/streaming.h"

namespace causeway::dma::testing {
namespace {

TEST(Capability, TheRequiredMaskCoversTheHighestRam) {
  System system;  // half of its RAM lies at 4 GiB
  EXPECT_EQ(system.pages().ram().back().end.address(), PhysAddr{GiB(4) + MiB(32)});
  EXPECT_EQ(required_mask(system.device()), bit_mask(33));
}

TEST(Capability, WindowsAndEncryptionChangeTheRequiredMask) {
  System system;
  Device device = system.device();
  must(device.set_bus_windows({{PhysAddr{0}, DmaAddr{GiB(8)}, GiB(1)}}));
  EXPECT_EQ(required_mask(device), bit_mask(34));
  System encrypted(with({.encryption_mask = uint64_t{1} << 47}));
  EXPECT_EQ(required_mask(encrypted.device()), bit_mask(48));
  EXPECT_EQ(required_mask(encrypted.device({.force_unencrypted = true})), bit_mask(33));
  EXPECT_EQ(required_mask(encrypted.device({.iommu = true})), bit_mask(32));
}

TEST(Capability, ADeviceIsLimitedByItsMaskItsBusOrItsWindows) {
  System system;
  Device device = system.device();
  EXPECT_FALSE(addressing_limited(device));
  must(device.set_mask(bit_mask(33)));
  EXPECT_FALSE(addressing_limited(device));
  must(device.set_mask(bit_mask(32)));
  EXPECT_TRUE(addressing_limited(device));
  must(device.set_mask(bit_mask(64)));
  device.set_bus_limit(MiB(32));
  EXPECT_TRUE(addressing_limited(device));

  Device partial = system.device();
  must(partial.set_bus_windows({{PhysAddr{0}, DmaAddr{0}, MiB(16)}, {PhysAddr{GiB(4)}, DmaAddr{GiB(4)}, MiB(32)}}));
  EXPECT_TRUE(addressing_limited(partial));
  Device pieces = system.device();
  must(pieces.set_bus_windows({{PhysAddr{GiB(4)}, DmaAddr{0}, MiB(64)},
                               {PhysAddr{MiB(8)}, DmaAddr{MiB(64)}, MiB(24)},
                               {PhysAddr{0}, DmaAddr{MiB(96)}, MiB(8)}}));
  EXPECT_FALSE(addressing_limited(pieces));
}

TEST(Capability, OnlyWhoMayBounceHasALargestMapping) {
  System system;
  Device device = system.device();
  EXPECT_EQ(max_mapping_size(device), SIZE_MAX);
  EXPECT_EQ(opt_mapping_size(device), SIZE_MAX);
  must(device.set_mask(bit_mask(25)));
  EXPECT_EQ(max_mapping_size(device), KiB(256));
  EXPECT_EQ(opt_mapping_size(device), KiB(256));
  device.set_parameters({.min_align_mask = 4095});
  EXPECT_EQ(max_mapping_size(device), 258048u);
  device.set_swiotlb(nullptr);
  EXPECT_EQ(max_mapping_size(device), SIZE_MAX);
  EXPECT_EQ(max_mapping_size(system.device({.force_unencrypted = true})), KiB(256));
  // Bouncing by the kmalloc rule is not mentioned, as in the kernel.
  System arm(with({.bounce_unaligned_kmalloc = true}));
  EXPECT_EQ(max_mapping_size(arm.device({.coherent = false})), SIZE_MAX);
  System forced(with({.swiotlb_force = true}));
  EXPECT_EQ(max_mapping_size(forced.device()), KiB(256));
  EXPECT_EQ(max_mapping_size(forced.device({.iommu = true})), SIZE_MAX);
}

TEST(Capability, TheDirectPathMergesNothingAndKnowsPeers) {
  System system;
  EXPECT_EQ(merge_boundary(system.device()), 0u);
  EXPECT_TRUE(pci_p2pdma_supported(system.device()));
  EXPECT_FALSE(pci_p2pdma_supported(system.device({.iommu = true})));
}

TEST(Capability, SyncsAreSkippedForCoherentDevicesAlone) {
  System system;
  Device coherent = system.device();
  Device incoherent = system.device({.coherent = false});
  Device elsewhere = system.device({.coherent = false, .iommu = true});
  EXPECT_FALSE(need_sync(coherent, DmaAddr{MiB(8)}));
  EXPECT_FALSE(need_unmap(coherent));
  EXPECT_TRUE(need_sync(incoherent, DmaAddr{MiB(8)}));
  EXPECT_TRUE(need_unmap(incoherent));
  // No operations, so none that sync; but what maps has to unmap.
  EXPECT_FALSE(need_sync(elsewhere, DmaAddr{MiB(8)}));
  EXPECT_TRUE(need_unmap(elsewhere));
  // Nobody set a mask yet.
  Device fresh(system.dma(), "0000:00:02.0");
  EXPECT_TRUE(need_unmap(fresh));
}

TEST(Capability, OtherMappingOperationsTakeAnyMask) {
  System system;
  Device device(system.dma(), "0000:00:02.0", {.iommu = true});
  EXPECT_TRUE(device.set_mask(bit_mask(16)));
  Device direct(system.dma(), "0000:00:03.0");
  EXPECT_EQ(error_of(direct.set_mask(bit_mask(16))), EIO);
  direct.remove_mask();
  EXPECT_EQ(error_of(direct.set_mask(bit_mask(64))), EIO);
}

}  // namespace
}  // namespace causeway::dma::testing
