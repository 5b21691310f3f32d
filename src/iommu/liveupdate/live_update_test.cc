// The old kernel's side: who may hand over what, and that a refusal leaves nothing.
#include "iommu/liveupdate/live_update.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thread>

#include "base/log.h"
#include "iommu/liveupdate/testing/system.h"

namespace causeway::iommu::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
constexpr Carrier kStanding = Carrier::kStanding;
constexpr Carrier kSession = Carrier::kSession;
constexpr uint64_t kToken = 0x123456;

class LiveUpdateTest : public ::testing::Test {
 protected:
  LiveUpdate& lu() { return system->live_update; }
  FakeDriver& driver() { return system->driver; }
  Device& nic() { return system->device(1); }
  Domain& domain() { return system->domain_of(nic()); }
  std::vector<std::string> journal() { return driver().take_journal(); }
  FakeTable& table_of(Domain& domain) { return static_cast<FakeTable&>(*domain.page_table()); }
  // What is preserved, and the pages of tables and arrays: what a refusal must leave as they were. Array pages may grow.
  struct Footprint {
    uint64_t blocks, pages;
    bool operator==(const Footprint&) const = default;
  };
  Footprint footprint() { return {system->preserved(), system->pages.pages()}; }

  System system;
};

// -- preserve_domain(), each error with all the later ones present too.

TEST_F(LiveUpdateTest, DomainWithoutAPageTableIsRefusedFirst) {
  driver().make_table = nullptr;
  Device& device = system->device(2);
  EXPECT_EQ(error_of(lu().preserve_domain(kSession, system->domain_of(device))), EOPNOTSUPP);
  EXPECT_EQ(error_of(lu().preserve_domain(kSession, driver().identity_domain())), EOPNOTSUPP);
}

TEST_F(LiveUpdateTest, DomainNeedsItsCarriersArrays) {
  must(lu().preserve_domain(kStanding, domain()));
  EXPECT_EQ(error_of(lu().preserve_domain(kSession, domain())), ENODATA);
}

TEST_F(LiveUpdateTest, DomainIsPreservedOnceByEitherCarrier) {
  if (!has_points()) GTEST_SKIP() << "named points are not compiled in";
  must(lu().create(kSession));
  must(lu().preserve_domain(kStanding, domain()));
  EXPECT_TRUE(lu().is_preserved(domain()));
  FailingStep step("iommu.live_update.domain_slot");
  EXPECT_EQ(error_of(lu().preserve_domain(kStanding, domain())), EBUSY);
  EXPECT_EQ(error_of(lu().preserve_domain(kSession, domain())), EBUSY);
}

