#include "iommu/core.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/testing/results.h"
#include "iommu/testing/fake_driver.h"

namespace causeway::iommu {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using testing::FakeDomain;
using testing::FakeDriver;
using Kind = ReservedRegion::Kind;

struct Fixture {
  explicit Fixture(const CoreOptions& options = {}) : core(options) { core.register_driver(driver); }
  ~Fixture() {
    for (Device* device : core.devices()) core.release_device(*device);
  }
  Result<Device*> probe(unsigned number, uint32_t isolation = 0) {
    DeviceInfo info = FakeDriver::device(number);
    info.isolation = isolation;
    return core.probe_device(info);
  }
  FakeDriver driver;
  Core core;
};

TEST(Core, AnIsolatedDeviceGetsAGroupAndADefaultDomain) {
  Fixture s;
  Device& device = *must(s.probe(1));
  Group& group = device.group();
  EXPECT_EQ(group.devices(), std::vector{&device});
  EXPECT_EQ(group.type(), DomainType::kDmaFq);
  EXPECT_EQ(group.domain(), group.default_domain());
  EXPECT_EQ(s.driver.on(device), group.default_domain());
  EXPECT_EQ(&device.unit(), &s.driver.fake_unit());
  EXPECT_THAT(s.driver.take_journal(), ElementsAre("probe 00:01.0", "attach 00:01.0 DMA-FQ#1 from nothing"));
  EXPECT_EQ(s.core.find(0, device.bdf()), &device);
  EXPECT_EQ(s.core.find(1, device.bdf()), nullptr);
  EXPECT_EQ(error_of(s.probe(1)), EEXIST);

  s.core.release_device(device);
  EXPECT_THAT(s.driver.take_journal(), ElementsAre("attach 00:01.0 blocked from DMA-FQ#1", "release 00:01.0"));
  EXPECT_EQ(s.driver.domains(), 0u);
  EXPECT_THAT(s.core.groups(), IsEmpty());
}

TEST(Core, GroupsAreOfDevicesThatCannotBeToldApart) {
  Fixture s;
  Device& a = *must(s.probe(1, 7));
  Device& b = *must(s.probe(2, 7));
  Device& c = *must(s.probe(3, 8));
  DeviceInfo info = FakeDriver::device(4);
  info.aliases = {c.bdf()};
  Device& d = *must(s.core.probe_device(info));
  EXPECT_EQ(&a.group(), &b.group());
  EXPECT_NE(&a.group(), &c.group());
  EXPECT_EQ(&c.group(), &d.group());
  EXPECT_EQ(s.driver.on(b), a.group().domain());
  EXPECT_EQ(error_of(attach_device(s.driver.identity_domain(), a)), EINVAL);

  info = FakeDriver::device(5);
  info.aliases = {a.bdf(), c.bdf()};
  EXPECT_EQ(error_of(s.core.probe_device(info)), EINVAL);
  // The same ids in another segment are others.
  info = FakeDriver::device(1);
  info.segment = 1;
  EXPECT_NE(&must(s.core.probe_device(info))->group(), &a.group());
}

TEST(Core, GroupNumbersAreUsedAgain) {
  Fixture s;
  Device& a = *must(s.probe(1));
  Device& b = *must(s.probe(2));
  EXPECT_EQ(a.group().id(), 0u);
  EXPECT_EQ(b.group().id(), 1u);
  s.core.release_device(a);
  EXPECT_EQ(must(s.probe(3))->group().id(), 0u);
}

TEST(Core, WithoutADriverThereIsNoDevice) {
  Core core;
  EXPECT_EQ(error_of(core.probe_device(FakeDriver::device(1))), ENODEV);
  EXPECT_THAT(core.groups(), IsEmpty());
}

TEST(Core, AFailureOfAnyStepLeavesNothing) {
  using Step = FakeDriver::Step;
  for (Step step : {Step::kProbe, Step::kAlloc, Step::kAttach}) {
    Fixture s;
    s.driver.fail(step, 1, ENOMEM);
    EXPECT_EQ(error_of(s.probe(1)), ENOMEM);
    EXPECT_THAT(s.core.groups(), IsEmpty());
    EXPECT_THAT(s.core.devices(), IsEmpty());
    EXPECT_EQ(s.driver.domains(), 0u);
    must(s.probe(1));
  }
}

TEST(Core, TheDefaultTypeIsOfTheOptionsTheDriverAndTrust) {
  auto type_of = [](DomainType normal, std::optional<DomainType> insists, bool untrusted) -> Result<DomainType> {
    Fixture s({.default_type = normal});
    s.driver.insists = [&](const Device&) { return insists; };
    DeviceInfo info = FakeDriver::device(1);
    info.untrusted = untrusted;
    Device* device = CW_TRY(s.core.probe_device(info));
    return device->group().type();
  };
  EXPECT_EQ(must(type_of(DomainType::kIdentity, {}, false)), DomainType::kIdentity);
  EXPECT_EQ(must(type_of(DomainType::kDma, {}, false)), DomainType::kDma);
  EXPECT_EQ(must(type_of(DomainType::kDmaFq, DomainType::kIdentity, false)), DomainType::kIdentity);
  EXPECT_EQ(must(type_of(DomainType::kIdentity, DomainType::kDma, false)), DomainType::kDma);
  EXPECT_EQ(must(type_of(DomainType::kIdentity, {}, true)), DomainType::kDma);
  EXPECT_EQ(must(type_of(DomainType::kDmaFq, {}, true)), DomainType::kDma);
  EXPECT_EQ(error_of(type_of(DomainType::kDmaFq, DomainType::kIdentity, true)), EINVAL);
}

TEST(Core, UntrustedDevicesAreNeverOnIdentityEvenIfTheyNeedNotBeStrict) {
  for (DomainType normal : {DomainType::kIdentity, DomainType::kDmaFq}) {
    Fixture s({.default_type = normal, .strict_untrusted = false});
    DeviceInfo info = FakeDriver::device(1);
    info.untrusted = true;
    DomainType want = normal == DomainType::kIdentity ? DomainType::kDma : DomainType::kDmaFq;
    EXPECT_EQ(must(s.core.probe_device(info))->group().type(), want);
  }
}

TEST(Core, AllDevicesOfAGroupAgreeOnTheType) {
  Fixture s;
  s.driver.insists = [](const Device& device) -> std::optional<DomainType> {
    if (device.bdf().device() == 1) return DomainType::kIdentity;
    if (device.bdf().device() == 2) return DomainType::kDma;
    return std::nullopt;
  };
  Device& first = *must(s.probe(1, 7));
  EXPECT_EQ(error_of(s.probe(2, 7)), EINVAL);
  EXPECT_EQ(first.group().devices().size(), 1u);
  must(s.probe(3, 7));  // has no opinion
  EXPECT_EQ(first.group().type(), DomainType::kIdentity);
}

TEST(Core, ADeviceThatJoinsMayChangeTheTypeUnlessTheGroupIsInUse) {
  Fixture s;
  Device& first = *must(s.probe(1, 7));
  DeviceInfo info = FakeDriver::device(2);
  info.isolation = 7;
  info.untrusted = true;
  must(first.group().use_default_domain());
  s.driver.take_journal();
  EXPECT_EQ(error_of(s.core.probe_device(info)), EBUSY);
  EXPECT_THAT(s.driver.take_journal(), ElementsAre("probe 00:02.0", "release 00:02.0"));
  first.group().unuse_default_domain();
  must(s.core.probe_device(info));
  EXPECT_EQ(first.group().type(), DomainType::kDma);
  EXPECT_THAT(s.driver.take_journal(),
              ElementsAre("probe 00:02.0", "attach 00:01.0 DMA#2 from DMA-FQ#1", "attach 00:02.0 DMA#2 from nothing"));
  EXPECT_EQ(s.driver.domains(), 1u);
}

TEST(Core, ADeviceThatJoinsAClaimedGroupIsBlockedToo) {
  Fixture s;
  Device& first = *must(s.probe(1, 7));
  must(first.group().claim_dma_owner(&s));
  Device& second = *must(s.probe(2, 7));
  EXPECT_EQ(s.driver.on(second), &s.driver.blocked_domain());
  first.group().release_dma_owner();
  EXPECT_EQ(s.driver.on(second), first.group().default_domain());
}

TEST(Core, DirectRegionsAreMappedBeforeTheFirstAttach) {
  Fixture s;
  s.driver.regions[Bdf(0, 1, 0)] = {{Iova{0x10800}, Iova{0x127ff}, Kind::kDirect},
                                    {Iova{0x12000}, Iova{0x13fff}, Kind::kDirectRelaxable},
                                    {Iova{0x20000}, Iova{0x20fff}, Kind::kReserved}};
  s.driver.fail_attach(1, EIO);
  EXPECT_EQ(error_of(s.probe(1)), EIO);
  Device& device = *must(s.probe(1));
  auto& domain = static_cast<FakeDomain&>(*device.group().default_domain());
  for (uint64_t at = 0x10000; at < 0x14000; at += 0x1000) EXPECT_EQ(domain.iova_to_phys(Iova(at)), PhysAddr(at));
  EXPECT_FALSE(domain.iova_to_phys(Iova{0xf000}));
  EXPECT_FALSE(domain.iova_to_phys(Iova{0x14000}));
  EXPECT_FALSE(domain.iova_to_phys(Iova{0x20000}));
  EXPECT_EQ(domain.memory().counts().maps, 2u);  // runs, not pages; what is there already is left out
}

TEST(Core, DirectRegionsOfADeviceThatJoinsAreMappedToo) {
  Fixture s;
  s.driver.regions[Bdf(0, 1, 0)] = {{Iova{0x10000}, Iova{0x11fff}, Kind::kDirect}};
  s.driver.regions[Bdf(0, 2, 0)] = {{Iova{0x11000}, Iova{0x12fff}, Kind::kDirect}};
  Device& first = *must(s.probe(1, 7));
  must(s.probe(2, 7));
  EXPECT_EQ(first.group().default_domain()->iova_to_phys(Iova{0x12000}), PhysAddr{0x12000});
  EXPECT_EQ(describe_regions(first.group().reserved_regions()),
            "0x0000000000010000 0x0000000000012fff direct\n");
  // Somewhere else it would be another's memory.
  must(first.group().default_domain()->map(Iova{0x30000}, PhysAddr{0x99000}, KiB(4), kRead));
  s.driver.regions[Bdf(0, 3, 0)] = {{Iova{0x30000}, Iova{0x30fff}, Kind::kDirect}};
  EXPECT_EQ(error_of(s.probe(3, 7)), EINVAL);
}

TEST(Core, WhatMustStayDirectIsNotBlocked) {
  Fixture s;
  s.driver.regions[Bdf(0, 1, 0)] = {{Iova{0x10000}, Iova{0x11fff}, Kind::kDirect}};
  s.driver.regions[Bdf(0, 2, 0)] = {{Iova{0x10000}, Iova{0x11fff}, Kind::kDirectRelaxable}};
  Device& strict = *must(s.probe(1));
  Device& relaxable = *must(s.probe(2));
  s.driver.take_journal();
  EXPECT_EQ(error_of(strict.group().claim_dma_owner(&s)), EINVAL);
  EXPECT_FALSE(strict.group().is_owned());
  EXPECT_THAT(s.driver.take_journal(), IsEmpty());
  EXPECT_EQ(error_of(relaxable.group().claim_dma_owner(&s)), 0);
  relaxable.group().release_dma_owner();
  s.driver.take_journal();
  s.core.release_device(strict);
  EXPECT_THAT(s.driver.take_journal(), ElementsAre("attach 00:01.0 identity from DMA-FQ#1", "release 00:01.0"));
}

// 27, as far as the core goes.
TEST(Core, ADeviceOfACrashedKernelIsAttachedWhenItsDriverMaps) {
  Fixture s;
  s.driver.defers = [](const Device&) { return true; };
  Device& device = *must(s.probe(1));
  EXPECT_TRUE(device.attach_deferred());
  EXPECT_EQ(device.group().domain(), device.group().default_domain());
  EXPECT_THAT(s.driver.take_journal(), ElementsAre("probe 00:01.0"));

  s.driver.fail_attach(1, EIO);
  EXPECT_EQ(error_of(device.group().attach_deferred(device)), EIO);
  EXPECT_TRUE(device.attach_deferred());
  must(device.group().attach_deferred(device));
  must(device.group().attach_deferred(device));
  EXPECT_FALSE(device.attach_deferred());
  EXPECT_THAT(s.driver.take_journal(), ElementsAre("attach 00:01.0 DMA-FQ#1 from nothing: fails",
                                                   "attach 00:01.0 DMA-FQ#1 from nothing"));
  // Any other domain ends the wait.
  Device& other = *must(s.probe(2));
  must(other.group().claim_dma_owner(&s));
  EXPECT_FALSE(other.attach_deferred());
  EXPECT_EQ(s.driver.on(other), &s.driver.blocked_domain());
}

TEST(Core, TheTypeIsChangedAtRunTimeWhileNobodyUsesTheGroup) {
  Fixture s;
  s.driver.regions[Bdf(0, 1, 0)] = {{Iova{0x10000}, Iova{0x10fff}, Kind::kDirectRelaxable}};
  Device& device = *must(s.probe(1));
  Group& group = device.group();
  must(group.use_default_domain());
  EXPECT_EQ(error_of(group.change_default_type(DomainType::kDma)), EBUSY);
  EXPECT_EQ(error_of(group.change_default_type(DomainType::kDmaFq)), 0);  // it is
  group.unuse_default_domain();
  EXPECT_EQ(error_of(group.change_default_type(DomainType::kUnmanaged)), EINVAL);
  EXPECT_EQ(error_of(group.change_default_type(DomainType::kBlocked)), EINVAL);
  // An allocator of addresses still points to it.
  ASSERT_TRUE(group.default_domain()->claim());
  EXPECT_EQ(error_of(group.change_default_type(DomainType::kDma)), EBUSY);
  group.default_domain()->unclaim();

  s.driver.fail_attach(1, EIO);
  EXPECT_EQ(error_of(group.change_default_type(DomainType::kDma)), EIO);
  EXPECT_EQ(group.type(), DomainType::kDmaFq);
  EXPECT_EQ(s.driver.on(device), group.default_domain());
  ASSERT_TRUE(group.default_domain()->claim());
  group.default_domain()->unclaim();

  must(group.change_default_type(DomainType::kDma));
  EXPECT_EQ(group.type(), DomainType::kDma);
  EXPECT_EQ(group.default_domain()->iova_to_phys(Iova{0x10000}), PhysAddr{0x10000});
  must(group.change_default_type(DomainType::kIdentity));
  EXPECT_EQ(s.driver.on(device), &s.driver.identity_domain());
  EXPECT_EQ(s.driver.domains(), 0u);

  s.driver.insists = [](const Device&) { return DomainType::kIdentity; };
  EXPECT_EQ(error_of(group.change_default_type(DomainType::kDma)), EINVAL);
}

TEST(Core, FaultsReachEveryHandlerUntilItIsRemoved) {
  Core core;
  std::vector<uint8_t> first, second;
  unsigned token = core.on_fault([&](const FaultReport& report) { first.push_back(report.reason); });
  core.on_fault([&](const FaultReport& report) { second.push_back(report.reason); });
  core.report_fault({.source = Bdf(0, 1, 0), .reason = 5});
  core.remove_fault_handler(token);
  core.report_fault({.source = Bdf(0, 1, 0), .reason = 6});
  EXPECT_THAT(first, ElementsAre(5));
  EXPECT_THAT(second, ElementsAre(5, 6));
}

TEST(Core, TheEndOfAKernelTellsNoDriverAndFreesNoDomain) {
  FakeDriver driver;
  {
    Core core;
    core.register_driver(driver);
    must(core.probe_device(FakeDriver::device(1)));
    driver.take_journal();
  }
  EXPECT_THAT(driver.take_journal(), IsEmpty());
  EXPECT_EQ(driver.domains(), 1u);
}

}  // namespace
}  // namespace causeway::iommu
