#include "iommu/map_domain.h"

#include <gtest/gtest.h>

#include <bit>
#include <utility>
#include <vector>

#include "base/testing/results.h"
#include "hw/dma_engine.h"
#include "iommu/msi_doorbells.h"
#include "iommu/testing/domain_translation.h"
#include "machine/dma_port.h"
#include "machine/testing/dma_engine_fixture.h"

namespace causeway::iommu {
namespace {

constexpr uint32_t kAll = kRead | kWrite;

TEST(MapDomain, MapsUnmapsAndTranslates) {
  MapDomain domain;
  must(domain.map(Iova{0x10000}, PhysAddr{0x7000}, KiB(8), kAll | kCache));
  EXPECT_EQ(domain.iova_to_phys(Iova{0x11234}), PhysAddr{0x8234});
  EXPECT_FALSE(domain.iova_to_phys(Iova{0x12000}));
  EXPECT_EQ(domain.find(Iova{0x10000})->prot, kAll | kCache);
  EXPECT_EQ(domain.counts().mapped_bytes, KiB(8));
  MapDomain::Run run = domain.translate(Iova{0x10100}, KiB(16), kWrite);
  EXPECT_EQ(run.phys, PhysAddr{0x7100});
  EXPECT_EQ(run.bytes, KiB(8) - 0x100);
  EXPECT_EQ(domain.translate(Iova{0x10100}, 4, kWrite).bytes, 4u);
  Gather gather;
  EXPECT_EQ(domain.unmap(Iova{0x10000}, KiB(8), gather), KiB(8));
  EXPECT_EQ(gather.start, Iova{0x10000});
  EXPECT_EQ(gather.end, Iova{0x11fff});
  EXPECT_EQ(domain.counts().mapped_bytes, 0u);
}

TEST(MapDomain, RefusesWhatIsNotWholeFreeGranules) {
  MapDomain domain({.page_sizes = KiB(4), .aperture = {Iova{0x1000}, Iova{0xffffff}}});
  EXPECT_EQ(error_of(domain.map(Iova{0x1800}, PhysAddr{0}, KiB(4), kAll)), EINVAL);
  EXPECT_EQ(error_of(domain.map(Iova{0x1000}, PhysAddr{0x10}, KiB(4), kAll)), EINVAL);
  EXPECT_EQ(error_of(domain.map(Iova{0x1000}, PhysAddr{0}, 100, kAll)), EINVAL);
  EXPECT_EQ(error_of(domain.map(Iova{0x1000}, PhysAddr{0}, 0, kAll)), EINVAL);
  EXPECT_EQ(error_of(domain.map(Iova{0x1000}, PhysAddr{0}, KiB(4), kCache)), EINVAL);
  EXPECT_EQ(error_of(domain.map(Iova{0}, PhysAddr{0}, KiB(4), kAll)), ERANGE);
  EXPECT_EQ(error_of(domain.map(Iova{0xfff000}, PhysAddr{0}, KiB(8), kAll)), ERANGE);
  EXPECT_EQ(error_of(domain.map(Iova{~uint64_t{0} - 0xfff}, PhysAddr{0}, KiB(8), kAll)), ERANGE);
  EXPECT_EQ(error_of(domain.map(Iova{0x1000}, PhysAddr{uint64_t{1} << 52}, KiB(4), kAll)), ERANGE);
  EXPECT_EQ(domain.counts().maps, 0u);
}

TEST(MapDomain, AMapOverAnotherChangesNothing) {
  MapDomain domain;
  must(domain.map(Iova{MiB(2)}, PhysAddr{0x5000}, KiB(4), kAll));
  // The first 512 pages lie in another table than the one in the way.
  EXPECT_EQ(error_of(domain.map(Iova{0}, PhysAddr{MiB(16)}, MiB(4), kAll)), EADDRINUSE);
  EXPECT_EQ(domain.counts().mapped_bytes, KiB(4));
  EXPECT_FALSE(domain.iova_to_phys(Iova{0}));
  EXPECT_EQ(domain.iova_to_phys(Iova{MiB(2)}), PhysAddr{0x5000});
}

TEST(MapDomain, AnUnmapEndsAtTheFirstHole) {
  MapDomain domain;
  must(domain.map(Iova{0x10000}, PhysAddr{0}, KiB(8), kAll));
  must(domain.map(Iova{0x13000}, PhysAddr{0}, KiB(4), kAll));
  Gather gather;
  EXPECT_EQ(domain.unmap(Iova{0x10000}, KiB(16), gather), KiB(8));
  EXPECT_TRUE(domain.iova_to_phys(Iova{0x13000}));
  Gather none;
  EXPECT_EQ(domain.unmap(Iova{0x10000}, KiB(4), none), 0u);
  EXPECT_EQ(domain.unmap(Iova{0x13001}, KiB(4), none), 0u);
  EXPECT_TRUE(none.empty());
}

TEST(MapDomain, TheNthMapFails) {
  MapDomain domain;
  domain.fail_map(2, EIO);
  must(domain.map(Iova{0x1000}, PhysAddr{0}, KiB(4), kAll));
  EXPECT_EQ(error_of(domain.map(Iova{0x2000}, PhysAddr{0}, KiB(4), kAll)), EIO);
  must(domain.map(Iova{0x2000}, PhysAddr{0}, KiB(4), kAll));
}

// 88
TEST(MapDomain, ATranslationThatWasUsedStaysUsableUntilItIsFlushed) {
  MapDomain domain;
  must(domain.map(Iova{0x10000}, PhysAddr{0x7000}, KiB(8), kAll));
  EXPECT_EQ(domain.translate(Iova{0x10000}, 4, kWrite).bytes, 4u);  // the second page is not used
  Gather gather;
  domain.unmap(Iova{0x10000}, KiB(8), gather);
  EXPECT_EQ(domain.translate(Iova{0x10000}, 4, kWrite).phys, PhysAddr{0x7000});
  EXPECT_EQ(domain.translate(Iova{0x11000}, 4, kWrite).bytes, 0u);
  domain.sync(gather);
  EXPECT_TRUE(gather.empty());
  EXPECT_EQ(domain.translate(Iova{0x10000}, 4, kWrite).bytes, 0u);

  must(domain.map(Iova{0x10000}, PhysAddr{0x9000}, KiB(4), kAll));
  EXPECT_EQ(domain.translate(Iova{0x10000}, 4, kRead).phys, PhysAddr{0x9000});
  domain.unmap(Iova{0x10000}, KiB(4), gather);
  domain.flush_all();
  EXPECT_EQ(domain.translate(Iova{0x10000}, 4, kRead).bytes, 0u);
}

TEST(MapDomain, AFlushOfOneRangeLeavesOthers) {
  MapDomain domain;
  for (uint64_t iova : {0x10000, 0x20000}) {
    must(domain.map(Iova{iova}, PhysAddr{iova}, KiB(4), kAll));
    domain.translate(Iova{iova}, 4, kRead);
  }
  Gather first, second;
  domain.unmap(Iova{0x10000}, KiB(4), first);
  domain.unmap(Iova{0x20000}, KiB(4), second);
  domain.sync(first);
  EXPECT_EQ(domain.translate(Iova{0x10000}, 4, kRead).bytes, 0u);
  EXPECT_EQ(domain.translate(Iova{0x20000}, 4, kRead).bytes, 4u);
}

TEST(MapDomain, ARememberedFaultStaysUntilTheMapIsSynced) {
  for (bool cached : {false, true}) {
    MapDomain domain({.cache_invalid = cached});
    EXPECT_EQ(domain.translate(Iova{0x10000}, 4, kRead).bytes, 0u);
    must(domain.map(Iova{0x10000}, PhysAddr{0x7000}, KiB(4), kAll));
    EXPECT_EQ(domain.translate(Iova{0x10000}, 4, kRead).bytes, cached ? 0u : 4u);
    domain.sync_map(Iova{0x10000}, KiB(4));
    EXPECT_EQ(domain.translate(Iova{0x10000}, 4, kRead).bytes, 4u);
  }
}

TEST(MapDomain, AccessIsChecked) {
  MapDomain domain;
  must(domain.map(Iova{0x10000}, PhysAddr{0x7000}, KiB(4), kRead));
  EXPECT_EQ(domain.translate(Iova{0x10000}, 4, kRead).bytes, 4u);
  EXPECT_EQ(domain.translate(Iova{0x10000}, 4, kWrite).bytes, 0u);
  EXPECT_EQ(domain.translate(Iova{~uint64_t{0}}, 4, kRead).bytes, 0u);
  MapDomain identity({.type = DomainType::kIdentity});
  EXPECT_EQ(identity.translate(Iova{0x1234}, 8, kWrite).phys, PhysAddr{0x1234});
  MapDomain blocked({.type = DomainType::kBlocked});
  must(blocked.map(Iova{0x10000}, PhysAddr{0x7000}, KiB(4), kAll));
  EXPECT_EQ(blocked.translate(Iova{0x10000}, 4, kRead).bytes, 0u);
}

TEST(MapDomain, ItsLeavesAreVisitedInOrder) {
  MapDomain domain;
  const uint64_t last = domain.aperture().end.value() - 0xfff;
  must(domain.map(Iova{last}, PhysAddr{0x9000}, KiB(4), kRead));
  must(domain.map(Iova{MiB(2) - 0x1000}, PhysAddr{0x7000}, KiB(8), kAll));
  std::vector<std::pair<uint64_t, uint64_t>> seen;
  domain.for_each_leaf([&](const IoPageTable::Leaf& leaf) {
    EXPECT_EQ(leaf.size, KiB(4));
    EXPECT_EQ(leaf.prot, leaf.iova.value() == last ? kRead : kAll);
    seen.emplace_back(leaf.iova.value(), leaf.phys.value());
    return true;
  });
  EXPECT_EQ(seen, (std::vector<std::pair<uint64_t, uint64_t>>{{MiB(2) - 0x1000, 0x7000}, {MiB(2), 0x8000}, {last, 0x9000}}));
  unsigned visits = 0;
  domain.for_each_leaf([&](const IoPageTable::Leaf&) { return ++visits < 2; });
  EXPECT_EQ(visits, 2u);
}

TEST(MapDomain, TablesReachTheEndOfAnyAperture) {
  for (unsigned bits : {20u, 30u, 39u, 48u, 57u, 64u}) {
    uint64_t last = bits == 64 ? ~uint64_t{0} : (uint64_t{1} << bits) - 1;
    MapDomain domain({.page_sizes = KiB(4), .aperture = {Iova{0}, Iova{last}}});
    Iova top(last - 0xfff);
    must(domain.map(top, PhysAddr{0x7000}, KiB(4), kAll));
    must(domain.map(Iova{0}, PhysAddr{0x8000}, KiB(4), kAll));
    EXPECT_EQ(domain.iova_to_phys(top), PhysAddr{0x7000}) << bits;
    EXPECT_EQ(domain.iova_to_phys(Iova{0}), PhysAddr{0x8000}) << bits;
  }
}

TEST(Prot, IsDescribed) {
  EXPECT_EQ(describe_prot(kWrite | kCache), "WRITE|CACHE");
  EXPECT_EQ(describe_prot(kRead | kWrite | kMmio), "READ|WRITE|MMIO");
  EXPECT_EQ(describe_prot(0), "NONE");
}

// A machine's device behind a domain: what it copies lands where the domain says, and nowhere once it is unmapped.
TEST(MapDomain, ADeviceOfTheMachineGoesThroughIt) {
  using namespace machine::testing;
  log::Capture quiet;
  MapDomain domain;
  testing::DomainTranslation translation(domain);
  machine::MachineConfig config{.ram = MiB(64), .translation = &translation};
  auto machine = must(machine::Machine::create(config));
  RawKernel kernel{machine->connect()};
  RawRegisters registers{kernel};
  MiniDriver driver{registers};
  // The rings stay where they are; the buffers are somewhere else than the device thinks.
  must(domain.map(Iova{kWorkRings.value()}, kWorkRings, MiB(1), kAll));
  must(domain.map(Iova{0x7000'0000}, PhysAddr{0x40'0000}, KiB(4), kRead));
  must(domain.map(Iova{0x7000'1000}, PhysAddr{0x41'0000}, KiB(4), kWrite));
  driver.reset();
  driver.set_up(kWorkQueue, kWorkRings, 6);
  *kernel.ram(PhysAddr{0x40'0010}) = std::byte{0x5a};

  auto run_copy = [&] { return driver.run(kWorkQueue, copy(0x7000'0010, 0x7000'1020, 1)).status; };
  EXPECT_EQ(run_copy(), TransferStatus::kOk);
  EXPECT_EQ(*kernel.ram(PhysAddr{0x41'0020}), std::byte{0x5a});

  Gather gather;
  domain.unmap(Iova{0x7000'1000}, KiB(4), gather);
  *kernel.ram(PhysAddr{0x40'0010}) = std::byte{0x77};
  EXPECT_EQ(run_copy(), TransferStatus::kOk);  // by the IOTLB
  EXPECT_EQ(*kernel.ram(PhysAddr{0x41'0020}), std::byte{0x77});
  domain.sync(gather);
  *kernel.ram(PhysAddr{0x40'0010}) = std::byte{0x78};
  EXPECT_NE(run_copy(), TransferStatus::kOk);
  EXPECT_EQ(*kernel.ram(PhysAddr{0x41'0020}), std::byte{0x77});
  machine->power_off();
}

// 61
TEST(MsiDoorbells, OfAnUnmanagedDomainGoUpFromTheBase) {
  MapDomain domain({.type = DomainType::kUnmanaged});
  auto doorbells = must(MsiDoorbells::linear(domain, Iova{0x800'0000}));
  EXPECT_EQ(must(doorbells->map(PhysAddr{0xfee0'0040})), Iova{0x800'0040});
  EXPECT_EQ(must(doorbells->map(PhysAddr{0xfee0'0080})), Iova{0x800'0080});  // the same page
  EXPECT_EQ(domain.counts().maps, 1u);
  EXPECT_EQ(domain.find(Iova{0x800'0000})->prot, kWrite | kNoExec | kMmio);
  domain.fail_map(1, ENOMEM);
  EXPECT_EQ(error_of(doorbells->map(PhysAddr{0xfef0'0000})), ENOMEM);
  EXPECT_EQ(must(doorbells->map(PhysAddr{0xfef1'0000})), Iova{0x800'1000});  // not 0x2000
}

// 61
TEST(MsiDoorbells, ADomainHasOneOwnerOfItsAddresses) {
  MapDomain managed;
  EXPECT_EQ(error_of(MsiDoorbells::linear(managed, Iova{0x800'0000})), EINVAL);
  MapDomain domain({.type = DomainType::kUnmanaged});
  EXPECT_EQ(error_of(MsiDoorbells::linear(domain, Iova{0x800'0001})), EINVAL);
  auto first = must(MsiDoorbells::linear(domain, Iova{0x800'0000}));
  EXPECT_EQ(error_of(MsiDoorbells::linear(domain, Iova{0x900'0000})), EEXIST);
  first.reset();
  must(MsiDoorbells::linear(domain, Iova{0x900'0000}));
}

}  // namespace
}  // namespace causeway::iommu