// A bug of the series' first version: the domain passed for preserved after a failure.
TEST_F(LiveUpdateTest, DomainThatFailsIsNotPreserved) {
  if (!has_points()) GTEST_SKIP() << "named points are not compiled in";
  system->map(domain(), 0x10'0000, 3);
  const Footprint before = footprint();
  for (const char* point : {"iommu.live_update.domain_slot", "iommu.live_update.domain_table", "iommu.state.slot"}) {
    FailingStep step(point);
    EXPECT_EQ(error_of(lu().preserve_domain(kStanding, domain())), ENOMEM) << point;
    EXPECT_FALSE(lu().is_preserved(domain()));
  }
  table_of(domain()).fail_preserve = EIO;
  EXPECT_EQ(error_of(lu().preserve_domain(kStanding, domain())), EIO);
  EXPECT_FALSE(lu().is_preserved(domain()));
  table_of(domain()).fail_preserve = 0;
  {
    FailingStep step("kho.preserve.page", ENOMEM, 3);  // the second of its tables
    EXPECT_EQ(error_of(lu().preserve_domain(kStanding, domain())), ENOMEM);
  }
  EXPECT_EQ(footprint(), before);
  lu().unpreserve_domain(domain());  // nothing to do, and nothing done
  must(lu().preserve_domain(kStanding, domain()));
  EXPECT_EQ(footprint().blocks, before.blocks + 4);
  lu().unpreserve_domain(domain());
  lu().unpreserve_domain(domain());
  EXPECT_EQ(footprint(), before);
}

// -- preserve_device()

TEST_F(LiveUpdateTest, DeviceMustBePci) {
  Device& device = *must(system->core.probe_device({.bdf = Bdf(0, 9, 0), .name = "platform", .pci = false}));
  driver().hands_over = false;
  EXPECT_EQ(error_of(lu().preserve_device(kSession, domain(), device, kToken)), EOPNOTSUPP);
}

TEST_F(LiveUpdateTest, DeviceOfASessionMustBeOwned) {
  driver().hands_over = false;
  EXPECT_EQ(error_of(lu().preserve_device(kSession, domain(), nic(), kToken)), EINVAL);
}

TEST_F(LiveUpdateTest, DriverMustBeAbleTo) {
  must(nic().group().claim_dma_owner(this));
  driver().hands_over = false;
  EXPECT_EQ(error_of(lu().preserve_device(kSession, domain(), nic(), kToken)), EOPNOTSUPP);
}

TEST_F(LiveUpdateTest, DeviceNeedsItsCarriersArraysAndItsDomain) {
  Domain& own = system->unmanaged(nic(), this);
  EXPECT_EQ(error_of(lu().preserve_device(kSession, own, nic(), kToken)), ENODATA);
  must(lu().create(kSession));
  EXPECT_EQ(error_of(lu().preserve_device(kSession, own, nic(), kToken)), EINVAL);
  must(lu().preserve_domain(kStanding, own));
  EXPECT_EQ(error_of(lu().preserve_device(kSession, own, nic(), kToken)), EINVAL);
  must(lu().preserve_device(kStanding, own, nic(), kToken));
  EXPECT_EQ(error_of(lu().preserve_device(kStanding, own, nic(), kToken)), EBUSY);
  lu().unpreserve_device(nic());
  lu().unpreserve_domain(own);
  must(lu().preserve_domain(kSession, own));
  must(lu().preserve_device(kSession, own, nic(), kToken));
  EXPECT_EQ(error_of(lu().preserve_device(kSession, own, nic(), kToken)), EBUSY);
  lu().destroy(kSession);
}

TEST_F(LiveUpdateTest, DeviceThatFailsLeavesNothing) {
  if (!has_points()) GTEST_SKIP() << "named points are not compiled in";
  must(lu().preserve_domain(kStanding, domain()));
  journal();
  const Footprint before = footprint();
  {
    FailingStep step("iommu.live_update.device_slot");
    EXPECT_EQ(error_of(lu().preserve_device(kStanding, domain(), nic(), 0)), ENOMEM);
  }
  for (unsigned slot : {1u, 2u}) {  // the device's, the unit's
    FailingStep step("iommu.state.slot", ENOMEM, slot);
    EXPECT_EQ(error_of(lu().preserve_device(kStanding, domain(), nic(), 0)), ENOMEM);
  }
  EXPECT_THAT(journal(), ElementsAre("preserve unit", "unpreserve unit"));
  driver().fail(FakeDriver::Step::kPreserveUnit, 1, EIO);
  EXPECT_EQ(error_of(lu().preserve_device(kStanding, domain(), nic(), 0)), EIO);
  EXPECT_THAT(journal(), ElementsAre("preserve unit"));
  driver().fail(FakeDriver::Step::kPreserve, 1, EOPNOTSUPP);
  EXPECT_EQ(error_of(lu().preserve_device(kStanding, domain(), nic(), 0)), EOPNOTSUPP);
  EXPECT_THAT(journal(), ElementsAre("preserve unit", "preserve 00:01.0", "unpreserve unit"));
  EXPECT_FALSE(lu().is_preserved(nic()));
  EXPECT_FALSE(lu().is_preserved(nic().unit()));
  EXPECT_EQ(footprint(), before);
  must(lu().preserve_device(kStanding, domain(), nic(), 0));
  EXPECT_TRUE(lu().is_preserved(nic()));
  EXPECT_TRUE(lu().is_preserved(nic().unit()));
  // None of the failures is seen by the next kernel.
  system.kexec();
  must(std::move(system->retrieved));
  unsigned devices = 0;
  lu().for_each_device_of(driver().fake_unit().token(), [&](abi::DeviceSer&) { ++devices; });
  EXPECT_EQ(devices, 1u);
}

// A group of two cannot be handed over, and everything is undone.
TEST_F(LiveUpdateTest, Scenario79GroupOfTwoIsRefused) {
  Device& first = *must(system->core.probe_device({.bdf = Bdf(0, 4, 0), .name = "first", .isolation = 7}));
  Device& second = *must(system->core.probe_device({.bdf = Bdf(0, 4, 1), .name = "second", .isolation = 7}));
  ASSERT_EQ(&first.group(), &second.group());
  Domain& shared = system->domain_of(first);
  must(lu().preserve_domain(kStanding, shared));
  journal();
  const Footprint before = footprint();
  EXPECT_EQ(error_of(lu().preserve_device(kStanding, shared, first, 0)), EOPNOTSUPP);
  EXPECT_THAT(journal(), ElementsAre("preserve unit", "preserve 00:04.0", "unpreserve 00:04.0", "unpreserve unit"));
  EXPECT_FALSE(lu().is_preserved(first));
  EXPECT_EQ(footprint(), before);
}

// Out of order: nothing is preserved, and nothing counts as if it were.
TEST_F(LiveUpdateTest, Scenario66DeviceBeforeItsDomain) {
  must(lu().create(kSession));
  Domain& own = system->unmanaged(nic(), this);
  journal();
  const Footprint before = footprint();
  EXPECT_EQ(error_of(lu().preserve_device(kSession, own, nic(), kToken)), EINVAL);
  EXPECT_THAT(journal(), IsEmpty());
  EXPECT_EQ(footprint(), before);
}

// The second of two domains fails: the caller gives the first up, and it can be mapped again.
TEST_F(LiveUpdateTest, Scenario71TheFirstDomainIsGivenUpAgain) {
  Domain& first = domain();
  Domain& second = system->domain_of(system->device(2));
  const Footprint before = footprint();
  must(lu().preserve_domain(kStanding, first));
  table_of(second).fail_preserve = ENOMEM;
  EXPECT_EQ(error_of(lu().preserve_domain(kStanding, second)), ENOMEM);
  lu().unpreserve_domain(first);
  EXPECT_EQ(footprint(), before);
  system->map(first, 0x10'0000);
  EXPECT_EQ(system->preserved(), before.blocks);
}

// -- Units: preserved once for both carriers, for as long as either has a device.

TEST_F(LiveUpdateTest, UnitIsPreservedWithTheFirstDeviceAndGivenUpWithTheLast) {
  must(lu().create(kSession));
  Device& guest = system->device(2);
  Domain& own = system->unmanaged(guest, this);
  must(lu().preserve_domain(kSession, own));
  Device& disk = nic();
  journal();
  must(system->hand_over(disk, 0x10'0000));
  must(lu().preserve_device(kSession, own, guest, kToken));
  EXPECT_THAT(journal(), ElementsAre("preserve unit", "preserve 00:01.0", "preserve 00:02.0"));
  lu().unpreserve_device(nic());
  EXPECT_THAT(journal(), ElementsAre("unpreserve 00:01.0"));
  EXPECT_TRUE(lu().is_preserved(nic().unit()));
  must(lu().preserve_device(kStanding, domain(), nic(), 0));
  lu().unpreserve_device(guest);
  journal();
  lu().unpreserve_device(nic());
  EXPECT_THAT(journal(), ElementsAre("unpreserve 00:01.0", "unpreserve unit"));
  lu().unpreserve_device(nic());
  EXPECT_THAT(journal(), IsEmpty());
  lu().unpreserve_domain(own);
}

// The context table of a new bus, in a device's wake: recorded in every carrier's copy of the unit (scenario 77).
TEST_F(LiveUpdateTest, WhatTheDriverAddsLaterIsInBothCarriers) {
  const PhysAddr session = must(lu().create(kSession));
  Device& guest = system->device(Bdf(5, 16, 0));
  Domain& own = system->unmanaged(guest, this);
  must(lu().preserve_domain(kSession, own));
  must(system->hand_over(nic(), 0x10'0000));
  must(lu().preserve_device(kSession, own, guest, kToken));
  must(system->hand_over(system->device(Bdf(9, 0, 0)), 0x20'0000));
  system.kexec();
  must(lu().retrieve(kSession, session));
  std::vector<uint64_t> bitmaps;
  for (Carrier carrier : {kStanding, kSession}) {
    abi::IommuHwSer* unit = lu().find_unit(driver().fake_unit().token(), abi::UnitType::kIntel);
    ASSERT_NE(unit, nullptr);
    EXPECT_EQ(unit->hdr.ref_count, carrier == kStanding ? 2u : 1u);
    bitmaps.push_back(unit->intel.context_tables_bitmap[0]);
    lu().release(carrier);
  }
  EXPECT_THAT(bitmaps, ElementsAre(1 | 1 << 11 | 1 << 18, 1 | 1 << 11 | 1 << 18));
  EXPECT_EQ(lu().find_unit(driver().fake_unit().token(), abi::UnitType::kIntel), nullptr);
}

TEST_F(LiveUpdateTest, ThreadsHandOverTheirOwnDevices) {
  constexpr unsigned kThreads = 4;
  for (unsigned i = 0; i < kThreads; ++i) system->map(system->domain_of(system->device(i + 1)), 0x10'0000 * (i + 1));
  const Footprint before = footprint();
  std::vector<std::thread> threads;
  for (unsigned i = 0; i < kThreads; ++i) {
    threads.emplace_back([this, &device = system->device(i + 1), i] {
      for (int round = 0; round < 50; ++round) {
        must(system->hand_over_again(device));
        EXPECT_TRUE(lu().is_preserved(device.unit()));
        if (round == 49 && i % 2 == 0) break;
        lu().unpreserve_device(device);
        lu().unpreserve_domain(system->domain_of(device));
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (unsigned i = 0; i < kThreads; ++i) EXPECT_EQ(lu().is_preserved(system->device(i + 1)), i % 2 == 0);
  log::Capture capture;
  lu().destroy(kStanding);
  EXPECT_TRUE(capture.contains("with 2 devices and 2 domains"));
  EXPECT_EQ(footprint(), (Footprint{before.blocks - 4, before.pages - 4}));
}

// -- Carriers

TEST_F(LiveUpdateTest, CarrierIsMadeOnceAndGivesUpWhatIsInIt) {
  EXPECT_EQ(error_of(lu().create(kStanding)), EBUSY);
  must(lu().create(kSession));
  const Footprint before = footprint();
  lu().destroy(kSession);
  lu().destroy(kSession);
  EXPECT_EQ(footprint().pages, before.pages - 4);
  must(system->hand_over(nic(), 0x10'0000));
  journal();
  log::Capture capture;
  lu().destroy(kStanding);
  EXPECT_TRUE(capture.contains("given up with 1 devices and 1 domains"));
  EXPECT_THAT(journal(), ElementsAre("unpreserve 00:01.0", "unpreserve unit"));
  EXPECT_FALSE(lu().is_preserved(nic()));
  EXPECT_EQ(error_of(lu().preserve_domain(kStanding, domain())), ENODATA);
}

}  // namespace
}  // namespace causeway::iommu::testing
