#include "dma/iommu/iommu_dma.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

#include "dma/iommu/testing/behind_iommu.h"

namespace causeway::dma::testing {
namespace {

using iommu::DomainType;
constexpr Direction kBoth = Direction::kBidirectional;
constexpr Direction kIn = Direction::kFromDevice;
constexpr Direction kOut = Direction::kToDevice;

// 48
TEST(IommuMap, ATrustedDeviceGetsTheGranulesAroundTheBuffer) {
  BehindIommu setup;
  Device nic = setup.device();
  PhysAddr buffer = page(setup.system, 1) + 0x800;
  DmaAddr address = map_phys(nic, buffer, KiB(4), kIn, Attr::kNone);
  EXPECT_EQ(address, DmaAddr{0xffffe800});
  EXPECT_EQ(setup.mapped_bytes(), KiB(8));
  EXPECT_TRUE(setup.write(address, "abc"));
  EXPECT_EQ(setup.memory(buffer, 3), "abc");
  unmap_phys(nic, address, KiB(4), kIn, Attr::kNone);
  EXPECT_EQ(setup.mapped_bytes(), 0u);
  EXPECT_FALSE(setup.write(address, "abc"));
  EXPECT_EQ(setup.iommu->stats().mapped, 0u);
}

// 48
TEST(IommuMap, AnUntrustedDeviceSeesItsBufferAndZeroes) {
  BehindIommu setup;
  auto pool = make_pool(setup.system);
  Device nic = setup.device({.untrusted = true});
  nic.set_parameters({.min_align_mask = 0xfff});
  nic.set_swiotlb(pool.get());
  std::memset(setup.system.at(pool->stats().base), 0xaa, MiB(1));
  PhysAddr block = page(setup.system, 1);
  std::memset(setup.system.at(block), 'x', KiB(8));
  PhysAddr buffer = block + 0x800;
  DmaAddr address = map_phys(nic, buffer, 0xf00, kBoth, Attr::kNone);
  ASSERT_NE(address, kMappingError);
  EXPECT_EQ(address.page_offset(), 0x800u);
  EXPECT_EQ(setup.mapped_bytes(), KiB(8));
  EXPECT_EQ(setup.read(address - 0x800, KiB(8)),
            std::string(0x800, '\0') + std::string(0xf00, 'x') + std::string(0x900, '\0'));
  EXPECT_TRUE(setup.write(address, "abc"));
  sync_single_for_cpu(nic, address, 2, kBoth);
  EXPECT_EQ(setup.memory(buffer, 4), "abxx");
  *setup.system.at(buffer) = std::byte{'z'};
  sync_single_for_device(nic, address, 1, kBoth);
  EXPECT_EQ(setup.read(address, 4), "zbcx");
  unmap_phys(nic, address, 0xf00, kBoth, Attr::kNone);
  EXPECT_EQ(setup.memory(buffer - 1, 5), "xzbcx");
  EXPECT_EQ(pool->stats().used, 0u);
  EXPECT_FALSE(setup.write(address, "abc"));
}

// 49
TEST(IommuMap, WholeGranulesAndRegistersOfAnUntrustedDeviceAreNotBounced) {
  BehindIommu setup;
  auto pool = make_pool(setup.system);
  Device nic = setup.device({.untrusted = true});
  nic.set_swiotlb(pool.get());
  PhysAddr buffer = page(setup.system);
  DmaAddr whole = map_phys(nic, buffer, KiB(4), kIn, Attr::kNone);
  EXPECT_EQ(setup.domain.iova_to_phys(Iova(whole.value())), buffer);
  DmaAddr reg = map_phys(nic, PhysAddr{0xfe410024}, 4, kIn, Attr::kMmio);
  EXPECT_EQ(setup.domain.iova_to_phys(Iova(reg.value())), PhysAddr{0xfe410024});
  EXPECT_EQ(pool->stats().used, 0u);
  IovaState state;
  ASSERT_TRUE(iova_try_alloc(nic, state, PhysAddr{0xfe410024}, 4));
  EXPECT_EQ(error_of(iova_link(nic, state, PhysAddr{0xfe410024}, 0, 4, kIn, Attr::kMmio)), EPERM);
  iova_free(nic, state);
  unmap_phys(nic, reg, 4, kIn, Attr::kMmio);
  unmap_phys(nic, whole, KiB(4), kIn, Attr::kNone);
  EXPECT_EQ(setup.iommu->stats().mapped, 0u);
}

// 7
TEST(IommuMap, WhatMustBeCoherentIsNotBounced) {
  BehindIommu setup;
  auto pool = make_pool(setup.system);
  Device nic = setup.device({.untrusted = true});
  nic.set_swiotlb(pool.get());
  EXPECT_EQ(map_phys(nic, page(setup.system), 100, kIn, Attr::kRequireCoherent), kMappingError);
  LogCount log("no bounce buffers");
  nic.set_swiotlb(nullptr);
  EXPECT_EQ(map_phys(nic, page(setup.system), 100, kIn, Attr::kNone), kMappingError);
  EXPECT_EQ(map_phys(nic, page(setup.system), 100, kIn, Attr::kNone), kMappingError);
  EXPECT_EQ(log.count(), 1u);
  EXPECT_EQ(setup.iommu->stats().mapped, 0u);
}

// 51
TEST(IommuMap, TheAccessAsked) {
  BehindIommu setup;
  Device coherent = setup.device();
  Device incoherent = setup.device({.coherent = false}, "0000:00:02.0");
  PhysAddr buffer = page(setup.system);
  auto prot = [&](Device& device, Direction direction, Attr attrs) {
    return setup.prot(map_phys(device, buffer, KiB(4), direction, attrs));
  };
  using namespace iommu;
  EXPECT_EQ(prot(coherent, kIn, Attr::kNone), kWrite | kCache);
  EXPECT_EQ(prot(coherent, kOut, Attr::kNone), kRead | kCache);
  EXPECT_EQ(prot(incoherent, kIn, Attr::kNone), uint32_t{kWrite});
  EXPECT_EQ(prot(coherent, kBoth, Attr::kMmio), kRead | kWrite | kMmio);
  EXPECT_EQ(prot(incoherent, kBoth, Attr::kMmio), kRead | kWrite | kMmio);
  EXPECT_EQ(prot(coherent, kBoth, Attr::kPrivileged), kRead | kWrite | kCache | kPriv);
}

TEST(IommuMap, CachesOfAnIncoherentDeviceAreMaintainedButNotForRegisters) {
  BehindIommu setup;
  Device codec = setup.device({.coherent = false});
  DmaAddr reg = map_phys(codec, PhysAddr{0xfe410024}, 4, kIn, Attr::kMmio);
  unmap_phys(codec, reg, 4, kIn, Attr::kMmio);
  EXPECT_TRUE(no_cache_operations(setup.system));
  DmaAddr skipped = map_phys(codec, page(setup.system), KiB(4), kIn, Attr::kSkipCpuSync);
  unmap_phys(codec, skipped, KiB(4), kIn, Attr::kSkipCpuSync);
  EXPECT_TRUE(no_cache_operations(setup.system));
  DmaAddr address = map_phys(codec, page(setup.system), KiB(4), kIn, Attr::kNone);
  EXPECT_EQ(cache_operations(setup.system).for_device, 1u);
  sync_single_for_cpu(codec, address, 64, kIn);
  unmap_phys(codec, address, KiB(4), kIn, Attr::kNone);
  EXPECT_EQ(cache_operations(setup.system).for_cpu, 2u);
  EXPECT_EQ(cache_operations(setup.system).flushes, 3u);
}

// 54
TEST(IommuMap, AnAlignmentBeyondTheGranuleIsRefused) {
  BehindIommu setup;
  Device nic = setup.device();
  nic.set_parameters({.min_align_mask = 0xffff});
  LogCount log("unsupported alignment constraint");
  EXPECT_EQ(map_phys(nic, page(setup.system), KiB(4), kIn, Attr::kNone), kMappingError);
  EXPECT_EQ(map_phys(nic, page(setup.system), KiB(4), kIn, Attr::kNone), kMappingError);
  EXPECT_EQ(log.count(), 1u);
  EXPECT_EQ(setup.iommu->stats().mapped, 0u);
}

TEST(IommuMap, AFailedMapLeavesNothing) {
  BehindIommu setup;
  auto pool = make_pool(setup.system);
  Device nic = setup.device({.untrusted = true});
  nic.set_swiotlb(pool.get());
  setup.domain.fail_map(1, ENOMEM);
  PhysAddr buffer = page(setup.system);
  std::memset(setup.system.at(buffer), 'x', 100);
  EXPECT_EQ(map_phys(nic, buffer, 100, kIn, Attr::kNone), kMappingError);
  EXPECT_EQ(setup.iommu->stats().mapped, 0u);
  EXPECT_EQ(pool->stats().used, 0u);
  EXPECT_EQ(map_phys(nic, PhysAddr{~uint64_t{0} - 10}, 100, kIn, Attr::kMmio), kMappingError);
  EXPECT_EQ(map_phys(nic, buffer, SIZE_MAX, kIn, Attr::kMmio), kMappingError);
  EXPECT_EQ(map_phys(nic, buffer, 0, kIn, Attr::kMmio), kMappingError);
}

// 44
TEST(IommuMap, WhenTheLow4GiBAreFullADeviceLeavesThemForEver) {
  BehindIommu setup({}, {.reserved = {{Iova{0}, Iova{0xffffbfff}}}});
  Device nic = setup.device();
  Device other = setup.device({}, "0000:00:02.0");
  PhysAddr buffer = page(setup.system);
  log::Capture log;
  std::vector<DmaAddr> low;
  for (int i = 0; i < 4; ++i) low.push_back(map_phys(nic, buffer, KiB(4), kIn, Attr::kNone));
  EXPECT_EQ(low.back(), DmaAddr{0xffffc000});
  DmaAddr high = map_phys(nic, buffer, KiB(4), kIn, Attr::kNone);
  EXPECT_GT(high.value(), bit_mask(32));
  EXPECT_TRUE(log.contains("0000:00:01.0: using 48-bit DMA addresses"));
  for (DmaAddr address : low) unmap_phys(nic, address, KiB(4), kIn, Attr::kNone);
  for (int i = 0; i < 8; ++i) {
    DmaAddr address = map_phys(nic, buffer, KiB(8), kIn, Attr::kNone);
    EXPECT_GT(address.value(), bit_mask(32));
  }
  EXPECT_EQ(log.lines().size(), 1u);
  EXPECT_LE(map_phys(other, buffer, KiB(4), kIn, Attr::kNone).value(), bit_mask(32));
}

TEST(IommuMap, The32BitPreferenceCanBeSwitchedOff) {
  BehindIommu setup({}, {.forcedac = true});
  PhysAddr buffer = page(setup.system);
  Device nic = setup.device();
  EXPECT_EQ(map_phys(nic, buffer, KiB(4), kIn, Attr::kNone), DmaAddr{bit_mask(48) - 0xfff});
  BehindIommu usual;
  Device platform = usual.device({.prefer_32bit_iova = false});
  EXPECT_EQ(map_phys(platform, page(usual.system), KiB(4), kIn, Attr::kNone), DmaAddr{bit_mask(48) - 0xfff});
}

TEST(IommuMap, AddressesStayBelowMaskAndBusLimit) {
  BehindIommu setup;
  Device nic = setup.device();
  must(nic.set_mask(bit_mask(30)));
  PhysAddr buffer = page(setup.system);
  EXPECT_EQ(map_phys(nic, buffer, KiB(4), kIn, Attr::kNone), DmaAddr{bit_mask(30) - 0xfff});
  nic.set_bus_limit(0x12345ff);  // the last granule is out of reach in part
  EXPECT_EQ(map_phys(nic, buffer, KiB(4), kIn, Attr::kNone), DmaAddr{0x1234000 - 0x1000});
  nic.set_bus_limit(0xffe);
  EXPECT_EQ(map_phys(nic, buffer, KiB(4), kIn, Attr::kNone), kMappingError);
}

// 47, 88
TEST(IommuUnmap, StrictlyFaultsAndLazilyHitsButNeverSomebodyElse) {
  for (DomainType type : {DomainType::kDma, DomainType::kDmaFq}) {
    BehindIommu setup({.type = type});
    const bool lazy = type == DomainType::kDmaFq;
    EXPECT_EQ(setup.iommu->stats().deferred, lazy);
    Device nic = setup.device();
    PhysAddr first = page(setup.system), second = page(setup.system);
    DmaAddr address = map_phys(nic, first, KiB(4), kIn, Attr::kNone);
    EXPECT_TRUE(setup.write(address, "one"));
    unmap_phys(nic, address, KiB(4), kIn, Attr::kNone);
    EXPECT_EQ(setup.write(address, "two"), lazy);
    DmaAddr again = map_phys(nic, second, KiB(4), kIn, Attr::kNone);
    EXPECT_EQ(again == address, !lazy);
    EXPECT_TRUE(setup.write(again, "new"));
    EXPECT_EQ(setup.memory(second, 3), "new");
    EXPECT_EQ(setup.memory(first, 3), lazy ? "two" : "one");
    unmap_phys(nic, again, KiB(4), kIn, Attr::kNone);
    setup.iommu->drain();
    EXPECT_FALSE(setup.write(address, "bad"));
    EXPECT_EQ(setup.iommu->stats().mapped, 0u);
  }
}

TEST(IommuUnmap, AnUntrustedDeviceIsStrictInALazyDomain) {
  BehindIommu setup({.type = DomainType::kDmaFq});
  Device nic = setup.device({.untrusted = true});
  DmaAddr address = map_phys(nic, page(setup.system), KiB(4), kIn, Attr::kNone);
  EXPECT_TRUE(setup.write(address, "one"));
  unmap_phys(nic, address, KiB(4), kIn, Attr::kNone);
  EXPECT_FALSE(setup.write(address, "two"));
  EXPECT_EQ(setup.iommu->stats().queued, 0u);
}

// 90
TEST(IommuUnmap, MistakesOfADriverDoNotHitItsNeighbours) {
  for (bool debug : {false, true}) {
    BehindIommu setup({}, {}, {.debug = debug});
    Device nic = setup.device();
    LogCount log("unmap of");
    PhysAddr buffer = page(setup.system, 1);
    DmaAddr above = map_phys(nic, buffer, KiB(4), kIn, Attr::kNone);
    DmaAddr below = map_phys(nic, buffer, KiB(4), kIn, Attr::kNone);
    must(mapping_error(nic, above));
    must(mapping_error(nic, below));
    ASSERT_EQ(below + KiB(4), above);
    unmap_phys(nic, above, KiB(8), kIn, Attr::kNone);  // too long, with nothing behind
    EXPECT_GE(log.count(), 1u);
    if (debug) {
      unmap_phys(nic, below, KiB(8), kIn, Attr::kNone);
      EXPECT_TRUE(setup.write(above, "abc"));
      EXPECT_TRUE(setup.write(below, "abc"));
      EXPECT_EQ(setup.iommu->stats().mapped, 2u);
    } else {
      EXPECT_EQ(setup.iommu->stats().mapped, 2u);  // its addresses are lost, not handed out
    }
    unmap_phys(nic, DmaAddr{0x1000}, KiB(4), kIn, Attr::kNone);
    unmap_phys(nic, DmaAddr{~uint64_t{0} - 8}, KiB(4), kIn, Attr::kMmio);
    unmap_phys(nic, below, KiB(4), kIn, Attr::kNone);
    unmap_phys(nic, below, KiB(4), kIn, Attr::kNone);
    EXPECT_EQ(setup.iommu->stats().mapped, 1u);
    EXPECT_EQ(map_phys(nic, buffer, KiB(4), kIn, Attr::kNone), below);
  }
}

// 59
TEST(IommuAttach, AnIdentityDomainChangesNothing) {
  BehindIommu setup({.type = DomainType::kIdentity});
  Device nic = setup.device();
  EXPECT_EQ(nic.iommu(), nullptr);
  PhysAddr buffer = page(setup.system);
  EXPECT_EQ(map_phys(nic, buffer, KiB(4), kIn, Attr::kNone), bus(buffer));
  IovaState state;
  EXPECT_FALSE(iova_try_alloc(nic, state, buffer, KiB(4)));
}

// 59
TEST(IommuAttach, ADomainThatCannotBeSetUpLeavesTheDeviceDirect) {
  System system;
  iommu::MapDomain domain({.aperture = {Iova{0x10000}, Iova{0xffff}}});
  EXPECT_EQ(error_of(IommuDma::create(system.dma(), domain, {})), EFAULT);
  Device nic = system.device();
  PhysAddr buffer = page(system);
  EXPECT_EQ(map_phys(nic, buffer, KiB(4), kIn, Attr::kNone), bus(buffer));
  iommu::MapDomain narrow({.aperture = {Iova{0}, Iova{0xffffffff}}});
  EXPECT_EQ(error_of(IommuDma::create(system.dma(), narrow,
                                      {.dma_ranges = {{PhysAddr{0}, DmaAddr{GiB(8)}, GiB(1)}}})),
            EFAULT);
  must(IommuDma::create(system.dma(), narrow, {}));  // the failure has let go of the domain
  iommu::MapDomain large({.page_sizes = KiB(64)});
  EXPECT_EQ(error_of(IommuDma::create(system.dma(), large, {})), EINVAL);
  iommu::MapDomain unmanaged({.type = DomainType::kUnmanaged});
  EXPECT_EQ(error_of(IommuDma::create(system.dma(), unmanaged, {})), EINVAL);
}

TEST(IommuAttach, OneDomainHasOneOwnerAndADeviceOneDomain) {
  BehindIommu setup;
  EXPECT_EQ(error_of(IommuDma::create(setup.system.dma(), setup.domain, {})), EEXIST);
  Device nic = setup.device();
  EXPECT_EQ(error_of(attach_iommu(nic, *setup.iommu)), EBUSY);
  detach_iommu(nic);
  must(attach_iommu(nic, *setup.iommu));
}

TEST(IommuAttach, WithoutAFlushQueueUnmapsAreStrict) {
  if (!has_points()) GTEST_SKIP();
  FailingStep step("iommu.flush_queue.create");
  log::Capture log;
  BehindIommu setup({.type = DomainType::kDmaFq});
  EXPECT_FALSE(setup.iommu->stats().deferred);
  Device nic = setup.device();
  DmaAddr address = map_phys(nic, page(setup.system), KiB(4), kIn, Attr::kNone);
  unmap_phys(nic, address, KiB(4), kIn, Attr::kNone);
  EXPECT_EQ(setup.iommu->stats().mapped, 0u);
}

// 60
TEST(IommuWindows, NothingReservedIsEverHandedOut) {
  using Kind = ReservedRegion::Kind;
  struct Span {
    uint64_t start, end;
  };
  // Of [0, 1 MiB) the bridge passes [64 KiB, 512 KiB) and [768 KiB, 1 MiB).
  BehindIommu setup({.aperture = {Iova{0}, Iova{MiB(1) - 1}}},
                    {.reserved = {{Iova{0x20000}, Iova{0x20fff}, Kind::kReserved},
                                  {Iova{0xe0000}, Iova{0xe1fff}, Kind::kMsi},
                                  {Iova{0x30000}, Iova{0x30fff}, Kind::kSoftwareMsi},
                                  {Iova{0x40800}, Iova{0x40fff}, Kind::kDirect}},
                     .bridge_windows = {{Iova{0x50000}, Iova{0x5ffff}}, {Iova{0x58000}, Iova{0x61fff}}},
                     .dma_ranges = {{PhysAddr{0}, DmaAddr{KiB(768)}, KiB(256)}, {PhysAddr{0}, DmaAddr{KiB(64)}, KiB(448)}}});
  Device nic = setup.device();
  PhysAddr buffer = page(setup.system);
  std::vector<uint64_t> got;
  for (;;) {
    DmaAddr address = map_phys(nic, buffer, KiB(4), kIn, Attr::kNone);
    if (address == kMappingError) break;
    got.push_back(address.value());
  }
  for (uint64_t address : got)
    for (Span span : {Span{0, 0xffff}, {0x80000, 0xbffff}, {0x20000, 0x20fff}, {0xe0000, 0xe1fff}, {0x40000, 0x40fff},
                      {0x50000, 0x61fff}})
      EXPECT_TRUE(address + 0xfff < span.start || address > span.end) << address;
  EXPECT_EQ(got.size(), 112u + 64 - 1 - 2 - 1 - 18);
  EXPECT_TRUE(std::count(got.begin(), got.end(), 0x30000));
  // The doorbells of the hardware are where they were.
  EXPECT_EQ(must(setup.iommu->map_msi(nic, PhysAddr{0xe1040})), DmaAddr{0xe1040});
}

// 60
TEST(IommuWindows, OverlappingRangesOfTheBridgeAreRefused) {
  System system;
  iommu::MapDomain domain;
  auto create = [&](std::vector<BusWindow> ranges) {
    return error_of(IommuDma::create(system.dma(), domain, {.dma_ranges = std::move(ranges)}));
  };
  EXPECT_EQ(create({{PhysAddr{0}, DmaAddr{MiB(4)}, MiB(1)}, {PhysAddr{0}, DmaAddr{0}, MiB(4) + 1}}), EINVAL);
  EXPECT_EQ(create({{PhysAddr{0}, DmaAddr{MiB(4)}, 0}}), EINVAL);
  EXPECT_EQ(create({{PhysAddr{0}, DmaAddr{~uint64_t{0}}, 2}}), EINVAL);
  EXPECT_EQ(create({{PhysAddr{0}, DmaAddr{MiB(4)}, MiB(1)}, {PhysAddr{0}, DmaAddr{0}, MiB(4)}}), 0);
}

// 61
TEST(IommuMsi, TwoDoorbellsOfOneGranuleShareAnAddress) {
  BehindIommu setup;
  Device nic = setup.device();
  DmaAddr first = must(setup.iommu->map_msi(nic, PhysAddr{0xfee00040}));
  DmaAddr second = must(setup.iommu->map_msi(nic, PhysAddr{0xfee00f00}));
  EXPECT_EQ(first.page_offset(), 0x40u);
  EXPECT_EQ(second - first, 0xec0u);
  EXPECT_EQ(setup.prot(first), iommu::kWrite | iommu::kNoExec | iommu::kMmio);
  EXPECT_EQ(setup.iommu->stats().mapped, 1u);
  setup.domain.fail_map(1, ENOMEM);
  EXPECT_EQ(error_of(setup.iommu->map_msi(nic, PhysAddr{0xfef00000})), ENOMEM);
  EXPECT_EQ(setup.iommu->stats().mapped, 1u);
}

TEST(IommuLimits, AreThoseOfTheBounceBuffersForUntrustedDevicesAlone) {
  BehindIommu setup;
  Device nic = setup.device();
  Device foreign = setup.device({.untrusted = true}, "0000:00:02.0");
  EXPECT_EQ(max_mapping_size(nic), SIZE_MAX);
  EXPECT_EQ(max_mapping_size(foreign), kMaxBounce);
  EXPECT_EQ(opt_mapping_size(nic), KiB(128));
  EXPECT_EQ(merge_boundary(nic), 0xfffu);
}

}  // namespace
}  // namespace causeway::dma::testing
