#include "iommu/group.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/log.h"
#include "base/testing/results.h"
#include "iommu/core.h"
#include "iommu/testing/fake_driver.h"

namespace causeway::iommu {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using testing::FakeDomain;
using testing::FakeDriver;

// A group of some devices on its default domain DMA-FQ#1, and domains to attach.
struct Fixture {
  explicit Fixture(unsigned count = 1) {
    core.register_driver(driver);
    for (unsigned i = 1; i <= count; ++i) {
      DeviceInfo info = FakeDriver::device(i);
      info.isolation = 7;
      devices.push_back(must(core.probe_device(info)));
    }
    group = &devices[0]->group();
    one = must(driver.alloc_paging(*devices[0], DomainType::kUnmanaged, 0));
    two = must(driver.alloc_paging(*devices[0], DomainType::kUnmanaged, 0));
    driver.take_journal();
  }
  ~Fixture() {
    group->detach();
    for (Device* device : devices) core.release_device(*device);
  }
  void expect_all_on(Domain& domain) {
    for (Device* device : devices) EXPECT_EQ(driver.on(*device), &domain) << device->name();
    EXPECT_EQ(group->domain(), &domain);
  }
  FakeDriver driver;
  Core core;
  std::vector<Device*> devices;
  Group* group;
  std::unique_ptr<Domain> one, two;
};
int me, other;

TEST(Group, AttachAndDetachOneDevice) {
  Fixture s;
  must(attach_device(*s.one, *s.devices[0]));
  EXPECT_EQ(error_of(attach_device(*s.one, *s.devices[0])), EBUSY);  // the same one, too
  EXPECT_EQ(error_of(attach_device(*s.two, *s.devices[0])), EBUSY);
  detach_device(*s.devices[0]);
  EXPECT_THAT(s.driver.take_journal(), ElementsAre("attach 00:01.0 unmanaged#2 from DMA-FQ#1",
                                                   "attach 00:01.0 DMA-FQ#1 from unmanaged#2"));
}

TEST(Group, OneDeviceOfSeveralIsNotAttachedAlone) {
  Fixture s(2);
  log::Capture capture;
  EXPECT_EQ(error_of(attach_device(*s.one, *s.devices[0])), EINVAL);
  must(s.group->attach(*s.one));
  detach_device(*s.devices[0]);
  EXPECT_TRUE(capture.contains("shares its group"));
  s.expect_all_on(*s.one);
}

TEST(Group, TheSameDomainIsSuccessWithoutTheDriver) {
  Fixture s(2);
  must(s.group->replace(*s.group->default_domain()));
  s.group->detach();
  EXPECT_THAT(s.driver.take_journal(), IsEmpty());
}

TEST(Group, ADomainOfAnotherDriverIsRefused) {
  Fixture s;
  FakeDriver stranger;
  auto foreign = must(stranger.alloc_paging(*s.devices[0], DomainType::kUnmanaged, 0));
  MapDomain nobodys;
  for (Domain* domain : {foreign.get(), static_cast<Domain*>(&nobodys)}) {
    EXPECT_EQ(error_of(s.group->attach(*domain)), EINVAL);
    EXPECT_EQ(error_of(s.group->replace(*domain)), EINVAL);
    EXPECT_EQ(error_of(s.group->attach_pasid(*domain, 1)), EINVAL);
  }
  EXPECT_THAT(s.driver.take_journal(), IsEmpty());
}

TEST(Group, AGroupWithoutDevicesIsENODEV) {
  Group empty(3);
  Fixture s;
  EXPECT_EQ(error_of(empty.attach(*s.one)), ENODEV);
  EXPECT_EQ(error_of(empty.replace(*s.one)), ENODEV);
  EXPECT_EQ(error_of(empty.attach_pasid(*s.one, 1)), ENODEV);
  EXPECT_EQ(error_of(empty.claim_dma_owner(&me)), ENODEV);
  EXPECT_EQ(error_of(empty.begin_reset()), ENODEV);
  EXPECT_EQ(error_of(empty.change_default_type(DomainType::kDma)), ENODEV);
  EXPECT_EQ(error_of(empty.use_default_domain()), EAGAIN);  // a driver is probed again later
  empty.detach();
}

TEST(Group, AttachFailsInTheMiddleAndEverybodyIsBack) {
  Fixture s(3);
  s.driver.fail_attach(2, EINVAL);
  EXPECT_EQ(error_of(s.group->attach(*s.one)), EINVAL);
  EXPECT_THAT(s.driver.take_journal(),
              ElementsAre("attach 00:01.0 unmanaged#2 from DMA-FQ#1", "attach 00:02.0 unmanaged#2 from DMA-FQ#1: fails",
                          "attach 00:01.0 DMA-FQ#1 from unmanaged#2", "attach 00:02.0 DMA-FQ#1 from blocked"));
  s.expect_all_on(*s.group->default_domain());
}

// 26
TEST(Group, AnIncompatibleDomainLeavesTheDeviceOnItsOldOne) {
  for (bool blocks : {true, false}) {
    Fixture s;
    s.driver.failure_blocks = blocks;
    must(s.group->attach(*s.one));
    s.driver.fail_attach(1, EINVAL);
    EXPECT_EQ(error_of(s.group->replace(*s.two)), EINVAL);
    s.expect_all_on(*s.one);
  }
}

TEST(Group, DetachGoesOnOverErrors) {
  Fixture s(3);
  must(s.group->attach(*s.one));
  s.driver.take_journal();
  s.driver.fail_attach(2, EIO);
  log::Capture capture;
  s.group->detach();
  EXPECT_THAT(s.driver.take_journal(),
              ElementsAre("attach 00:01.0 DMA-FQ#1 from unmanaged#2", "attach 00:02.0 DMA-FQ#1 from unmanaged#2: fails",
                          "attach 00:02.0 blocked from unmanaged#2", "attach 00:03.0 DMA-FQ#1 from unmanaged#2"));
  EXPECT_TRUE(capture.contains("0000:00:02.0: cannot be attached to its DMA-FQ domain"));
  // Never on the domain that its owner may free now.
  EXPECT_EQ(s.driver.on(*s.devices[1]), &s.driver.blocked_domain());
  EXPECT_EQ(s.group->domain(), s.group->default_domain());
}

TEST(Group, ReplaceGoesFromAnyDomain) {
  Fixture s;
  must(s.group->attach(*s.one));
  must(s.group->replace(*s.two));
  EXPECT_THAT(s.driver.take_journal(), ElementsAre("attach 00:01.0 unmanaged#2 from DMA-FQ#1",
                                                   "attach 00:01.0 unmanaged#3 from unmanaged#2"));
}

TEST(Group, HandlesComeAndGoWithTheirAttachments) {
  Fixture s;
  AttachHandle first, second;
  must(s.group->attach(*s.one, &first));
  EXPECT_EQ(first.domain, s.one.get());
  EXPECT_EQ(s.group->handle(kNoPasid), &first);
  EXPECT_EQ(error_of(s.group->replace(*s.two, &first)), EINVAL);
  // The same domain with another handle: the driver is not asked.
  s.driver.take_journal();
  must(s.group->replace(*s.one, &second));
  EXPECT_THAT(s.driver.take_journal(), IsEmpty());
  EXPECT_EQ(first.domain, nullptr);
  EXPECT_EQ(s.group->handle(kNoPasid), &second);
  // A failure changes neither.
  s.driver.fail_attach(1, EIO);
  EXPECT_EQ(error_of(s.group->replace(*s.two, &first)), EIO);
  EXPECT_EQ(s.group->handle(kNoPasid), &second);
  EXPECT_EQ(first.domain, nullptr);
  s.group->detach();
  EXPECT_EQ(second.domain, nullptr);
  EXPECT_EQ(s.group->handle(kNoPasid), nullptr);
  must(s.group->attach(*s.two, &first));
}

TEST(GroupOwner, AKernelDriverKeepsProgramsOut) {
  Fixture s;
  must(s.group->use_default_domain());
  must(s.group->use_default_domain());
  EXPECT_FALSE(s.group->is_owned());
  EXPECT_EQ(error_of(s.group->claim_dma_owner(&me)), EBUSY);
  s.group->unuse_default_domain();
  EXPECT_EQ(error_of(s.group->claim_dma_owner(&me)), EBUSY);
  s.group->unuse_default_domain();
  must(s.group->claim_dma_owner(&me));
}

TEST(GroupOwner, AProgramKeepsEverybodyElseOut) {
  Fixture s(2);
  must(s.group->claim_dma_owner(&me));
  EXPECT_TRUE(s.group->is_owned());
  s.expect_all_on(s.driver.blocked_domain());
  EXPECT_EQ(error_of(s.group->use_default_domain()), EBUSY);
  EXPECT_EQ(error_of(s.group->claim_dma_owner(&other)), EPERM);
  EXPECT_EQ(error_of(s.group->claim_dma_owner(nullptr)), EINVAL);
  must(s.group->claim_dma_owner(&me));
  s.group->release_dma_owner();
  EXPECT_TRUE(s.group->is_owned());
  s.group->release_dma_owner();
  EXPECT_FALSE(s.group->is_owned());
  s.expect_all_on(*s.group->default_domain());
  must(s.group->use_default_domain());
}

TEST(GroupOwner, AnOwnersDetachBlocks) {
  Fixture s;
  must(s.group->claim_dma_owner(&me));
  must(s.group->attach(*s.one));
  s.group->detach();
  s.expect_all_on(s.driver.blocked_domain());
  must(s.group->attach(*s.one));  // from the blocking domain
  s.group->release_dma_owner();   // with a domain attached: it is taken away
  s.expect_all_on(*s.group->default_domain());
}

TEST(GroupOwner, AnotherDomainThanTheDefaultOneIsBusy) {
  Fixture s;
  must(s.group->attach(*s.one));
  EXPECT_EQ(error_of(s.group->use_default_domain()), EBUSY);
  EXPECT_EQ(error_of(s.group->claim_dma_owner(&me)), EBUSY);
}

TEST(GroupOwner, PasidsAreBusyAndEndWithTheOwner) {
  FakeDriver driver;
  Core core;
  core.register_driver(driver);
  DeviceInfo info = FakeDriver::device(1);
  info.pasid_bits = 20;
  Device& device = *must(core.probe_device(info));
  Group& group = device.group();
  auto domain = must(driver.alloc_paging(device, DomainType::kUnmanaged, 0));
  must(group.attach_pasid(*domain, 5));
  EXPECT_EQ(error_of(group.use_default_domain()), EBUSY);
  EXPECT_EQ(error_of(group.claim_dma_owner(&me)), EBUSY);
  group.detach_pasid(5);
  must(group.claim_dma_owner(&me));
  AttachHandle handle;
  must(group.attach_pasid(*domain, 6, &handle));
  driver.take_journal();
  group.release_dma_owner();
  EXPECT_THAT(driver.take_journal(), ElementsAre("attach 00:01.0+6 blocked from unmanaged#2",
                                                 "attach 00:01.0 DMA-FQ#1 from blocked"));
  EXPECT_FALSE(group.has_pasids());
  EXPECT_EQ(handle.domain, nullptr);
  core.release_device(device);
}

TEST(GroupOwner, ABlockThatFailsIsNoClaim) {
  Fixture s(2);
  s.driver.fail_attach(2, EIO);
  EXPECT_EQ(error_of(s.group->claim_dma_owner(&me)), EIO);
  EXPECT_FALSE(s.group->is_owned());
  s.expect_all_on(*s.group->default_domain());
  must(s.group->use_default_domain());
}

TEST(GroupOwner, WhatWasNeverTakenIsNotGivenBack) {
  Fixture s;
  log::Capture capture;
  s.group->release_dma_owner();
  EXPECT_TRUE(capture.contains("an owner that it does not have"));
  s.group->unuse_default_domain();
  EXPECT_TRUE(capture.contains("nobody uses the default domain"));
  must(s.group->claim_dma_owner(&me));
  EXPECT_EQ(error_of(s.group->use_default_domain()), EBUSY);
}

TEST(GroupReset, NothingIsTranslatedOrAttachedMeanwhile) {
  Fixture s(2);
  must(s.group->attach(*s.one));
  s.driver.take_journal();
  must(s.group->begin_reset());
  must(s.group->begin_reset());
  for (Device* device : s.devices) EXPECT_EQ(s.driver.on(*device), &s.driver.blocked_domain());
  EXPECT_EQ(s.group->domain(), s.one.get());
  EXPECT_EQ(error_of(s.group->attach(*s.two)), EBUSY);
  EXPECT_EQ(error_of(s.group->replace(*s.two)), EBUSY);
  EXPECT_EQ(error_of(s.group->attach_deferred(*s.devices[0])), 0);  // nothing is
  s.group->end_reset();
  EXPECT_EQ(s.driver.on(*s.devices[0]), &s.driver.blocked_domain());
  s.group->end_reset();
  s.expect_all_on(*s.one);
  EXPECT_THAT(s.driver.take_journal(),
              ElementsAre("attach 00:01.0 blocked from unmanaged#2", "attach 00:02.0 blocked from unmanaged#2",
                          "attach 00:01.0 unmanaged#2 from blocked", "attach 00:02.0 unmanaged#2 from blocked"));
}

TEST(GroupReset, WhatIsDetachedMeanwhileIsNotSeenAgain) {
  Fixture s;
  must(s.group->claim_dma_owner(&me));
  EXPECT_EQ(error_of(s.group->begin_reset()), 0);
  s.group->end_reset();
  must(s.group->attach(*s.one));
  must(s.group->begin_reset());
  s.driver.take_journal();
  s.group->release_dma_owner();
  EXPECT_THAT(s.driver.take_journal(), IsEmpty());
  s.group->end_reset();
  EXPECT_THAT(s.driver.take_journal(), ElementsAre("attach 00:01.0 DMA-FQ#1 from blocked"));
}

TEST(GroupReset, ADeviceThatCannotBeBlockedIsNotReset) {
  Fixture s(2);
  s.driver.fail_attach(2, EIO);
  EXPECT_EQ(error_of(s.group->begin_reset()), EIO);
  s.expect_all_on(*s.group->default_domain());
  must(s.group->attach(*s.one));
}

TEST(GroupReset, AClaimWaitsForItsEnd) {
  Fixture s;
  must(s.group->begin_reset());
  EXPECT_EQ(error_of(s.group->claim_dma_owner(&me)), EBUSY);
  EXPECT_EQ(error_of(s.group->change_default_type(DomainType::kDma)), EBUSY);
  s.group->end_reset();
  must(s.group->claim_dma_owner(&me));
  log::Capture capture;
  s.group->end_reset();
  EXPECT_TRUE(capture.contains("a reset that did not begin"));
}

}  // namespace
}  // namespace causeway::iommu
