// alloc_pages, alloc_noncoherent and noncontiguous memory (spec section 1.4, scenarios 20, 22, 25 and 26).
#include "dma/alloc_pages.h"

#include <gtest/gtest.h>

#include <cstring>

#include "base/log.h"
#include "base/warn_once.h"
#include "dma/iommu/iommu_dma.h"
#include "dma/noncontiguous.h"
#include "dma/state.h"
#include "dma/testing/boot.h"
#include "dma/user_map.h"
#include "iommu/map_domain.h"

namespace causeway::dma::testing {
namespace {

constexpr Direction kIn = Direction::kFromDevice;

// 25
TEST(AllocPages, ZonesAndCompoundPagesAreRefusedWithAWarning) {
  System system;
  Device device = system.device();
  log::clear_warn_once();
  log::Capture capture;
  EXPECT_EQ(error_of(alloc_pages(device, KiB(4), kIn, kSleep | mm::kGfpDma32)), EINVAL);
  EXPECT_TRUE(capture.contains("a zone was asked for"));
  EXPECT_EQ(error_of(alloc_pages(device, KiB(4), kIn, kSleep | mm::Gfp::kComp)), EINVAL);
  EXPECT_TRUE(capture.contains("a compound page was asked for"));
  EXPECT_EQ(error_of(alloc_pages(device, 0, kIn, kSleep)), EINVAL);
  EXPECT_EQ(error_of(alloc_pages(device, ~uint64_t{0}, kIn, kSleep)), ENOMEM);
  // In alloc_attrs the zone is silently dropped.
  log::Capture silent;
  must(free_coherent(device, must(alloc_coherent(device, KiB(4), kSleep | mm::kGfpDma32))));
  EXPECT_TRUE(silent.lines().empty());
}

TEST(AllocPages, SizesAreWholePagesAndMemoryIsZeroedWhenAsked) {
  System system;
  Device device = system.device({.coherent = false});
  const uint64_t before = system.free_pages();
  DmaPages dirty = must(alloc_pages(device, KiB(8), kIn, kSleep));
  std::memset(system.map().address(dirty.page), 0xff, KiB(8));
  must(free_pages(device, dirty, kIn));
  DmaPages pages = must(alloc_pages(device, KiB(4) + 1, kIn, kSleep | mm::kGfpZero));
  EXPECT_EQ(pages.size, KiB(8));
  EXPECT_EQ(pages.handle.value(), system.map().phys(pages.page).value());
  for (uint64_t i = 0; i < KiB(8); ++i) ASSERT_EQ(system.map().address(pages.page)[i], std::byte{0});
  EXPECT_EQ(system.dma().state().attributes.changed_pages(), 0u) << "cached, and mapped nowhere else";
  must(free_pages(device, pages, kIn));
  EXPECT_EQ(system.free_pages(), before);
}

// 20
TEST(AllocPages, ANarrowMaskIsNeverGivenMemoryBeyondIt) {
  System system({}, MiB(128));
  Device device = system.device();
  must(device.set_mask_and_coherent(bit_mask(25)));
  DmaPages pages = must(alloc_pages(device, KiB(64), kIn, kSleep));
  EXPECT_LE(pages.handle.value() + pages.size - 1, bit_mask(25));
  must(free_pages(device, pages, kIn));
}

TEST(AllocPages, WhatDoesNotFitItsAllocationIsNotFreed) {
  System system;
  Device device = system.device();
  Coherent coherent = must(alloc_coherent(device, KiB(8), kSleep));
  DmaPages pages = must(alloc_pages(device, KiB(8), kIn, kSleep));
  const uint64_t before = system.free_pages();
  DmaPages wrong = pages;
  wrong.size = KiB(4);
  EXPECT_EQ(error_of(free_pages(device, wrong, kIn)), EINVAL);
  wrong = pages;
  wrong.handle += kPageSize;
  EXPECT_EQ(error_of(free_pages(device, wrong, kIn)), EINVAL);
  EXPECT_EQ(error_of(free_coherent(device, {system.map().address(pages.page), pages.handle, pages.size})), EINVAL)
      << "freed as coherent memory";
  EXPECT_EQ(error_of(free_noncoherent(device, coherent, kIn)), EINVAL) << "and the other way round";
  EXPECT_EQ(error_of(preserve_allocation(
                device, {system.map().address(pages.page), pages.handle, pages.size}, Attr::kNone)),
            EINVAL);
  EXPECT_EQ(system.free_pages(), before);
  must(free_pages(device, pages, kIn));
  EXPECT_EQ(error_of(free_pages(device, pages, kIn)), EINVAL) << "twice";
  must(free_pages(device, {}, kIn));
  must(free_coherent(device, coherent));
}

// 22
TEST(AllocPages, SharedMemoryIsDecryptedAndFromTheAtomicPoolsWithoutBlocking) {
  System system;
  Device device = system.device({.force_unencrypted = true});
  PageAttributes& attributes = system.dma().state().attributes;
  const uint64_t changed = attributes.changed_pages();
  DmaPages pages = must(alloc_pages(device, KiB(16), kIn, kSleep));
  EXPECT_EQ(attributes.changed_pages(), changed + 4);
  must(free_pages(device, pages, kIn));
  EXPECT_EQ(attributes.changed_pages(), changed);
  DmaPages atomic = must(alloc_pages(device, KiB(4), kIn, mm::kGfpAtomic));
  EXPECT_TRUE(system.dma().state().atomic_pools->contains(system.map().phys(atomic.page), KiB(4)));
  must(free_pages(device, atomic, kIn));
  if (!has_points()) return;
  const uint64_t before = system.free_pages();
  {
    FailingStep refused("dma.attributes.decrypt", EIO);
    EXPECT_EQ(error_of(alloc_pages(device, KiB(16), kIn, kSleep)), EIO);
  }
  EXPECT_EQ(system.free_pages(), before - 4) << "withheld for ever";
  EXPECT_EQ(system.dma().stats().withheld_pages, 4u);
}

TEST(AllocNoncoherent, IsTheSameByCpuAddress) {
  System system;
  Device device = system.device();
  const uint64_t before = system.free_pages();
  Coherent memory = must(alloc_noncoherent(device, 100, kIn, kSleep));
  EXPECT_EQ(memory.cpu, system.at(PhysAddr{memory.handle.value()}));
  must(free_noncoherent(device, memory, kIn));
  must(free_noncoherent(device, {}, kIn));
  int local = 0;
  EXPECT_EQ(error_of(free_noncoherent(device, {&local, memory.handle, 100}, kIn)), EINVAL);
  EXPECT_EQ(system.free_pages(), before);
}

// 26
TEST(Noncontiguous, AttributesAndCompoundPagesAreRefusedWithAWarning) {
  System system;
  Device device = system.device();
  log::clear_warn_once();
  log::Capture capture;
  EXPECT_EQ(error_of(alloc_noncontiguous(device, KiB(8), kIn, kSleep, Attr::kWriteCombine)), EINVAL);
  EXPECT_TRUE(capture.contains("noncontiguous memory with attributes 0x4"));
  EXPECT_EQ(error_of(alloc_noncontiguous(device, KiB(8), kIn, kSleep | mm::Gfp::kComp, Attr::kNone)), EINVAL);
  EXPECT_TRUE(capture.contains("compound"));
  EXPECT_EQ(error_of(alloc_noncontiguous(device, 0, kIn, kSleep, Attr::kNone)), EINVAL);
  EXPECT_EQ(error_of(alloc_noncontiguous(device, GiB(4), kIn, kSleep, Attr::kNone)), EINVAL);
}

// 26
TEST(Noncontiguous, OnTheDirectPathItIsOneSegment) {
  System system;
  Device device = system.device();
  const uint64_t before = system.free_pages();
  Noncontiguous memory = must(alloc_noncontiguous(device, KiB(10), kIn, kSleep, Attr::kAllocSinglePages));
  EXPECT_EQ(memory.table.mapped, 1u);
  ASSERT_EQ(memory.table.entries.size(), 1u);
  EXPECT_EQ(memory.table.entries[0].dma_length, KiB(12));
  void* address = must(vmap_noncontiguous(device, memory));
  EXPECT_EQ(address, system.at(memory.table.entries[0].phys));
  vunmap_noncontiguous(device, memory, address);
  must(free_noncontiguous(device, memory, kIn));
  must(free_noncontiguous(device, memory, kIn));  // empty by now
  EXPECT_EQ(system.free_pages(), before);
}

struct BehindIommu {
  explicit BehindIommu(System& system)
      : device(system.device()), iommu(must(IommuDma::create(system.dma(), domain, {}))) {
    must(attach_iommu(device, *iommu));
  }
  ~BehindIommu() { detach_iommu(device); }
  iommu::MapDomain domain;
  Device device;
  std::unique_ptr<IommuDma> iommu;
};

// 26
TEST(Noncontiguous, BehindAnIommuScatteredPagesAreOneRangeToTheDevice) {
  System system;
  BehindIommu t(system);
  Noncontiguous memory = must(alloc_noncontiguous(t.device, KiB(20), kIn, kSleep, Attr::kAllocSinglePages));
  EXPECT_EQ(memory.table.mapped, 1u);
  EXPECT_GE(memory.table.entries.size(), 1u);
  EXPECT_EQ(memory.table.entries[0].dma_length, KiB(20));
  uint64_t bytes = 0;
  for (const ScatterEntry& entry : memory.table.entries) bytes += entry.length;
  EXPECT_EQ(bytes, KiB(20));
  EXPECT_EQ(t.iommu->stats().mapped, 1u) << "one range of addresses";
  // The device's view and the CPU's are the same pages in the same order.
  auto* cpu = static_cast<uint64_t*>(must(vmap_noncontiguous(t.device, memory)));
  for (uint64_t page = 0; page < 5; ++page) {
    cpu[page * 512] = 100 + page;
    Iova iova(memory.table.entries[0].dma_address.value() + (page << kPageShift));
    EXPECT_EQ(*reinterpret_cast<uint64_t*>(system.at(*t.domain.iova_to_phys(iova))), 100 + page);
  }
  UserMapping part = must(mmap_noncontiguous(t.device, memory, 1, 3));
  uint64_t mapped = 0;
  for (const UserMapping::Piece& piece : part.pieces) mapped += piece.size;
  EXPECT_EQ(mapped, KiB(12));
  vunmap_noncontiguous(t.device, memory, cpu);
  must(free_noncontiguous(t.device, memory, kIn));
  EXPECT_EQ(t.iommu->stats().mapped, 0u);
}

TEST(AllocPages, BehindAnIommuThePagesAreMappedThere) {
  System system;
  BehindIommu t(system);
  DmaPages pages = must(alloc_pages(t.device, KiB(16), kIn, kSleep));
  EXPECT_EQ(t.domain.iova_to_phys(Iova(pages.handle.value())), system.map().phys(pages.page));
  EXPECT_EQ(t.iommu->stats().mapped, 1u);
  must(free_pages(t.device, pages, kIn));
  EXPECT_EQ(t.iommu->stats().mapped, 0u);
}

// 74, row 8, and 8.8: the way back is refused too, and the token stays good.
TEST(PreserveDispatch, ADeviceAttachedToAnIommuIsRefusedOnBothSides) {
  System system;
  Token token;
  {
    Device device = system.device();
    Coherent memory = must(alloc_coherent(device, KiB(8), kSleep));
    token = must(preserve_allocation(device, memory, Attr::kNone));
    BehindIommu t(system);
    Coherent translated = must(alloc_coherent(t.device, KiB(8), kSleep));
    EXPECT_EQ(error_of(preserve_allocation(t.device, translated, Attr::kNone)), EOPNOTSUPP);
    must(free_coherent(t.device, translated));
  }
  system.kexec();
  {
    BehindIommu t(system);
    EXPECT_EQ(error_of(restore_allocation(t.device, KiB(8), kSleep, Attr::kNone, token)), EOPNOTSUPP);
  }
  EXPECT_EQ(system.dma().stats().leaked, 0u);
  Device device = system.device();
  must(free_coherent(device, must(restore_allocation(device, KiB(8), kSleep, Attr::kNone, token))));
}

}  // namespace
}  // namespace causeway::dma::testing
