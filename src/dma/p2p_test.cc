// Device memory in the hands of other devices.
#include "dma/p2p.h"

#include <gtest/gtest.h>

#include <thread>
#include <vector>

#include "dma/map.h"
#include "dma/testing/streaming.h"

namespace causeway::dma::testing {
namespace {

constexpr PhysAddr kBar{0x38'0000'0000};
constexpr uint64_t kBarSize = MiB(16);
constexpr uint64_t kBusOffset = 0x1'0000'0000 - 0x38'0000'0000;  // the bus sees it at 4 GiB

constexpr PciPath kBelowSwitch{.upstream_bridge = 7, .host_bridge_allowed = true};
constexpr PciPath kElsewhere{.upstream_bridge = 9, .host_bridge_allowed = true};
constexpr PciPath kElsewhereForbidden{.upstream_bridge = 9};

P2pProvider bar(PciPath owner = kBelowSwitch) {
  return {.base = kBar, .size = kBarSize, .bus_offset = kBusOffset, .owner = owner};
}

TEST(P2pType, FollowsFromWhereTheTwoSit) {
  PciPath acs = kBelowSwitch;
  acs.acs_redirect = true;
  EXPECT_EQ(p2p_type(bar(), kBelowSwitch), P2pType::kBusAddress);
  EXPECT_EQ(p2p_type(bar(), acs), P2pType::kThruHostBridge);
  EXPECT_EQ(p2p_type(bar(acs), kBelowSwitch), P2pType::kThruHostBridge);
  EXPECT_EQ(p2p_type(bar(), kElsewhere), P2pType::kThruHostBridge);
  EXPECT_EQ(p2p_type(bar(), kElsewhereForbidden), P2pType::kNotSupported);
  EXPECT_EQ(p2p_type(bar(kElsewhereForbidden), kBelowSwitch), P2pType::kNotSupported);
  // Nothing is known of where they sit: not the same bridge.
  EXPECT_EQ(p2p_type(bar(PciPath{}), PciPath{}), P2pType::kNotSupported);
  P2pProvider unpublished = bar();
  unpublished.published = false;
  EXPECT_EQ(p2p_type(unpublished, kBelowSwitch), P2pType::kNotSupported);
}

TEST(P2pRegistry, WindowsDoNotOverlapAndCanBeTakenBack) {
  P2pRegistry registry;
  EXPECT_TRUE(registry.empty());
  uint64_t id = must(registry.add(bar()));
  EXPECT_EQ(error_of(registry.add({.base = kBar + kBarSize - 1, .size = 1})), EEXIST);
  EXPECT_EQ(error_of(registry.add({.base = kBar - 1, .size = kBarSize + 2})), EEXIST);
  EXPECT_EQ(error_of(registry.add({.base = kBar - KiB(4), .size = 0})), EINVAL);
  EXPECT_EQ(error_of(registry.add({.base = PhysAddr{~uint64_t{0}}, .size = 2})), EINVAL);
  uint64_t next = must(registry.add({.base = kBar + kBarSize, .size = 1}));
  EXPECT_TRUE(registry.remove(id));
  EXPECT_EQ(error_of(registry.remove(id)), ENOENT);
  EXPECT_TRUE(registry.remove(next));
  EXPECT_TRUE(registry.empty());
  EXPECT_EQ(registry.snapshot(), nullptr);
  EXPECT_TRUE(registry.add(bar()));
}

class PeerLists : public ::testing::Test {
 protected:
  PeerLists() {
    device_.set_pci_path(kBelowSwitch);
    must(system_.dma().p2p().add(bar()));
  }
  ScatterEntry ram(unsigned i = 0) { return {.phys = buffer_ + i * 1024, .length = 1024}; }
  ScatterEntry peer(uint32_t length = 4096) { return {.phys = kBar + KiB(8), .length = length}; }

