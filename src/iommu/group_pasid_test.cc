#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/testing/results.h"
#include "iommu/core.h"
#include "iommu/testing/fake_driver.h"

namespace causeway::iommu {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using testing::FakeDriver;

// A group of devices 1 and 3 with PASIDs and device 2 without, and domains to attach.
struct Group3 {
  explicit Group3(unsigned count = 3) {
    core.register_driver(driver);
    for (unsigned i = 1; i <= count; ++i) {
      DeviceInfo info = FakeDriver::device(i);
      info.isolation = 7;
      info.pasid_bits = i == 2 ? 0 : 16;
      devices.push_back(must(core.probe_device(info)));
    }
    group = &devices[0]->group();
    one = must(driver.alloc_paging(*devices[0], DomainType::kUnmanaged, 0));
    two = must(driver.alloc_paging(*devices[0], DomainType::kUnmanaged, 0));
    driver.take_journal();
  }
  ~Group3() {
    for (Device* device : devices) core.release_device(*device);
  }
  FakeDriver driver;
  Core core;
  std::vector<Device*> devices;
  Group* group;
  std::unique_ptr<Domain> one, two;
};

TEST(GroupPasid, EveryDeviceWithPasidsIsProgrammed) {
  Group3 s;
  AttachHandle handle;
  must(s.group->attach_pasid(*s.one, 5, &handle));
  EXPECT_THAT(s.driver.take_journal(), ElementsAre("attach 00:01.0+5 unmanaged#2 from nothing",
                                                   "attach 00:03.0+5 unmanaged#2 from nothing"));
  EXPECT_EQ(s.group->handle(5), &handle);
  EXPECT_EQ(handle.domain, s.one.get());
  EXPECT_EQ(s.group->handle(6), nullptr);
  EXPECT_TRUE(s.group->has_pasids());
  EXPECT_EQ(s.group->domain(), s.group->default_domain());  // requests without a PASID are as they were

  s.group->detach_pasid(5);
  EXPECT_THAT(s.driver.take_journal(), ElementsAre("attach 00:01.0+5 blocked from unmanaged#2",
                                                   "attach 00:03.0+5 blocked from unmanaged#2"));
  EXPECT_FALSE(s.group->has_pasids());
  EXPECT_EQ(handle.domain, nullptr);
  s.group->detach_pasid(5);
  EXPECT_THAT(s.driver.take_journal(), IsEmpty());
}

TEST(GroupPasid, ADriverWithoutPasidsIsEOPNOTSUPPBeforeAnythingElse) {
  Group3 s;
  s.driver.pasids = false;
  EXPECT_EQ(error_of(s.group->attach_pasid(*s.one, 5)), EOPNOTSUPP);
  EXPECT_EQ(error_of(s.group->attach_pasid(*s.one, 0)), EOPNOTSUPP);
  AttachHandle handle;
  EXPECT_EQ(error_of(s.group->replace_pasid(*s.one, 0, &handle)), EOPNOTSUPP);
  EXPECT_THAT(s.driver.take_journal(), IsEmpty());
}

TEST(GroupPasid, NumbersThatADeviceDoesNotHaveAreEINVAL) {
  Group3 s;
  EXPECT_EQ(error_of(s.group->attach_pasid(*s.one, kNoPasid)), EINVAL);
  EXPECT_EQ(error_of(s.group->attach_pasid(*s.one, kInvalidPasid)), EINVAL);
  EXPECT_EQ(error_of(s.group->attach_pasid(*s.one, 1 << 15)), EINVAL);
  EXPECT_EQ(error_of(s.group->attach_pasid(*s.one, (1 << 15) - 1)), 0);
  // The smallest of all counts.
  s.devices[2]->set_max_pasids(16);
  EXPECT_EQ(error_of(s.group->attach_pasid(*s.one, 16)), EINVAL);
  // Nothing would be programmed, and success would be a lie.
  for (Device* device : s.devices) device->set_max_pasids(0);
  EXPECT_EQ(error_of(s.group->attach_pasid(*s.one, 5)), EINVAL);
  for (Device* device : s.devices) device->set_max_pasids(1 << 15);
}

TEST(GroupPasid, AnOccupiedOneIsEBUSY) {
  Group3 s;
  must(s.group->attach_pasid(*s.one, 5));
  s.driver.take_journal();
  EXPECT_EQ(error_of(s.group->attach_pasid(*s.one, 5)), EBUSY);
  EXPECT_EQ(error_of(s.group->attach_pasid(*s.two, 5)), EBUSY);
  EXPECT_THAT(s.driver.take_journal(), IsEmpty());
}

TEST(GroupPasid, AFailureRevertsThoseBefore) {
  Group3 s;
  AttachHandle handle;
  s.driver.fail_attach_pasid(2, ENOSPC);
  EXPECT_EQ(error_of(s.group->attach_pasid(*s.one, 5, &handle)), ENOSPC);
  EXPECT_THAT(s.driver.take_journal(), ElementsAre("attach 00:01.0+5 unmanaged#2 from nothing",
                                                   "attach 00:03.0+5 unmanaged#2 from nothing: fails",
                                                   "attach 00:01.0+5 blocked from unmanaged#2"));
  EXPECT_EQ(s.group->handle(5), nullptr);
  EXPECT_EQ(handle.domain, nullptr);
  EXPECT_FALSE(s.group->has_pasids());
}

TEST(GroupPasid, ReplaceNeedsSomethingToReplaceAndAnotherHandle) {
  Group3 s;
  AttachHandle first, second;
  EXPECT_EQ(error_of(s.group->replace_pasid(*s.one, 5, &first)), EINVAL);
  must(s.group->attach_pasid(*s.one, 5, &first));
  EXPECT_EQ(error_of(s.group->replace_pasid(*s.two, 5, &first)), EINVAL);
  EXPECT_EQ(error_of(s.group->replace_pasid(*s.two, 5, nullptr)), EINVAL);
  s.driver.take_journal();

  must(s.group->replace_pasid(*s.one, 5, &second));  // only the handle
  EXPECT_THAT(s.driver.take_journal(), IsEmpty());
  EXPECT_EQ(s.group->handle(5), &second);
  EXPECT_EQ(first.domain, nullptr);

  must(s.group->replace_pasid(*s.two, 5, &first));
  EXPECT_THAT(s.driver.take_journal(), ElementsAre("attach 00:01.0+5 unmanaged#3 from unmanaged#2",
                                                   "attach 00:03.0+5 unmanaged#3 from unmanaged#2"));
  EXPECT_EQ(first.domain, s.two.get());
  EXPECT_EQ(second.domain, nullptr);
}

// 51: the core's part.
TEST(GroupPasid, AReplaceThatFailsLeavesTheOldDomainOnEveryDevice) {
  for (bool blocks : {true, false}) {
    Group3 s;
    s.driver.failure_blocks = blocks;
    AttachHandle first, second;
    must(s.group->attach_pasid(*s.one, 5, &first));
    s.driver.take_journal();
    s.driver.fail_attach_pasid(2, EINVAL);
    EXPECT_EQ(error_of(s.group->replace_pasid(*s.two, 5, &second)), EINVAL);
    EXPECT_THAT(s.driver.take_journal(), ElementsAre("attach 00:01.0+5 unmanaged#3 from unmanaged#2",
                                                     "attach 00:03.0+5 unmanaged#3 from unmanaged#2: fails",
                                                     "attach 00:01.0+5 unmanaged#2 from unmanaged#3",
                                                     "attach 00:03.0+5 unmanaged#2 from nothing"));
    EXPECT_EQ(s.group->handle(5), &first);
    EXPECT_EQ(second.domain, nullptr);
    EXPECT_EQ(s.driver.on(*s.devices[0], 5), s.one.get());
    EXPECT_EQ(s.driver.on(*s.devices[2], 5), s.one.get());
  }
}

TEST(GroupPasid, AResetBlocksThemAndBringsThemBack) {
  Group3 s(1);
  must(s.group->attach_pasid(*s.one, 5));
  must(s.group->attach_pasid(*s.two, 6));
  s.driver.take_journal();
  must(s.group->begin_reset());
  EXPECT_EQ(error_of(s.group->attach_pasid(*s.one, 7)), EBUSY);
  AttachHandle handle;
  EXPECT_EQ(error_of(s.group->replace_pasid(*s.one, 6, &handle)), EBUSY);
  s.group->detach_pasid(6);
  s.group->end_reset();
  EXPECT_THAT(s.driver.take_journal(),
              ElementsAre("attach 00:01.0 blocked from DMA-FQ#1", "attach 00:01.0+5 blocked from unmanaged#2",
                          "attach 00:01.0+6 blocked from unmanaged#3", "attach 00:01.0 DMA-FQ#1 from blocked",
                          "attach 00:01.0+5 unmanaged#2 from nothing"));
}

TEST(GroupPasid, ADeviceLosesThemBeforeItGoes) {
  Group3 s(1);
  AttachHandle handle;
  must(s.group->attach_pasid(*s.one, 5, &handle));
  // Whoever joined would not have it.
  DeviceInfo info = FakeDriver::device(2);
  info.isolation = 7;
  EXPECT_EQ(error_of(s.core.probe_device(info)), EBUSY);
  s.driver.take_journal();
  s.core.release_device(*s.devices[0]);
  s.devices.clear();
  EXPECT_THAT(s.driver.take_journal(), ElementsAre("attach 00:01.0+5 blocked from unmanaged#2",
                                                   "attach 00:01.0 blocked from DMA-FQ#1", "release 00:01.0"));
  EXPECT_EQ(handle.domain, nullptr);
}

}  // namespace
}  // namespace causeway::iommu
