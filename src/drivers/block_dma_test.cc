#include "drivers/block_dma.h"

#include <gtest/gtest.h>

#include "base/log.h"
#include "dma/dma.h"
#include "dma/iommu/iommu_dma.h"
#include "dma/testing/boot.h"
#include "drivers/hmm_dma.h"
#include "iommu/map_domain.h"

namespace causeway::drivers {
namespace {

using dma::Direction;

class BlockDma : public ::testing::Test {
 protected:
  PhysAddr page(unsigned order = 0) {
    return system_.map().phys(must(system_.pages().alloc_pages(Order(order), mm::kGfpKernel)));
  }
  // A device behind an IOMMU.
  dma::Device behind_iommu() {
    dma::Device device = system_.device();
    must(dma::attach_iommu(device, *iommu_));
    return device;
  }
  std::vector<BlockMapping::Piece> walk(BlockDmaIter& iter, std::vector<PhysSegment> segments,
                                        Direction direction = Direction::kFromDevice) {
    std::vector<BlockMapping::Piece> pieces;
    for (bool more = iter.start({segments, direction}); more; more = iter.next())
      pieces.push_back({iter.address(), iter.length()});
    return pieces;
  }
  uint64_t mapped() { return domain_.counts().mapped_bytes; }

  log::Capture quiet_;
  dma::testing::System system_;
  iommu::MapDomain domain_;
  std::unique_ptr<dma::IommuDma> iommu_ = must(dma::IommuDma::create(system_.dma(), domain_, {}));
  BlockMapping mapping_;
};

TEST_F(BlockDma, SegmentsThatFollowEachOtherAreOneVector) {
  dma::Device device = system_.device();
  PhysAddr a = page(2), b = page();
  BlockDmaIter iter(device, mapping_);
  auto pieces = walk(iter, {{a, 4096}, {a + 4096, 512}, {b, 1024}});
  must(iter.status());
  ASSERT_EQ(pieces.size(), 2u);
  EXPECT_EQ(pieces[0].address.value(), a.value());
  EXPECT_EQ(pieces[0].length, 4608u);
  EXPECT_EQ(pieces[1].length, 1024u);
  unmap(device, mapping_);
  EXPECT_FALSE(mapping_.live);
}

TEST_F(BlockDma, AVectorIsNoLongerThanTheDeviceTakes) {
  dma::Device device = system_.device();
  device.set_parameters({.max_segment_size = 4096});
  BlockDmaIter iter(device, mapping_);
  auto pieces = walk(iter, {{page(2), KiB(16)}});
  EXPECT_EQ(pieces.size(), 4u);
  unmap(device, mapping_);
}

TEST_F(BlockDma, BehindAnIommuWholePagesAreOnePiece) {
  dma::Device device = behind_iommu();
  std::vector<PhysSegment> segments;
  for (int i = 0; i < 3; ++i) segments.push_back({page(1), 4096});
  BlockDmaIter iter(device, mapping_);
  auto pieces = walk(iter, segments);
  must(iter.status());
  ASSERT_EQ(pieces.size(), 1u);
  EXPECT_EQ(pieces[0].length, KiB(12));
  for (int i = 0; i < 3; ++i)
    EXPECT_EQ(domain_.translate(Iova(pieces[0].address.value() + i * 4096), 4096, iommu::kWrite).phys, segments[i].phys);
  EXPECT_EQ(mapped(), KiB(12));
  unmap(device, mapping_);
  EXPECT_EQ(mapped(), 0u);
}

TEST_F(BlockDma, AGapInTheRequestMapsVectorByVector) {
  dma::Device device = behind_iommu();
  BlockDmaIter iter(device, mapping_);
  auto pieces = walk(iter, {{page() + 512, 512}, {page() + 1024, 512}});
  must(iter.status());
  EXPECT_EQ(pieces.size(), 2u);
  unmap(device, mapping_);
  EXPECT_EQ(mapped(), 0u);
}

TEST_F(BlockDma, WhatIsNotARequestIsRefused) {
  dma::Device device = system_.device();
  for (std::vector<PhysSegment> segments :
       {std::vector<PhysSegment>{}, {{page(), 0}}, {{PhysAddr(~uint64_t{0} - 10), 100}}}) {
    BlockDmaIter iter(device, mapping_);
    EXPECT_TRUE(walk(iter, segments).empty());
    EXPECT_EQ(error_of(iter.status()), EINVAL);
    EXPECT_FALSE(mapping_.live);
  }
}

TEST_F(BlockDma, ARequestIsOfOneKindOfMemory) {
  dma::Device device = system_.device();
  device.set_pci_path({.upstream_bridge = 1});
  PhysAddr bar(uint64_t{1} << 40);
  must(system_.dma().p2p().add({.base = bar, .size = MiB(1), .bus_offset = 0x1000, .owner = {.upstream_bridge = 1}}));
  BlockDmaIter mixed(device, mapping_);
  EXPECT_TRUE(walk(mixed, {{bar, 4096}, {page(), 4096}}).empty());
  EXPECT_EQ(error_of(mixed.status()), EINVAL);
  BlockDmaIter peer(device, mapping_);
  auto pieces = walk(peer, {{bar, 4096}, {bar + 8192, 4096}});
  ASSERT_EQ(pieces.size(), 2u);
  EXPECT_EQ(pieces[1].address.value(), bar.value() + 8192 + 0x1000);
  unmap(device, mapping_);
  BlockDmaIter beyond(device, mapping_);
  EXPECT_TRUE(walk(beyond, {{bar + MiB(1) - 512, 1024}}).empty());
  EXPECT_EQ(error_of(beyond.status()), EINVAL);
}

TEST_F(BlockDma, APeerOutOfReachIsEremoteio) {
  dma::Device device = system_.device();
  device.set_pci_path({.upstream_bridge = 1});
  PhysAddr bar(uint64_t{1} << 40);
  must(system_.dma().p2p().add({.base = bar, .size = MiB(1), .owner = {.upstream_bridge = 2}}));
  BlockDmaIter iter(device, mapping_);
  EXPECT_TRUE(walk(iter, {{bar, 4096}}).empty());
  EXPECT_EQ(error_of(iter.status()), EREMOTEIO);
}

TEST_F(BlockDma, PagesOfASharedAddressSpaceAreMappedOneByOne) {
  for (bool iommu : {false, true}) {
    dma::Device device = iommu ? behind_iommu() : system_.device();
    auto map = must(HmmDmaMap::create(device, 16));
    EXPECT_EQ(map->uses_iova(), iommu);
    PhysAddr memory = page();
    EXPECT_EQ(error_of(map->map(3)), EINVAL);
    must(map->set(3, Pfn::containing(memory), HmmFlag::kValid | HmmFlag::kWrite));
    DmaAddr address = must(map->map(3));
    EXPECT_EQ(must(map->map(3)), address);
    EXPECT_TRUE(map->has(3, HmmFlag::kDmaMapped));
    EXPECT_EQ(error_of(map->set(3, Pfn::containing(memory) + 1, HmmFlag::kValid)), EBUSY);
    if (iommu) {
      EXPECT_EQ(mapped(), kPageSize);
    }
    EXPECT_TRUE(map->unmap(3));
    EXPECT_FALSE(map->unmap(3));
    EXPECT_FALSE(map->has(3, HmmFlag::kDmaMapped));
    EXPECT_EQ(mapped(), 0u);
  }
}

TEST_F(BlockDma, SharedAddressSpacesNeedACoherentDeviceThatReachesEverything) {
  dma::Device incoherent = system_.device({.coherent = false});
  EXPECT_EQ(error_of(HmmDmaMap::create(incoherent, 16)), EOPNOTSUPP);
  dma::Device coherent = system_.device();
  EXPECT_EQ(error_of(HmmDmaMap::create(coherent, 0)), EINVAL);
  must(HmmDmaMap::create(coherent, 16));
}

}  // namespace
}  // namespace causeway::drivers