  System system_;
  PhysAddr buffer_ = page(system_);
  Device device_ = system_.device();
};

// 53
TEST_F(PeerLists, PeersBelowTheSameBridgeAreGivenBusAddresses) {
  std::vector<std::vector<ScatterEntry>> lists = {
      {peer(), ram(0), ram(1)}, {ram(0), peer(), ram(1)}, {ram(0), ram(1), peer()}, {peer(), peer(), peer()}};
  for (std::vector<ScatterEntry>& list : lists) {
    ASSERT_EQ(map_sg(device_, list, Direction::kToDevice), 3u);
    for (const ScatterEntry& entry : list) {
      bool is_peer = entry.phys >= kBar;
      EXPECT_EQ(entry.flags, is_peer ? kScatterBusAddress : 0);
      EXPECT_EQ(entry.dma_address, is_peer ? DmaAddr{0x1'0000'0000 + KiB(8)} : bus(entry.phys));
      EXPECT_EQ(entry.dma_length, entry.length);
    }
    unmap_sg(device_, list, Direction::kToDevice);
    for (const ScatterEntry& entry : list) EXPECT_EQ(entry.flags, 0u);
  }
}

TEST_F(PeerLists, ABusAddressIsNeitherTranslatedNorCheckedNorSynced) {
  Device narrow = system_.device({.coherent = false}, "narrow");
  must(narrow.set_mask(bit_mask(32)));
  narrow.set_pci_path(kBelowSwitch);
  std::vector<ScatterEntry> list = {peer()};
  ASSERT_EQ(map_sg(narrow, list, Direction::kFromDevice), 1u);
  sync_sg_for_cpu(narrow, list, Direction::kFromDevice);
  sync_sg_for_device(narrow, list, Direction::kFromDevice);
  unmap_sg(narrow, list, Direction::kFromDevice);
  EXPECT_EQ(cache_operations(system_).for_device, 0u);
  EXPECT_EQ(cache_operations(system_).for_cpu, 0u);
}

// Linux 7.3 would clean caches here, and bounce.
TEST_F(PeerLists, ThroughTheHostBridgePeersAreMappedAsRegisters) {
  Device device = system_.device({.coherent = false}, "codec");
  device.set_pci_path(kElsewhere);
  std::vector<ScatterEntry> list = {peer(4)};
  ASSERT_EQ(map_sg(device, list, Direction::kFromDevice), 1u);
  EXPECT_EQ(list[0].dma_address, bus(kBar + KiB(8)));
  EXPECT_EQ(list[0].flags, kScatterMmio);
  sync_sg_for_cpu(device, list, Direction::kFromDevice);
  unmap_sg(device, list, Direction::kFromDevice);
  EXPECT_EQ(cache_operations(system_).for_device, 0u);
  EXPECT_EQ(cache_operations(system_).for_cpu, 0u);
}

TEST(PeerToPeer, ThroughTheHostBridgeNothingBounces) {
  System system(with({.swiotlb_force = true}));
  must(system.dma().p2p().add(bar()));
  Device device = system.device();
  device.set_pci_path(kElsewhere);
  ScatterTable table{.entries = {{.phys = kBar, .length = 4096}}};
  EXPECT_EQ(error_of(map_sgtable(device, table, Direction::kFromDevice)), EIO);
  EXPECT_EQ(system.dma().swiotlb()->stats().used, 0u);
}

// 53
TEST_F(PeerLists, WhatTheDeviceCannotReachIsEremoteioAndNothingIsMapped) {
  device_.set_pci_path(kElsewhereForbidden);
  ScatterTable table{.entries = {ram(0), peer(), ram(1)}};
  EXPECT_EQ(error_of(map_sgtable(device_, table, Direction::kToDevice)), EREMOTEIO);
  EXPECT_EQ(table.mapped, 0u);
  EXPECT_EQ(map_sg(device_, table.entries, Direction::kToDevice), 0u);
  EXPECT_EQ(table.entries[0].dma_length, 0u);
}

TEST_F(PeerLists, ASegmentThatLeavesTheWindowIsRefused) {
  ScatterTable table{.entries = {{.phys = kBar + kBarSize - 100, .length = 101}}};
  EXPECT_EQ(error_of(map_sgtable(device_, table, Direction::kToDevice)), EREMOTEIO);
  table.entries[0].length = 100;
  EXPECT_TRUE(map_sgtable(device_, table, Direction::kToDevice));
}

TEST_F(PeerLists, ARequestAsksForItsKind) {
  P2pState peers(device_);
  EXPECT_EQ(peers.type_of(buffer_), P2pType::kNone);
  EXPECT_EQ(peers.type_of(kBar + 4), P2pType::kBusAddress);
  EXPECT_EQ(peers.bus_address(kBar + 4), DmaAddr{0x1'0000'0004});
  EXPECT_EQ(peers.type_of(kBar + kBarSize), P2pType::kNone);
  EXPECT_EQ(peers.type_of(kBar + kBarSize - 1), P2pType::kBusAddress);
}

TEST_F(PeerLists, AWindowTakenBackIsOrdinaryMemoryAgain) {
  System system;
  uint64_t id = must(system.dma().p2p().add(bar()));
  Device device = system.device();
  device.set_pci_path(kElsewhereForbidden);
  ScatterTable table{.entries = {peer()}};
  EXPECT_EQ(error_of(map_sgtable(device, table, Direction::kToDevice)), EREMOTEIO);
  must(system.dma().p2p().remove(id));
  EXPECT_TRUE(map_sgtable(device, table, Direction::kToDevice));
}

TEST_F(PeerLists, WindowsComeAndGoWhileOthersMap) {
  std::atomic<bool> stop{false};
  std::thread changes([&] {
    while (!stop.load()) {
      uint64_t id = must(system_.dma().p2p().add({.base = kBar + GiB(1), .size = KiB(4), .owner = kBelowSwitch}));
      must(system_.dma().p2p().remove(id));
    }
  });
  for (unsigned i = 0; i < 500; ++i) {
    std::vector<ScatterEntry> list = {ram(0), peer(), {.phys = kBar + GiB(1), .length = 4096}};
    ASSERT_EQ(map_sg(device_, list, Direction::kToDevice), 3u);
    EXPECT_EQ(list[1].dma_address, DmaAddr{0x1'0000'0000 + KiB(8)});
    unmap_sg(device_, list, Direction::kToDevice);
  }
  stop = true;
  changes.join();
}

}  // namespace
}  // namespace causeway::dma::testing
