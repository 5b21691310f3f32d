// A domain that outlives kernels, with devices that go on using it.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "base/log.h"
#include "base/point.h"
#include "dma/iommu/testing/behind_iommu.h"

namespace causeway::dma::testing {
namespace {

using iommu::DomainType;
constexpr Direction kBoth = Direction::kBidirectional;

struct Boundary : BehindIommu {
  explicit Boundary(DomainType type = DomainType::kDma) : BehindIommu({.type = type}, {}, {.debug = true}) {
    iommu->set_preserved(true);
  }
  // A page whose bytes survive, as any memory a device keeps using must.
  PhysAddr kept(unsigned order = 0) {
    PhysAddr phys = page(system, order);
    must(system.kho().preserve_page(system.map().page(phys), Order(order)));
    return phys;
  }
  uint64_t misuse() { return system.dma().stats().debug_errors; }
  log::Capture quiet;
};

TEST(IommuRestore, CoherentMemorySurvivesWithTheDeviceWriting) {
  for (uint64_t size : {KiB(4), KiB(20), KiB(64), KiB(136)}) {
    SCOPED_TRACE(size);
    Boundary t;
    Device nic = t.device();
    Coherent ring = must(alloc_attrs(nic, size, kSleep, Attr::kForceContiguous));
    ASSERT_TRUE(t.write(ring.handle, "before"));
    uint64_t token = static_cast<uint64_t>(must(preserve_allocation(nic, ring, Attr::kForceContiguous)));
    PhysAddr block = *t.domain.iova_to_phys(Iova(ring.handle.value()));
    for (int update = 0; update < 3; ++update) {
      t.kexec();
      ASSERT_TRUE(t.write(ring.handle + (size - 6), "during"));
      Device again = t.device();
      Coherent back = must(restore_allocation(again, size, kSleep, Attr::kForceContiguous, Token{token}));
      EXPECT_EQ(back.handle, ring.handle);
      EXPECT_EQ(t.memory(block, 6), "before");
      EXPECT_EQ(std::string(back.as<char>() + size - 6, 6), "during");
      EXPECT_EQ(t.iommu->release_unclaimed(), 0u);
      EXPECT_EQ(t.iommu->stats().mapped, 1u);
      if (update < 2) {
        token = static_cast<uint64_t>(must(preserve_allocation(again, back, Attr::kForceContiguous)));
        continue;
      }
      // The ordinary free: addresses and the whole block.
      const uint64_t free_before = t.system.free_pages();
      must(free_attrs(again, back, Attr::kForceContiguous));
      EXPECT_EQ(t.domain.counts().mapped_bytes, 0u);
      EXPECT_EQ(t.system.free_pages() - free_before, Order::covering(size).pages());
      EXPECT_FALSE(t.write(ring.handle, "after"));
    }
    EXPECT_EQ(t.misuse(), 0u);
  }
}

TEST(IommuRestore, APageOfItsOwnNeedsNoAttribute) {
  Boundary t;
  Device nic = t.device();
  Coherent small = must(alloc_coherent(nic, 100, kSleep));
  ASSERT_TRUE(t.write(small.handle, "small"));
  Token token = must(preserve_allocation(nic, small, Attr::kNone));
  t.kexec();
  Device again = t.device();
  Coherent back = must(restore_allocation(again, 100, kSleep, Attr::kNone, token));
  EXPECT_EQ(std::string(back.as<char>(), 5), "small");
  must(free_coherent(again, back));
  EXPECT_EQ(t.misuse(), 0u);
}

TEST(IommuRestore, WhatCannotBePreservedIsRefused) {
  Boundary t;
  Device nic = t.device();
  Coherent scattered = must(alloc_coherent(nic, KiB(20), kSleep));
  EXPECT_EQ(error_of(preserve_allocation(nic, scattered, Attr::kNone)), EOPNOTSUPP);
  Coherent block = must(alloc_attrs(nic, KiB(20), kSleep, Attr::kForceContiguous));
  t.iommu->set_preserved(false);
  EXPECT_EQ(error_of(preserve_allocation(nic, block, Attr::kForceContiguous)), EOPNOTSUPP);
  t.iommu->set_preserved(true);
  Token token = must(preserve_allocation(nic, block, Attr::kForceContiguous));
  EXPECT_EQ(error_of(free_attrs(nic, block, Attr::kForceContiguous)), EBUSY);
  must(unpreserve_allocation(nic, token));
  must(free_attrs(nic, block, Attr::kForceContiguous));
  must(free_coherent(nic, scattered));
  Device codec = t.device({.coherent = false}, "codec");
  Coherent pooled = must(alloc_coherent(codec, KiB(4), mm::kGfpAtomic));
  EXPECT_EQ(error_of(preserve_allocation(codec, pooled, Attr::kNone)), EOPNOTSUPP);
}

TEST(IommuRestore, WithoutARestoredDomainTheTokenStaysGood) {
  Boundary t;
  Device nic = t.device();
  Coherent ring = must(alloc_attrs(nic, KiB(8), kSleep, Attr::kForceContiguous));
  Token token = must(preserve_allocation(nic, ring, Attr::kForceContiguous));
  t.iommu.reset();
  t.system.kexec(t.boot);
  iommu::MapDomain fresh;
  auto other = must(IommuDma::create(t.system.dma(), fresh, {}));
  Device again = t.system.device();
  must(attach_iommu(again, *other));
  EXPECT_EQ(error_of(restore_allocation(again, KiB(8), kSleep, Attr::kForceContiguous, token)), EOPNOTSUPP);
  detach_iommu(again);
  t.take_over();
  must(attach_iommu(again, *t.iommu));
  must(restore_allocation(again, KiB(8), kSleep, Attr::kForceContiguous, token));
}

// Whatever does not fit: the memory stays reserved, and so does the record.
TEST(IommuRestore, WhatTheDeviceWouldNotFindAnyMoreIsLeaked) {
  struct Case {
    const char* what;
    int error;
    void (*damage)(Boundary&, DmaAddr);
    bool direct = false;
  };
  const Case cases[] = {
      {"not behind the IOMMU any more", ERANGE, [](Boundary&, DmaAddr) {}, true},
      {"a page is unmapped", ERANGE,
       [](Boundary& t, DmaAddr at) {
         iommu::Gather gather;
         t.domain.unmap(Iova(at.value() + KiB(4)), KiB(4), gather);
         t.domain.sync(gather);
       }},
      {"a page leads elsewhere", ERANGE,
       [](Boundary& t, DmaAddr at) {
         iommu::Gather gather;
         t.domain.unmap(Iova(at.value() + KiB(4)), KiB(4), gather);
         t.domain.sync(gather);
         must(t.domain.map(Iova(at.value() + KiB(4)), PhysAddr{0x5000}, KiB(4), iommu::kRead | iommu::kWrite));
       }},
      {"it is somebody's already", ENOENT,
       [](Boundary& t, DmaAddr at) { must(t.iommu->claim(at, KiB(8), Direction::kBidirectional)); }},
  };
  for (const Case& one : cases) {
    SCOPED_TRACE(one.what);
    Boundary t;
    Device nic = t.device();
    Coherent ring = must(alloc_attrs(nic, KiB(8), kSleep, Attr::kForceContiguous));
    PhysAddr block = *t.domain.iova_to_phys(Iova(ring.handle.value()));
    Token token = must(preserve_allocation(nic, ring, Attr::kForceContiguous));
    t.kexec();
    one.damage(t, ring.handle);
    Device again = one.direct ? t.system.device() : t.device();
    Attr attrs = Attr::kForceContiguous;
    EXPECT_EQ(error_of(restore_allocation(again, KiB(8), kSleep, attrs, token)), one.error);
    EXPECT_EQ(t.system.dma().stats().leaked, 1u);
    EXPECT_NE(t.system.state(block), mm::FrameState::kFree);
    EXPECT_EQ(error_of(restore_allocation(again, KiB(8), kSleep, attrs, token)), EINVAL) << "the token is spent";
  }
}

TEST(IommuRestore, MemoryOfTheDirectPathIsNotRestoredBehindAnIommu) {
  Boundary t;
  Device plain = t.system.device();
  Coherent ring = must(alloc_attrs(plain, KiB(8), kSleep, Attr::kForceContiguous));
  Token token = must(preserve_allocation(plain, ring, Attr::kForceContiguous));
  t.kexec();
  Device again = t.device();
  EXPECT_EQ(error_of(restore_allocation(again, KiB(8), kSleep, Attr::kForceContiguous, token)), ERANGE);
}

TEST(IommuRestore, StreamingMapsInFlightAreClaimedAndUnmapped) {
  for (DomainType type : {DomainType::kDma, DomainType::kDmaFq}) {
    Boundary t(type);
    Device nic = t.device();
    PhysAddr buffer = t.kept(3);
    DmaAddr mapped = map_phys(nic, buffer + 0x10, 0x5000, Direction::kFromDevice, Attr::kNone);
    must(mapping_error(nic, mapped));
    DmaAddr forgotten = map_phys(nic, buffer + 0x6000, 0x1000, Direction::kToDevice, Attr::kNone);
    must(mapping_error(nic, forgotten));
    for (int update = 0; update < 3; ++update) {
      t.kexec();
      ASSERT_TRUE(t.write(mapped + 0x4ff0, "abc"));
      EXPECT_EQ(t.memory(buffer + 0x5000, 3), "abc");
      Device again = t.device();
      must(restore_mapping(again, mapped, 0x5000, Direction::kFromDevice));
      EXPECT_EQ(error_of(restore_mapping(again, mapped, 0x5000, Direction::kFromDevice)), ENOENT);
      EXPECT_EQ(t.iommu->stats().unclaimed, update == 0 ? KiB(4) : 0u);
      EXPECT_EQ(t.iommu->release_unclaimed(), update == 0 ? KiB(4) : 0u);
      EXPECT_EQ(t.iommu->release_unclaimed(), 0u);
      EXPECT_FALSE(t.read(forgotten, 4));
      EXPECT_TRUE(t.write(mapped, "def"));
      if (update < 2) continue;
      unmap_phys(again, mapped, 0x5000, Direction::kFromDevice, Attr::kNone);
      t.iommu->drain();
      EXPECT_FALSE(t.write(mapped, "ghi"));
    }
    EXPECT_EQ(t.domain.counts().mapped_bytes, 0u);
    EXPECT_EQ(t.misuse(), 0u);
  }
}

TEST(IommuRestore, WrongClaimsAreRefusedAndHarmNobody) {
  Boundary t;
  Device nic = t.device();
  PhysAddr buffer = t.kept(3);
  DmaAddr mapped = map_phys(nic, buffer, 0x3000, Direction::kToDevice, Attr::kNone);
  must(mapping_error(nic, mapped));
  t.kexec();
  Device again = t.device();
  auto claim = [&](uint64_t offset, uint64_t size, Direction direction = Direction::kToDevice) {
    return error_of(restore_mapping(again, mapped + offset, size, direction));
  };
  EXPECT_EQ(claim(0, 0x4000), ENOENT);
  EXPECT_EQ(claim(0, 0x3001), ENOENT);
  EXPECT_EQ(claim(0, 0), EINVAL);
  EXPECT_EQ(claim(0x1000, 0x2000), EINVAL);
  EXPECT_EQ(claim(0, 0x3000, Direction::kFromDevice), EINVAL);
  EXPECT_EQ(claim(0, 0x3000, kBoth), EINVAL);
  EXPECT_EQ(claim(MiB(64), 0x1000), ENOENT);
  EXPECT_EQ(claim(0, ~uint64_t{0}), EINVAL);
  Device plain = t.system.device({}, "plain");
  EXPECT_EQ(error_of(restore_mapping(plain, mapped, 0x3000, Direction::kToDevice)), EOPNOTSUPP);
  EXPECT_TRUE(t.read(mapped, 4)) << "the device goes on";
  must(restore_mapping(again, mapped, 0x3000, Direction::kToDevice));
  unmap_phys(again, mapped, 0x3000, Direction::kToDevice, Attr::kNone);
  EXPECT_EQ(t.domain.counts().mapped_bytes, 0u);
  EXPECT_EQ(t.misuse(), 0u);
}

// A short claim would make the rest of the mapping somebody else's.
TEST(IommuRestore, AShortClaimIsRefusedWhereItsTailIsMapped) {
  Boundary t;
  Device nic = t.device();
  PhysAddr buffer = t.kept(3);
  DmaAddr mapped = map_phys(nic, buffer, 0x4000, Direction::kToDevice, Attr::kNone);
  must(mapping_error(nic, mapped));
  t.kexec();
  Device again = t.device();
  EXPECT_EQ(error_of(restore_mapping(again, mapped, 0x3000, Direction::kToDevice)), EINVAL);
  must(restore_mapping(again, mapped, 0x4000, Direction::kToDevice));
}

TEST(IommuRestore, ALinkedRangeIsClaimedWhole) {
  Boundary t;
  Device nic = t.device();
  PhysAddr first = t.kept(), second = t.kept();
  IovaState iova;
  ASSERT_TRUE(iova_try_alloc(nic, iova, first + 0x800, 0x1000));
  must(iova_link(nic, iova, first + 0x800, 0, 0x800, kBoth, Attr::kNone));
  must(iova_link(nic, iova, second, 0x800, 0x800, kBoth, Attr::kNone));
  must(iova_sync(nic, iova, 0, 0x1000));
  const DmaAddr address = iova.address;
  t.kexec();
  Device again = t.device();
  EXPECT_EQ(error_of(iova_restore(again, iova, address, 0x1000 | IovaState::kUsedSwiotlb, kBoth, Attr::kNone)), EINVAL);
  must(iova_restore(again, iova, address, 0x1000, kBoth, Attr::kNone));
  ASSERT_TRUE(t.write(address + 0x7fe, "abcd"));
  EXPECT_EQ(t.memory(second, 2), "cd");
  iova_destroy(again, iova, 0x1000, kBoth, Attr::kNone);
  EXPECT_EQ(t.domain.counts().mapped_bytes, 0u);
  t.iommu->release_unclaimed();
  EXPECT_EQ(t.iommu->stats().mapped, 0u);
  EXPECT_EQ(t.misuse(), 0u);
}

TEST(IommuRestore, NobodyIsGivenAddressesOfThePredecessor) {
  Boundary t;
  Device nic = t.device();
  PhysAddr buffer = t.kept(3);
  std::vector<DmaAddr> old;
  for (int i = 0; i < 8; ++i) {
    old.push_back(map_phys(nic, buffer, 0x3000, Direction::kToDevice, Attr::kNone));
    must(mapping_error(nic, old.back()));
  }
  t.kexec();
  Device again = t.device();
  for (int i = 0; i < 64; ++i) {
    DmaAddr fresh = map_phys(again, buffer, 0x1000, Direction::kToDevice, Attr::kNone);
    must(mapping_error(again, fresh));
    for (DmaAddr taken : old) EXPECT_TRUE(fresh < taken || fresh >= taken + 0x4000) << fresh.value();
  }
  for (DmaAddr address : old) must(restore_mapping(again, address, 0x3000, Direction::kToDevice));
}

// A kernel that died between unmap and flush leaves a device that still has the translation.
TEST(IommuRestore, WhatWasUnmappedAndNotFlushedIsFlushedFirst) {
  Boundary t;
  Device nic = t.device();
  PhysAddr buffer = t.kept();
  DmaAddr mapped = map_phys(nic, buffer, 0x1000, Direction::kFromDevice, Attr::kNone);
  must(mapping_error(nic, mapped));
  ASSERT_TRUE(t.write(mapped, "abc"));
  iommu::Gather lost;
  t.domain.unmap(Iova(mapped.value()), 0x1000, lost);
  ASSERT_TRUE(t.write(mapped, "abc")) << "by the IOTLB";
  t.kexec();
  EXPECT_FALSE(t.write(mapped, "def"));
}

TEST(IommuRestore, ARestoredDomainHasToSayWhatItHas) {
  Boundary t;
  t.iommu.reset();
  EXPECT_EQ(error_of(IommuDma::create(t.system.dma(), t.domain, {.restored = true})), EINVAL);
  t.take_over();
  EXPECT_TRUE(t.iommu->is_restored());
}

TEST(IommuRestore, ReservedRegionsKeepTheirMaps) {
  Boundary t;
  must(t.domain.map(Iova{0x10000}, PhysAddr{0x10000}, KiB(64), iommu::kRead | iommu::kWrite));
  t.iommu.reset();
  t.system.kexec(t.boot);
  IommuDmaOptions options = t.restored_options();
  options.reserved = {{.start = Iova{0x10000}, .end = Iova{0x1ffff}, .kind = ReservedRegion::Kind::kDirect}};
  t.iommu = must(IommuDma::create(t.system.dma(), t.domain, options));
  EXPECT_EQ(t.iommu->stats().unclaimed, 0u);
  EXPECT_EQ(t.iommu->release_unclaimed(), 0u);
  EXPECT_EQ(t.domain.counts().mapped_bytes, KiB(64));
}

// Killed while claiming, before its own handover was committed: the next kernel finds everything again.
TEST(IommuRestore, KilledInTheMiddleOfARestoreTheNextFindsEverything) {
  if (!has_points()) GTEST_SKIP() << "built without named points";
  struct Killed {};
  for (const char* name : {"dma.restore.before_check", "dma.restore.after_check", "dma.iommu.claim",
                           "dma.restore.before_pages", "dma.restore.after_pages", "dma.restore.after_record"}) {
    SCOPED_TRACE(name);
    Boundary t;
    Device nic = t.device();
    Coherent ring = must(alloc_attrs(nic, KiB(12), kSleep, Attr::kForceContiguous));
    ASSERT_TRUE(t.write(ring.handle, "ring"));
    Token token = must(preserve_allocation(nic, ring, Attr::kForceContiguous));
    t.kexec();
    {
      Device dying = t.device();
      must(point::on_hit(name, []() -> Status { throw Killed{}; }));
      EXPECT_THROW((void)restore_allocation(dying, KiB(12), kSleep, Attr::kForceContiguous, token), Killed);
      point::disarm_all();
    }
    t.crash();
    Device again = t.device();
    Coherent back = must(restore_allocation(again, KiB(12), kSleep, Attr::kForceContiguous, token));
    EXPECT_EQ(std::string(back.as<char>(), 4), "ring");
    EXPECT_EQ(t.iommu->release_unclaimed(), 0u);
  }
}

}  // namespace
}  // namespace causeway::dma::testing
