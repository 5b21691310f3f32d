#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/testing/results.h"
#include "iommu/core.h"
#include "iommu/testing/fake_driver.h"

namespace causeway::iommu {
namespace {

using ::testing::ElementsAre;
using testing::FakeDriver;

TEST(CoreView, GroupsAreShownWithTheirDevicesAndRegions) {
  FakeDriver driver;
  driver.regions[Bdf(0, 1, 0)] = {{Iova{0xfee00000}, Iova{0xfeefffff}, ReservedRegion::Kind::kMsi}};
  Core core;
  core.register_driver(driver);
  for (unsigned number : {1, 2, 3}) {
    DeviceInfo info = FakeDriver::device(number);
    info.isolation = number == 3 ? 0 : 7;
    must(core.probe_device(info));
  }
  must(core.find(0, Bdf(0, 3, 0))->group().claim_dma_owner(&core));
  auto groups = core.view_groups();
  ASSERT_EQ(groups.size(), 2u);
  EXPECT_EQ(groups[0].id, 0u);
  EXPECT_EQ(groups[0].type, "DMA-FQ");
  EXPECT_THAT(groups[0].devices, ElementsAre("0000:00:01.0", "0000:00:02.0"));
  EXPECT_EQ(groups[0].reserved_regions, "0x00000000fee00000 0x00000000feefffff msi\n");
  EXPECT_EQ(groups[0].note, "");
  EXPECT_EQ(groups[1].note, "owned");
  for (Device* device : core.devices()) core.release_device(*device);
}

TEST(CoreView, TheTypeIsWrittenAsText) {
  FakeDriver driver;
  Core core;
  core.register_driver(driver);
  Device& device = *must(core.probe_device(FakeDriver::device(1)));
  must(core.write_group_type(0, "identity"));
  EXPECT_EQ(device.group().type(), DomainType::kIdentity);
  must(core.write_group_type(0, "DMA"));
  EXPECT_EQ(device.group().type(), DomainType::kDma);
  must(core.write_group_type(0, "auto"));
  EXPECT_EQ(device.group().type(), DomainType::kDmaFq);
  EXPECT_EQ(error_of(core.write_group_type(0, "unmanaged")), EINVAL);
  EXPECT_EQ(error_of(core.write_group_type(0, "")), EINVAL);
  EXPECT_EQ(error_of(core.write_group_type(1, "DMA")), ENOENT);
  must(device.group().use_default_domain());
  EXPECT_EQ(error_of(core.write_group_type(0, "DMA")), EBUSY);
  device.group().unuse_default_domain();
  core.release_device(device);
}

}  // namespace
}  // namespace causeway::iommu
