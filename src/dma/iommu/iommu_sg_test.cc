#include <gtest/gtest.h>

#include <algorithm>
#include <thread>
#include <vector>

#include "dma/iommu/testing/behind_iommu.h"
#include "dma/p2p.h"

namespace causeway::dma::testing {
namespace {

constexpr Direction kIn = Direction::kFromDevice;
using List = std::vector<ScatterEntry>;
struct Segment {
  uint64_t address;
  uint32_t length;
  bool operator==(const Segment&) const = default;
};

struct IommuSg : ::testing::Test, BehindIommu {
  // A page that is not next to the one before.
  PhysAddr scattered() { return page(system, 1); }
  std::vector<Segment> map(const List& wanted) {
    list = wanted;
    std::vector<Segment> segments;
    unsigned count = map_sg(nic, list, kIn, Attr::kNone);
    for (unsigned i = 0; i < count; ++i) segments.push_back({list[i].dma_address.value(), list[i].dma_length});
    for (size_t i = 0; i < list.size(); ++i) {
      EXPECT_EQ(list[i].phys, wanted[i].phys);
      EXPECT_EQ(list[i].length, wanted[i].length);
      EXPECT_TRUE(i < count || list[i].dma_length == 0);
    }
    return segments;
  }
  void unmap() {
    unmap_sg(nic, list, kIn, Attr::kNone);
    EXPECT_EQ(mapped_bytes(), 0u);
    EXPECT_EQ(iommu->stats().mapped, 0u);
  }
  Device nic = device();
  List list;
};

// 52
TEST_F(IommuSg, FullPagesBecomeOneSegment) {
  EXPECT_EQ(map({{scattered(), 4096}, {scattered(), 4096}, {scattered(), 4096}}),
            (std::vector<Segment>{{0xffffc000, 0x3000}}));
  for (uint64_t i = 0; i < 3; ++i)
    EXPECT_EQ(domain.iova_to_phys(Iova(0xffffc000 + i * KiB(4))), list[i].phys);
  unmap();
}

// 52
TEST_F(IommuSg, OffsetsAreAllowedAtTheStartAndShortLengthsAtTheEnd) {
  EXPECT_EQ(map({{scattered() + 0x200, 0xe00}, {scattered(), 0x1000}, {scattered(), 0x800}}),
            (std::vector<Segment>{{0xffffc200, 0x2600}}));
  unmap();
  EXPECT_EQ(map({{scattered(), 0x800}, {scattered(), 0x1000}}).size(), 2u);
  unmap();
  EXPECT_EQ(map({{scattered(), 0x1000}, {scattered() + 0x200, 0x200}}).size(), 2u);
  unmap();
}

// 52
TEST_F(IommuSg, SegmentsAreNoLongerThanTheDeviceTakes) {
  List pages;
  for (int i = 0; i < 17; ++i) pages.push_back({scattered(), 4096});
  std::vector<Segment> segments = map(pages);
  ASSERT_EQ(segments.size(), 2u);
  EXPECT_EQ(segments[0].length, 0x10000u);
  EXPECT_EQ(segments[1], (Segment{segments[0].address + 0x10000, 0x1000}));
  unmap();
}

// 52
TEST_F(IommuSg, AnEntryThatWouldCrossABoundaryBeginsOnIt) {
  nic.set_parameters({.max_segment_size = 1 << 20, .segment_boundary_mask = 0xffff});
  std::vector<Segment> segments = map({{page(system, 4), 0xc000}, {page(system, 4), 0x8000}});
  ASSERT_EQ(segments.size(), 2u);
  EXPECT_EQ(segments[0].length, 0xc000u);
  EXPECT_EQ(segments[1], (Segment{segments[0].address + 0x10000, 0x8000}));
  EXPECT_EQ(mapped_bytes(), 0x18000u);
  unmap();
}

// 89
TEST_F(IommuSg, ABoundaryOfOnePageSeparatesAll) {
  nic.set_parameters({.segment_boundary_mask = 4095});
  EXPECT_EQ(map({{scattered(), 4096}, {scattered(), 4096}, {scattered(), 4096}}).size(), 3u);
  unmap();
}

// 52
TEST_F(IommuSg, AFailedMapLeavesTheListAsItWas) {
  for (unsigned nth = 1; nth <= 3; ++nth) {
    for (int code : {EIO, ENOMEM}) {
      ScatterTable table{.entries = {{scattered() + 0x200, 0xe00}, {scattered(), 0x1000}, {scattered(), 0x800}}};
      const List before = table.entries;
      domain.fail_map(nth, code);
      EXPECT_EQ(error_of(map_sgtable(nic, table, kIn)), code == ENOMEM ? ENOMEM : EINVAL);
      for (size_t i = 0; i < before.size(); ++i) {
        EXPECT_EQ(table.entries[i].phys, before[i].phys);
        EXPECT_EQ(table.entries[i].length, before[i].length);
        EXPECT_EQ(table.entries[i].dma_address, kMappingError);
        EXPECT_EQ(table.entries[i].dma_length, 0u);
      }
      EXPECT_EQ(mapped_bytes(), 0u);
      EXPECT_EQ(iommu->stats().mapped, 0u);
    }
  }
}

// 89
TEST_F(IommuSg, HostileListsAreRefusedAndIntact) {
  PhysAddr at = scattered();
  for (const List& hostile : {List{{at, 4096}, {at + 1, 0xffffffff}}, List{{at, 4096}, {at, 0}}, List{{at, 0xfffff001}},
                              List{{at, 0xf0000000}, {at, 0x20000000}}}) {
    // The last one fails by the gap up to the boundary, which makes its first entry 4 GiB long.
    nic.set_parameters({.segment_boundary_mask = bit_mask(32)});
    ScatterTable table{.entries = hostile};
    EXPECT_EQ(error_of(map_sgtable(nic, table, kIn)), EINVAL) << hostile.back().length;
    for (size_t i = 0; i < hostile.size(); ++i) {
      EXPECT_EQ(table.entries[i].phys, hostile[i].phys);
      EXPECT_EQ(table.entries[i].length, hostile[i].length);
    }
  }
  EXPECT_EQ(iommu->stats().mapped, 0u);
}

// 53
TEST_F(IommuSg, PeersBelowTheSameBridgeTakeNoAddressesOfOurs) {
  const PhysAddr bar{0x8000000000};
  must(system.dma().p2p().add({.base = bar, .size = MiB(1), .bus_offset = 0x1000, .owner = {.upstream_bridge = 7}}));
  nic.set_pci_path({.upstream_bridge = 7});
  const ScatterEntry peer{bar + 0x2000, 0x3000}, ram{scattered(), 0x1000};
  for (List wanted : {List{peer, ram, ram}, List{ram, peer, ram}, List{ram, ram, peer}, List{peer}, List{peer, peer}}) {
    size_t peers = 0;
    std::vector<Segment> segments = map(wanted);
    for (unsigned i = 0; i < segments.size(); ++i) {
      if ((list[i].flags & kScatterBusAddress) == 0) continue;
      EXPECT_EQ(segments[i], (Segment{bar.value() + 0x3000, 0x3000}));
      ++peers;
    }
    EXPECT_EQ(peers, static_cast<size_t>(std::count_if(wanted.begin(), wanted.end(),
                                                       [&](auto& entry) { return entry.phys == peer.phys; })));
    EXPECT_EQ(mapped_bytes(), (wanted.size() - peers) * KiB(4));
    unmap();
    for (const ScatterEntry& entry : list) EXPECT_EQ(entry.flags, 0u);
  }
  nic.set_pci_path({.upstream_bridge = 8});
  ScatterTable table{.entries = {ram, peer}};
  EXPECT_EQ(error_of(map_sgtable(nic, table, kIn)), EREMOTEIO);
  EXPECT_EQ(table.entries[0].phys, ram.phys);
  EXPECT_EQ(iommu->stats().mapped, 0u);
}

TEST_F(IommuSg, APeerBehindTheHostBridgeIsMappedAsDeviceMemory) {
  const PhysAddr bar{0x8000000000};
  must(system.dma().p2p().add({.base = bar, .size = MiB(1), .owner = {.upstream_bridge = 7, .host_bridge_allowed = true}}));
  nic.set_pci_path({.upstream_bridge = 8, .host_bridge_allowed = true});
  std::vector<Segment> segments = map({{scattered(), 0x1000}, {bar, 0x1000}});
  ASSERT_EQ(segments.size(), 1u);
  EXPECT_EQ(prot(DmaAddr{segments[0].address}), iommu::kWrite | iommu::kCache);
  EXPECT_EQ(prot(DmaAddr{segments[0].address + 0x1000}), iommu::kWrite | iommu::kMmio);
  unmap();
}

TEST_F(IommuSg, AnUntrustedDeviceHasEveryEntryMappedByItself) {
  auto pool = make_pool(system);
  Device foreign = device({.untrusted = true}, "0000:00:02.0");
  foreign.set_swiotlb(pool.get());
  List entries = {{scattered(), 4096}, {scattered(), 100}};
  ASSERT_EQ(map_sg(foreign, entries, kIn, Attr::kNone), 2u);
  EXPECT_NE(entries[0].flags & kScatterSwiotlb, 0);
  EXPECT_NE(pool->stats().used, 0u);
  EXPECT_TRUE(write(entries[1].dma_address, "abc"));
  sync_sg_for_cpu(foreign, entries, kIn);
  EXPECT_EQ(memory(entries[1].phys, 3), "abc");
  unmap_sg(foreign, entries, kIn, Attr::kNone);
  EXPECT_EQ(pool->stats().used, 0u);
  EXPECT_EQ(mapped_bytes(), 0u);

  domain.fail_map(2, ENOMEM);
  ScatterTable table{.entries = {{entries[0].phys, 4096}, {entries[1].phys, 100}}};
  EXPECT_EQ(error_of(map_sgtable(foreign, table, kIn)), EIO);
  EXPECT_EQ(pool->stats().used, 0u);
  EXPECT_EQ(mapped_bytes(), 0u);
}

TEST(IommuAlloc, MemoryIsReachableZeroedAndGivenBackWhole) {
  for (DeviceTraits traits : {DeviceTraits{}, DeviceTraits{.coherent = false}}) {
    for (auto [gfp, attrs] : {std::pair{mm::kGfpKernel, Attr::kNone}, {mm::kGfpKernel, Attr::kForceContiguous},
                              {mm::kGfpAtomic, Attr::kNone}}) {
      BehindIommu setup;
      Device nic = setup.device(traits);
      const uint64_t before = setup.system.free_pages();
      Coherent memory = must(alloc_attrs(nic, KiB(20), gfp, attrs));
      EXPECT_EQ(setup.read(memory.handle, KiB(20)), std::string(KiB(20), '\0'));
      EXPECT_TRUE(setup.write(memory.handle + KiB(16), "abc"));
      EXPECT_EQ(std::string(memory.as<char>() + KiB(16)), "abc");
      EXPECT_EQ(error_of(preserve_allocation(nic, memory, attrs)), EOPNOTSUPP);
      must(free_attrs(nic, memory, attrs));
      EXPECT_EQ(setup.system.free_pages(), before);
      EXPECT_EQ(setup.mapped_bytes(), 0u);
      EXPECT_EQ(setup.iommu->stats().mapped, 0u);
      EXPECT_EQ(setup.system.dma().state().attributes.changed_pages(), 0u);
      setup.domain.fail_map(1, ENOMEM);
      log::Capture quiet;
      EXPECT_EQ(error_of(alloc_attrs(nic, KiB(20), gfp, attrs)), ENOMEM);
      EXPECT_EQ(setup.system.free_pages(), before);
      EXPECT_EQ(setup.iommu->stats().mapped, 0u);
    }
  }
}

TEST(IommuAlloc, APageArrayIsContiguousForTheDevice) {
  BehindIommu setup;
  Device nic = setup.device();
  const uint64_t before = setup.system.free_pages();
  auto array = must(setup.iommu->alloc_pages_array(nic, KiB(49), kIn, mm::kGfpKernel, Attr::kNone));
  ASSERT_EQ(array.pages.size(), 13u);
  for (uint64_t i = 0; i < 13; ++i)
    EXPECT_EQ(setup.domain.iova_to_phys(Iova(array.address.value() + i * KiB(4))), array.pages[i]);
  setup.iommu->free_pages_array(nic, array);
  EXPECT_EQ(setup.system.free_pages(), before);
  EXPECT_EQ(setup.iommu->stats().mapped, 0u);
}

// 87
TEST(IommuThreads, MapsListsAndLinksOfManyThreadsLoseNothing) {
  for (auto type : {iommu::DomainType::kDma, iommu::DomainType::kDmaFq}) {
    BehindIommu setup({.type = type});
    Device nic = setup.device();
    const PhysAddr memory = page(setup.system, 6);
    std::vector<std::thread> threads;
    for (unsigned id = 0; id < 64; ++id) {
      threads.emplace_back([&, id] {
        const PhysAddr own = memory + id * KiB(4);
        for (int i = 0; i < 30; ++i) {
          DmaAddr address = map_phys(nic, own, KiB(4), kIn, Attr::kNone);
          EXPECT_EQ(setup.domain.translate(Iova(address.value()), 4, iommu::kWrite).phys, own);
          sync_single_for_cpu(nic, address, KiB(4), kIn);
          unmap_phys(nic, address, KiB(4), kIn, Attr::kNone);
          List list = {{own, 4096}, {memory, 100}};
          EXPECT_EQ(map_sg(nic, list, kIn, Attr::kNone), 1u);
          unmap_sg(nic, list, kIn, Attr::kNone);
          IovaState state;
          EXPECT_TRUE(iova_try_alloc(nic, state, own, KiB(4)));
          must(iova_link(nic, state, own, 0, KiB(4), kIn, Attr::kNone));
          iova_destroy(nic, state, KiB(4), kIn, Attr::kNone);
        }
      });
    }
    for (std::thread& thread : threads) thread.join();
    setup.iommu->drain();
    setup.iommu->drain();
    EXPECT_EQ(setup.iommu->stats().mapped, 0u);
    EXPECT_EQ(setup.mapped_bytes(), 0u);
  }
}

}  // namespace
}  // namespace causeway::dma::testing
