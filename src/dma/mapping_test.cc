#include "dma/mapping.h"

#include <gtest/gtest.h>

#include <utility>
#include <vector>

#include "dma/testing/in_flight.h"
#include "dma/testing/streaming.h"

namespace causeway::dma::testing {
namespace {

// Everything bounces: a slot in use is a mapping that lives.
class Owners : public ::testing::Test {
 protected:
  uint64_t live() { return system_.dma().swiotlb()->stats().used; }
  System system_{with({.swiotlb_force = true})};
  Device device_ = system_.device();
  PhysAddr buffer_ = page(system_);
};

TEST_F(Owners, AMappingEndsWithItsOwner) {
  fill(system_.at(buffer_), 1024, 1);
  {
    Mapping mapping = must(Mapping::map(device_, buffer_, 1024, Direction::kFromDevice));
    EXPECT_TRUE(mapping);
    EXPECT_EQ(live(), 1u);
    EXPECT_EQ(mapping.size(), 1024u);
    EXPECT_EQ(mapping.direction(), Direction::kFromDevice);
    fill(system_.at(PhysAddr(mapping.address().value())), 1024, 2);
    mapping.sync_for_cpu(0, 512);
    EXPECT_TRUE(filled(system_.at(buffer_), 512, 2));
    EXPECT_FALSE(filled(system_.at(buffer_), 1024, 2));
  }
  EXPECT_EQ(live(), 0u);
  EXPECT_TRUE(filled(system_.at(buffer_), 1024, 2));
}

TEST_F(Owners, AMappingMoves) {
  Mapping first = must(Mapping::map_single(device_, system_.at(buffer_), 1024, Direction::kToDevice));
  Mapping second = std::move(first);
  EXPECT_FALSE(first);
  EXPECT_TRUE(second);
  EXPECT_EQ(live(), 1u);
  second = must(Mapping::map(device_, buffer_ + 2048, 1024, Direction::kToDevice));
  EXPECT_EQ(live(), 1u);
  second = std::move(*&second);
  EXPECT_TRUE(second);
  first.reset();
  EXPECT_EQ(live(), 1u);
  second.reset();
  EXPECT_EQ(live(), 0u);
}

TEST_F(Owners, WhatIsReleasedIsTheCallersToUnmap) {
  DmaAddr address = must(Mapping::map(device_, buffer_, 1024, Direction::kToDevice)).release();
  EXPECT_EQ(live(), 1u);
  unmap_phys(device_, address, 1024, Direction::kToDevice, Attr::kNone);
  EXPECT_EQ(live(), 0u);
}

TEST_F(Owners, ASyncOutsideTheMappingDoesNothing) {
  Mapping mapping = must(Mapping::map(device_, buffer_, 1024, Direction::kBidirectional));
  fill(system_.at(buffer_), kPageSize, 1);
  fill(system_.at(PhysAddr(mapping.address().value())), 1024, 2);
  mapping.sync_for_cpu(1000, 25);
  mapping.sync_for_cpu(~uint64_t{0}, 2);
  mapping.sync_for_cpu(1, ~size_t{0});
  EXPECT_TRUE(filled(system_.at(buffer_), kPageSize, 1));
  mapping.sync_for_cpu(1000, 24);
  EXPECT_FALSE(filled(system_.at(buffer_), kPageSize, 1));
}

TEST_F(Owners, WhatCannotBeMappedHasNoOwner) {
  EXPECT_EQ(error_of(Mapping::map(device_, buffer_, KiB(4), Direction::kToDevice, Attr::kRequireCoherent)), ENOMEM);
  EXPECT_EQ(error_of(Mapping::map_resource(device_, PhysAddr{0xfe41'0024}, 4, Direction::kToDevice)), ENOMEM);
  EXPECT_EQ(error_of(SgMapping::map(device_, {}, Direction::kToDevice)), EIO);
  Mapping nothing;
  EXPECT_FALSE(nothing);
  nothing.sync_for_cpu();
}

TEST_F(Owners, AListEndsWithItsOwner) {
  fill(system_.at(buffer_), kPageSize, 1);
  SgMapping list = must(SgMapping::map(
      device_, {{.phys = buffer_, .length = 2048}, {.phys = buffer_ + 2048, .length = 2048}}, Direction::kBidirectional));
  ASSERT_EQ(list.segments().size(), 2u);
  EXPECT_EQ(live(), 2u);
  SgMapping other = std::move(list);
  EXPECT_FALSE(list);
  EXPECT_TRUE(list.segments().empty());
  fill(system_.at(PhysAddr(other.segments()[1].dma_address.value())), 2048, 7);
  other.sync_for_cpu();
  EXPECT_TRUE(filled(system_.at(buffer_ + 2048), 2048, 7));
  other.sync_for_device();
  other.reset();
  EXPECT_EQ(live(), 0u);
}

TEST(MappingOwners, RegistersAreNeverSynced) {
  System system;
  Device device = system.device({.coherent = false});
  Mapping fifo = must(Mapping::map_resource(device, PhysAddr{0xfe41'0024}, 4, Direction::kToDevice));
  fifo.sync_for_device();
  fifo.sync_for_cpu();
  fifo.reset();
  EXPECT_TRUE(no_cache_operations(system));
}

TEST(MappingOwners, DmaDebugFindsNothingToSay) {
  System system(with({.debug = true}));
  Device device = system.device();
  PhysAddr buffer = page(system);
  {
    Mapping mapping = must(Mapping::map(device, buffer, 2048, Direction::kFromDevice));
    SgMapping list = must(SgMapping::map(device, {{.phys = buffer + 2048, .length = 1024}}, Direction::kFromDevice));
    mapping.sync_for_cpu();
    list.sync_for_cpu();
  }
  EXPECT_EQ(system.dma().debug()->errors(), 0u);
  EXPECT_EQ(system.dma().debug()->entries(), 0u);
}

}  // namespace
}  // namespace causeway::dma::testing
