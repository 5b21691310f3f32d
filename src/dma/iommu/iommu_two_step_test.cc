#include <gtest/gtest.h>

#include "dma/iommu/testing/behind_iommu.h"

namespace causeway::dma::testing {
namespace {

using iommu::DomainType;
constexpr Direction kBoth = Direction::kBidirectional;
constexpr Direction kIn = Direction::kFromDevice;

// 55
TEST(IommuTwoStep, LinkedPiecesAreReachableOnceSyncedAndGoneAtOnceWhenDestroyed) {
  BehindIommu setup({.type = DomainType::kDmaFq, .cache_invalid = true});
  Device nvme = setup.device();
  IovaState state;
  PhysAddr pieces[3] = {page(setup.system), page(setup.system), page(setup.system)};
  ASSERT_TRUE(iova_try_alloc(nvme, state, pieces[0], KiB(12)));
  EXPECT_FALSE(setup.write(state.address, "early"));  // and the IOMMU remembers that
  for (uint64_t i = 0; i < 3; ++i) must(iova_link(nvme, state, pieces[i], i * KiB(4), KiB(4), kIn, Attr::kNone));
  EXPECT_FALSE(setup.write(state.address, "early"));
  must(iova_sync(nvme, state, 0, KiB(12)));
  for (uint64_t i = 0; i < 3; ++i) {
    EXPECT_TRUE(setup.write(state.address + i * KiB(4), "data"));
    EXPECT_EQ(setup.memory(pieces[i], 4), "data");
  }
  const DmaAddr address = state.address;
  iova_destroy(nvme, state, KiB(12), kIn, Attr::kNone);
  EXPECT_FALSE(setup.write(address, "late"));
  EXPECT_EQ(setup.mapped_bytes(), 0u);
  EXPECT_EQ(setup.iommu->stats().queued, 0u);
  EXPECT_TRUE(state.in_use());  // as in the kernel: to be reset before it is used again
  IovaState next;
  ASSERT_TRUE(iova_try_alloc(nvme, next, pieces[0], KiB(12)));
  EXPECT_EQ(next.address, address);
}

// 56
TEST(IommuTwoStep, WhatCannotBeLinkedIsRefused) {
  BehindIommu setup;
  Device nvme = setup.device();
  PhysAddr memory = page(setup.system, 2);
  IovaState state;
  LogCount log("two-step map");
  EXPECT_FALSE(iova_try_alloc(nvme, state, memory, 0));
  EXPECT_EQ(log.count(), 1u);
  log::clear_warn_once();
  EXPECT_FALSE(iova_try_alloc(nvme, state, memory, uint64_t{1} << 63));
  EXPECT_EQ(log.count(), 2u);
  EXPECT_FALSE(iova_try_alloc(nvme, state, memory, IovaState::kUsedSwiotlb - 1));
  EXPECT_FALSE(state.in_use());

  ASSERT_TRUE(iova_try_alloc(nvme, state, memory + 0x800, KiB(8)));
  EXPECT_EQ(state.address.page_offset(), 0x800u);
  EXPECT_EQ(error_of(iova_link(nvme, state, memory + 0x900, 0, KiB(4), kIn, Attr::kNone)), EINVAL);
  EXPECT_EQ(error_of(iova_link(nvme, state, memory, 0, KiB(4), kIn, Attr::kNone)), EINVAL);
  must(iova_link(nvme, state, memory + 0x800, 0, 0x800, kIn, Attr::kNone));
  EXPECT_EQ(error_of(iova_link(nvme, state, memory + 0x1800, 0x800, KiB(4), kIn, Attr::kNone)), EIO);
  EXPECT_EQ(error_of(iova_link(nvme, state, memory, 0x400, KiB(4), kIn, Attr::kNone)), EINVAL);  // not on the boundary
  EXPECT_EQ(error_of(iova_link(nvme, state, memory, 0x800, KiB(64), kIn, Attr::kNone)), EINVAL);
  EXPECT_EQ(error_of(iova_link(nvme, state, memory, ~uint64_t{0} - 0xfff, KiB(4), kIn, Attr::kNone)), EINVAL);
  EXPECT_EQ(error_of(iova_link(nvme, state, memory, 0, 0, kIn, Attr::kNone)), EINVAL);
  EXPECT_EQ(error_of(iova_sync(nvme, state, 0, KiB(64))), EINVAL);
  iova_destroy(nvme, state, 0x800, kIn, Attr::kNone);
  EXPECT_EQ(setup.iommu->stats().mapped, 0u);
  EXPECT_EQ(setup.mapped_bytes(), 0u);
}

// 50
TEST(IommuTwoStep, TheKmallocRuleIsNotAboutRegistersUnlessAsInLinux) {
  for (bool compat : {false, true}) {
    BehindIommu setup({}, {}, {.bounce_unaligned_kmalloc = true, .compat_link_mmio_bounce = compat});
    Device codec = setup.device({.coherent = false});
    const PhysAddr fifo{0xfe410024};
    DmaAddr address = map_phys(codec, fifo, 4, kIn, Attr::kMmio);
    EXPECT_NE(address, kMappingError);
    IovaState state;
    ASSERT_TRUE(iova_try_alloc(codec, state, fifo, 4));
    EXPECT_EQ(error_of(iova_link(codec, state, fifo, 0, 4, kIn, Attr::kMmio)), compat ? EPERM : 0);
    EXPECT_TRUE(no_cache_operations(setup.system));
  }
}

// 8
TEST(IommuTwoStep, AnIncoherentDeviceCannotLinkWhatMustBeCoherent) {
  BehindIommu setup;
  Device codec = setup.device({.coherent = false});
  PhysAddr memory = page(setup.system);
  IovaState state;
  ASSERT_TRUE(iova_try_alloc(codec, state, memory, KiB(4)));
  EXPECT_EQ(error_of(iova_link(codec, state, memory, 0, KiB(4), kIn, Attr::kRequireCoherent)), EOPNOTSUPP);
}

TEST(IommuTwoStep, CachesAreMaintainedPieceByPieceAndWaitedForOnce) {
  BehindIommu setup;
  Device codec = setup.device({.coherent = false});
  PhysAddr memory = page(setup.system, 1);
  IovaState state;
  ASSERT_TRUE(iova_try_alloc(codec, state, memory, KiB(8)));
  for (uint64_t offset : {uint64_t{0}, KiB(4)})
    must(iova_link(codec, state, memory + offset, offset, KiB(4), kIn, Attr::kNone));
  EXPECT_EQ(cache_operations(setup.system).for_device, 2u);
  EXPECT_EQ(cache_operations(setup.system).flushes, 0u);
  must(iova_sync(codec, state, 0, KiB(8)));
  EXPECT_EQ(cache_operations(setup.system).flushes, 1u);
  iova_destroy(codec, state, KiB(8), kIn, Attr::kNone);
  EXPECT_EQ(cache_operations(setup.system).for_cpu, 2u);
  EXPECT_EQ(cache_operations(setup.system).flushes, 2u);
}

class UntrustedTwoStep : public ::testing::Test {
 protected:
  UntrustedTwoStep() {
    nvme.set_swiotlb(pool.get());
    std::memset(setup.system.at(memory), 'x', KiB(16));
  }
  BehindIommu setup;
  std::unique_ptr<Swiotlb> pool = make_pool(setup.system);
  Device nvme = setup.device({.untrusted = true});
  PhysAddr memory = page(setup.system, 2);
  PhysAddr start = memory + 0xe00;
  const uint64_t size = 0x200 + KiB(4) + 0x300;  // head, a whole page, tail
  IovaState state;
};

// 57
TEST_F(UntrustedTwoStep, TheEndsAreBouncedAndTheMiddleIsNot) {
  nvme.set_parameters({.min_align_mask = 0xfff});
  ASSERT_TRUE(iova_try_alloc(nvme, state, start, size));
  must(iova_link(nvme, state, start, 0, size, kBoth, Attr::kNone));
  must(iova_sync(nvme, state, 0, size));
  EXPECT_NE(state.size_and_flag & IovaState::kUsedSwiotlb, 0u);
  EXPECT_EQ(state.size(), size);
  EXPECT_EQ(error_of(iova_link(nvme, state, memory, 0, KiB(4), kBoth, Attr::kRequireCoherent)), EOPNOTSUPP);
  EXPECT_EQ(setup.domain.iova_to_phys(Iova(state.address.value() + 0x200)), memory + KiB(4));
  EXPECT_TRUE(pool->contains(nvme, *setup.domain.iova_to_phys(Iova(state.address.value()))));
  EXPECT_TRUE(pool->contains(nvme, *setup.domain.iova_to_phys(Iova(state.address.value() + 0x1200))));
  EXPECT_EQ(setup.read(state.address - 0xe00, 3 * KiB(4)),
            std::string(0xe00, '\0') + std::string(size, 'x') + std::string(0xd00, '\0'));
  EXPECT_TRUE(setup.write(state.address, std::string(size, 'y')));
  EXPECT_EQ(setup.memory(start, 0x200), std::string(0x200, 'x'));
  const DmaAddr address = state.address;
  iova_destroy(nvme, state, size, kBoth, Attr::kNone);
  EXPECT_EQ(setup.memory(memory, KiB(12)),
            std::string(0xe00, 'x') + std::string(size, 'y') + std::string(0xd00, 'x'));
  EXPECT_FALSE(setup.write(address, "late"));
  EXPECT_EQ(pool->stats().used, 0u);
  EXPECT_EQ(setup.iommu->stats().mapped, 0u);
}

// 57
TEST_F(UntrustedTwoStep, WithoutTheAlignmentMaskABouncedHeadIsRefused) {
  ASSERT_TRUE(iova_try_alloc(nvme, state, start, size));
  EXPECT_EQ(error_of(iova_link(nvme, state, start, 0, size, kBoth, Attr::kNone)), EINVAL);
  EXPECT_EQ(pool->stats().used, 0u);
  EXPECT_EQ(setup.mapped_bytes(), 0u);
}

// 57
TEST_F(UntrustedTwoStep, ATailThatCannotBeBouncedTakesHeadAndMiddleWithIt) {
  nvme.set_parameters({.min_align_mask = 0xfff});
  ASSERT_TRUE(iova_try_alloc(nvme, state, start, size));
  setup.domain.fail_map(3, ENOMEM);
  EXPECT_EQ(error_of(iova_link(nvme, state, start, 0, size, kBoth, Attr::kNone)), ENOMEM);
  EXPECT_EQ(pool->stats().used, 0u);
  EXPECT_EQ(setup.mapped_bytes(), 0u);
  iova_free(nvme, state);
  EXPECT_EQ(setup.iommu->stats().mapped, 0u);
  EXPECT_EQ(setup.memory(start, size), std::string(size, 'x'));
}

// 58
TEST(IommuTwoStep, OnlyWhatWasLinkedIsDestroyed) {
  BehindIommu setup;
  Device nvme = setup.device();
  PhysAddr memory = page(setup.system, 2);
  IovaState state;
  ASSERT_TRUE(iova_try_alloc(nvme, state, memory, KiB(16)));
  setup.domain.fail_map(3, ENOMEM);
  uint64_t mapped = 0;
  while (iova_link(nvme, state, memory + mapped, mapped, KiB(4), kIn, Attr::kNone)) mapped += KiB(4);
  EXPECT_EQ(mapped, KiB(8));
  LogCount log("unlink");
  iova_destroy(nvme, state, mapped, kIn, Attr::kNone);
  EXPECT_EQ(log.lines(), 0u);
  EXPECT_EQ(setup.mapped_bytes(), 0u);
  EXPECT_EQ(setup.iommu->stats().mapped, 0u);

  ASSERT_TRUE(iova_try_alloc(nvme, state, memory, KiB(16)));
  const uint64_t syncs = setup.domain.counts().syncs;
  iova_destroy(nvme, state, 0, kIn, Attr::kNone);
  EXPECT_EQ(setup.domain.counts().syncs, syncs);
  EXPECT_EQ(setup.iommu->stats().mapped, 0u);
}

TEST(IommuTwoStep, AnUnlinkOfMoreThanWasLinkedIsReported) {
  BehindIommu setup;
  Device nvme = setup.device();
  IovaState state;
  PhysAddr memory = page(setup.system);
  ASSERT_TRUE(iova_try_alloc(nvme, state, memory, KiB(8)));
  must(iova_link(nvme, state, memory, 0, KiB(4), kIn, Attr::kNone));
  LogCount log("unlink");
  iova_unlink(nvme, state, 0, KiB(8), kIn, Attr::kNone);
  EXPECT_EQ(log.count(), 1u);
  iova_unlink(nvme, state, 0, KiB(64), kIn, Attr::kNone);
  EXPECT_EQ(log.count(), 2u);
  EXPECT_EQ(setup.mapped_bytes(), 0u);
}

}  // namespace
}  // namespace causeway::dma::testing
