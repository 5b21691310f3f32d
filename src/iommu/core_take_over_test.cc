// What a core does with devices that the kernel before handed over.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>

#include "base/log.h"
#include "base/testing/results.h"
#include "iommu/liveupdate/testing/system.h"

namespace causeway::iommu {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::FakeDomain;
using testing::FakeDriver;
using testing::System;
using Step = FakeDriver::Step;

int me;
constexpr uint64_t kPhys = 0x80'0000;
constexpr uint64_t kToken = 0x123456;

// Device 1 is handed over with a mapping, of a kernel driver (token 0) or of an owner; the next kernel has not looked
// yet.
struct Update {
  explicit Update(uint64_t token = 0, const std::function<void(Device&)>& before = {}) {
    Device& nic = system->device(1);
    Domain& domain = system->domain_of(nic);
    if (before) before(nic);
    system->map(domain, kPhys);
    must(system->live_update.preserve_domain(Carrier::kStanding, domain));
    must(system->live_update.preserve_device(Carrier::kStanding, domain, nic, token));
    system.kexec();
    system->core.set_live_update(&system->live_update);
    system->driver.take_journal();
  }
  Result<Device*> probe(unsigned number = 1, uint32_t isolation = 0) {
    DeviceInfo info = FakeDriver::device(number);
    info.isolation = isolation;
    return system->core.probe_device(info);
  }
  FakeDriver& driver() { return system->driver; }
  Core& core() { return system->core; }
  System system;
};

TEST(CoreTakeOver, AKernelDriversDeviceGoesOnWithItsDomainAsTheDefaultOne) {
  Update u;
  Device& nic = *must(u.probe());
  Group& group = nic.group();
  EXPECT_THAT(u.driver().take_journal(), ElementsAre("probe 00:01.0", "restore 00:01.0 DMA-FQ#1"));
  EXPECT_EQ(group.domain(), group.default_domain());
  EXPECT_EQ(u.driver().on(nic), group.domain());
  EXPECT_EQ(group.type(), DomainType::kDmaFq);
  EXPECT_EQ(group.domain()->iova_to_phys(Iova{0x1000}), PhysAddr{kPhys + 0x1000});
  EXPECT_FALSE(group.is_owned());
  EXPECT_EQ(group.restored_token(), std::nullopt);
  must(group.use_default_domain());
  EXPECT_EQ(error_of(group.claim_dma_owner(&me)), EBUSY);
  group.unuse_default_domain();
  // It came from the kernel before: not to be exchanged, but to be given to a program.
  EXPECT_EQ(error_of(group.change_default_type(DomainType::kDma)), EBUSY);
  must(group.claim_dma_owner(&me));
  group.release_dma_owner();
  EXPECT_EQ(u.driver().on(nic), group.default_domain());
}

TEST(CoreTakeOver, TheTypeIsStrictIfTheOptionsOrTrustSaySo) {
  auto type_of = [&](const CoreOptions& options, bool untrusted) {
    Update u;
    Core core(options);
    core.register_driver(u.driver());
    core.set_live_update(&u.system->live_update);
    DeviceInfo info = FakeDriver::device(1);
    info.untrusted = untrusted;
    return must(core.probe_device(info))->group().type();
  };
  EXPECT_EQ(type_of({.default_type = DomainType::kDma}, false), DomainType::kDma);
  EXPECT_EQ(type_of({.default_type = DomainType::kDmaFq}, true), DomainType::kDma);
  EXPECT_EQ(type_of({.default_type = DomainType::kDmaFq}, false), DomainType::kDmaFq);
  // Nothing moves a device that is translated to where it is not.
  EXPECT_EQ(type_of({.default_type = DomainType::kIdentity}, false), DomainType::kDma);
}

TEST(CoreTakeOver, DevicesThatSharedADomainShareIt) {
  System system;
  Device& a = system->device(1);
  Device& b = system->device(2);
  must(system->hand_over(a, kPhys));
  must(b.group().attach(system->domain_of(a)));
  must(system->live_update.preserve_device(Carrier::kStanding, system->domain_of(a), b, 0));
  system.kexec();
  system->core.set_live_update(&system->live_update);
  Device& first = system->device(1);
  Device& second = system->device(2);
  EXPECT_NE(&first.group(), &second.group());
  EXPECT_EQ(first.group().default_domain(), second.group().default_domain());
}

TEST(CoreTakeOver, WhatWasNotHandedOverIsADeviceLikeAnyOther) {
  Update u;
  Device& other = *must(u.probe(2));
  EXPECT_THAT(u.driver().take_journal(), ElementsAre("probe 00:02.0", "attach 00:02.0 DMA-FQ#1 from nothing"));
  u.core().release_device(other);
}

// 83
TEST(CoreTakeOver, AnOwnersDeviceIsHeldForItUntilTheNextReboot) {
  Update u(kToken);
  Device& nic = *must(u.probe());
  Group& group = nic.group();
  // A default domain is there, but nothing is attached to it.
  EXPECT_THAT(u.driver().take_journal(), ElementsAre("probe 00:01.0", "restore 00:01.0 unmanaged#2"));
  Domain* restored = group.domain();
  EXPECT_NE(restored, group.default_domain());
  EXPECT_EQ(group.type(), DomainType::kDmaFq);
  EXPECT_EQ(restored->iova_to_phys(Iova{0x1000}), PhysAddr{kPhys + 0x1000});
  EXPECT_TRUE(group.is_owned());
  EXPECT_EQ(group.restored_token(), kToken);
  EXPECT_EQ(u.core().view_groups()[0].note, "restored for token 0x123456");

  log::Capture capture;
  auto other = must(u.driver().alloc_paging(nic, DomainType::kUnmanaged, 0));
  AttachHandle handle;
  EXPECT_EQ(error_of(group.use_default_domain()), EBUSY);
  EXPECT_EQ(error_of(group.claim_dma_owner(&me)), EPERM);
  EXPECT_EQ(error_of(group.claim_dma_owner(u.system->live_update.find_device(0, nic.bdf()))), EPERM);
  EXPECT_EQ(error_of(group.attach(*other)), EBUSY);
  EXPECT_EQ(error_of(group.replace(*other, &handle)), EBUSY);
  EXPECT_EQ(error_of(group.attach_pasid(*other, 5)), EBUSY);
  EXPECT_EQ(error_of(group.begin_reset()), EBUSY);
  EXPECT_EQ(error_of(group.change_default_type(DomainType::kDma)), EBUSY);
  EXPECT_EQ(error_of(u.probe()), EEXIST);
  group.release_dma_owner();
  group.detach();
  u.core().release_device(nic);
  EXPECT_THAT(capture.lines(), Contains(HasSubstr("is held, and stays on its domain")));
  EXPECT_TRUE(capture.contains("0000:00:01.0: is held for its owner in the kernel before, and stays"));
  EXPECT_THAT(u.driver().take_journal(), IsEmpty());
  EXPECT_TRUE(group.is_owned());
  EXPECT_EQ(group.domain(), restored);
  EXPECT_EQ(u.driver().on(nic), restored);
  EXPECT_EQ(u.core().find(0, nic.bdf()), &nic);
  u.system->live_update.release(Carrier::kStanding);  // the record goes; the owner stays
  EXPECT_EQ(error_of(group.claim_dma_owner(&me)), EPERM);
  EXPECT_THAT(u.system->live_update.damage(), IsEmpty());
}

TEST(CoreTakeOver, NobodyJoinsAGroupThatIsHeld) {
  Update u(kToken);
  must(u.probe(1, 7));
  u.driver().take_journal();
  EXPECT_EQ(error_of(u.probe(2, 7)), EBUSY);
  EXPECT_THAT(u.driver().take_journal(), IsEmpty());
}

// 79: in the new kernel.
TEST(CoreTakeOver, APreservedDeviceThatSharesItsGroupIsQuarantined) {
  Update u;
  Device& other = *must(u.probe(2, 7));
  u.driver().take_journal();
  EXPECT_EQ(error_of(u.probe(1, 7)), EIO);
  EXPECT_THAT(u.driver().take_journal(), IsEmpty());
  EXPECT_EQ(error_of(other.group().use_default_domain()), EIO);
  EXPECT_EQ(u.driver().on(other), other.group().default_domain());
  const Device gone(other.info());
  u.core().release_device(other);  // it was never part of the damage
  EXPECT_EQ(u.driver().on(gone), nullptr);
}

// 82: and every other step. The hardware's entry is not written, whatever fails.
TEST(CoreTakeOver, WhateverFailsTheDeviceIsQuarantinedAndItsHardwareIsNotTouched) {
  for (Step step : {Step::kProbe, Step::kAllocRestored, Step::kRestore, Step::kAlloc}) {
    Update u(kToken);
    u.driver().fail(step, 1, ENOMEM);
    log::Capture capture;
    EXPECT_EQ(error_of(u.probe()), EIO);
    for (const std::string& line : u.driver().take_journal())
      EXPECT_THAT(line, ::testing::AnyOf("probe 00:01.0", HasSubstr("restore 00:01.0"))) << static_cast<int>(step);
    EXPECT_TRUE(capture.contains("nobody gets it"));
    EXPECT_THAT(u.system->live_update.damage(), Contains(HasSubstr("0000:00:01.0: cannot be taken over: ENOMEM")));
    EXPECT_EQ(u.core().find(0, Bdf(0, 1, 0)), nullptr);
    ASSERT_EQ(u.core().quarantined().size(), 1u);
    EXPECT_THAT(u.core().quarantined()[0].reason, HasSubstr("ENOMEM"));

    // Not at the second try either, and nobody else of its group.
    EXPECT_EQ(error_of(u.probe()), EIO);
    EXPECT_THAT(u.driver().take_journal(), IsEmpty());
    ASSERT_EQ(u.core().groups().size(), 1u);
    Group& group = *u.core().groups()[0];
    EXPECT_THAT(u.core().view_groups()[0].devices, ElementsAre("0000:00:01.0"));
    EXPECT_THAT(u.core().view_groups()[0].note, HasSubstr("ENOMEM"));
    EXPECT_THAT(group.quarantine(), HasSubstr("ENOMEM"));
    EXPECT_EQ(error_of(group.use_default_domain()), EIO);
    EXPECT_EQ(error_of(group.claim_dma_owner(&me)), EIO);
    EXPECT_EQ(error_of(group.attach(u.driver().identity_domain())), EIO);
    EXPECT_EQ(error_of(group.replace(u.driver().identity_domain())), EIO);
    EXPECT_EQ(error_of(group.attach_pasid(u.driver().identity_domain(), 5)), EIO);
    EXPECT_EQ(error_of(group.begin_reset()), EIO);
    EXPECT_EQ(error_of(group.change_default_type(DomainType::kDma)), EIO);
    group.detach();
    group.release_dma_owner();
    EXPECT_THAT(u.driver().take_journal(), IsEmpty());
    EXPECT_FALSE(group.is_owned());
    EXPECT_EQ(group.domain(), nullptr);
  }
}

TEST(CoreTakeOver, WhoSharesAGroupWithAQuarantinedDeviceIsNotProbed) {
  Update u;
  u.driver().fail(Step::kRestore, 1, EIO);
  EXPECT_EQ(error_of(u.probe(1, 7)), EIO);
  u.driver().take_journal();
  EXPECT_EQ(error_of(u.probe(2, 7)), EIO);
  EXPECT_THAT(u.driver().take_journal(), IsEmpty());
  must(u.probe(3));  // others are not affected
}

TEST(CoreTakeOver, ADeviceWithoutADriverIsQuarantinedToo) {
  Update u;
  Core core;
  core.set_live_update(&u.system->live_update);
  EXPECT_EQ(error_of(core.probe_device(FakeDriver::device(1))), EIO);
  EXPECT_EQ(error_of(core.probe_device(FakeDriver::device(2))), ENODEV);
  EXPECT_EQ(core.quarantined().size(), 1u);
}

TEST(CoreTakeOver, APreservedDeviceWithTheAliasesOfTwoGroupsIsQuarantinedAlone) {
  Update u;
  Device& a = *must(u.probe(2));
  Device& b = *must(u.probe(3));
  DeviceInfo info = FakeDriver::device(1);
  info.aliases = {a.bdf(), b.bdf()};
  u.driver().take_journal();
  EXPECT_EQ(error_of(u.core().probe_device(info)), EIO);
  EXPECT_THAT(u.driver().take_journal(), IsEmpty());
  must(a.group().use_default_domain());
  a.group().unuse_default_domain();
}

// 81: as far as the core goes.
TEST(CoreTakeOver, AHandoverThatCannotBeReadIsNoReasonToTouchADevice) {
  Update u;
  u.core().refuse_devices("the standing carrier is not taken over");
  EXPECT_EQ(error_of(u.probe(2)), EIO);
  EXPECT_EQ(error_of(u.probe(1)), EIO);
  EXPECT_THAT(u.driver().take_journal(), IsEmpty());
  EXPECT_THAT(u.core().devices(), IsEmpty());
}

TEST(CoreTakeOver, AThirdKernelTakesOverWhatTheSecondHandedOverAgain) {
  Update u;
  Device& nic = *must(u.probe());
  Domain& domain = *nic.group().domain();
  must(u.system->live_update.preserve_domain(Carrier::kStanding, domain));
  must(u.system->live_update.preserve_device(Carrier::kStanding, domain, nic, 0));
  u.system->live_update.release(Carrier::kStanding);
  u.system.kexec();
  u.core().set_live_update(&u.system->live_update);
  Device& again = *must(u.probe());
  EXPECT_EQ(again.group().domain()->iova_to_phys(Iova{0x1000}), PhysAddr{kPhys + 0x1000});
}

}  // namespace
}  // namespace causeway::iommu
