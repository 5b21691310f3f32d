#include "machine/device_spec.h"

#include <gtest/gtest.h>

namespace causeway::machine {
namespace {

TEST(DeviceSpec, CapabilitiesForAnIommu) {
  auto spec = parse_device_spec("dma,ats=1,pasid=8,width=40");
  ASSERT_TRUE(spec.has_value());
  EXPECT_TRUE(spec->ats);
  EXPECT_EQ(spec->pasid_bits, 8u);
  EXPECT_EQ(spec->address_width, 40u);
  EXPECT_TRUE(parse_device_spec("nvme,ats=0,pasid=20").has_value());
  EXPECT_FALSE(parse_device_spec("dma,ats=2").has_value());
  EXPECT_FALSE(parse_device_spec("nvme,pasid=21").has_value());
}

TEST(DeviceSpec, KindAloneTakesTheFirstFreePlace) {
  std::vector<DeviceSpec> taken;
  for (unsigned i = 1; i <= 3; ++i) {
    auto spec = parse_device_spec("dma", taken);
    ASSERT_TRUE(spec);
    EXPECT_EQ(spec->bdf, Bdf(0, i, 0));
    EXPECT_EQ(spec->address_width, 64u);
    taken.push_back(*spec);
  }
}

TEST(DeviceSpec, AddressAndWidthAreTaken) {
  auto spec = parse_device_spec("dma@00:1f.7,width=32");
  ASSERT_TRUE(spec);
  EXPECT_EQ(spec->bdf, Bdf(0, 31, 7));
  EXPECT_EQ(spec->address_width, 32u);
}

TEST(DeviceSpec, NvmeHasDefaultsAndTakesItsOptions) {
  auto plain = parse_device_spec("nvme", {DeviceSpec{}});
  ASSERT_TRUE(plain);
  EXPECT_EQ(plain->kind, DeviceKind::kNvme);
  EXPECT_EQ(plain->bdf, Bdf(0, 2, 0));
  EXPECT_EQ(plain->nvme.size, MiB(64));
  EXPECT_EQ(plain->nvme.queues, 4u);
  EXPECT_FALSE(plain->nvme.shuffle);
  auto full = parse_device_spec(
      "nvme@00:02.1,file=a/b.img,lba=4096,queues=16,cmb=64K,shuffle=1,latency_us=50,size=8K");
  ASSERT_TRUE(full);
  EXPECT_EQ(full->bdf, Bdf(0, 2, 1));
  EXPECT_EQ(full->nvme.file, "a/b.img");
  EXPECT_EQ(full->nvme.block_size, 4096u);
  EXPECT_EQ(full->nvme.queues, 16u);
  EXPECT_EQ(full->nvme.cmb, KiB(64));
  EXPECT_TRUE(full->nvme.shuffle);
  EXPECT_EQ(full->nvme.latency_us, 50u);
  EXPECT_EQ(full->nvme.size, KiB(8));
  EXPECT_EQ(parse_device_spec("nvme,file=x")->nvme.size, 0u) << "the file stays as long as it is";
  EXPECT_EQ(parse_device_spec("nvme,cmb=0")->nvme.cmb, 0u);
}

TEST(DeviceSpec, FullBusHasNoPlaceLeft) {
  std::vector<DeviceSpec> taken;
  for (unsigned i = 1; i < 32; ++i) taken.push_back({DeviceKind::kDmaEngine, Bdf(0, i, 0), 64});
  EXPECT_EQ(parse_device_spec("dma", taken).error().code, Errno{ENOSPC});
}

class BadSpec : public testing::TestWithParam<const char*> {};
INSTANTIATE_TEST_SUITE_P(Texts, BadSpec,
                         testing::Values("", "nic", "dma@", "dma@1", "dma@00:20.0", "dma@00:01.8",
                                         "dma@01:01.0", "dma@00:0g.0", "dma,", "dma,width",
                                         "dma,width=", "dma,width=33", "dma,width=32x", "dma,speed=1",
                                         "dma@00:01.0,,", "nvme,width=32", "nvme,lba=1024", "nvme,queues=0",
                                         "nvme,queues=17", "nvme,cmb=100", "nvme,cmb=8M", "nvme,size=1000",
                                         "nvme,size=4608,lba=4096", "nvme,file=", "nvme,shuffle=2",
                                         "nvme,latency_us=x", "nvme,cmb=", "nvme,queues"));
TEST_P(BadSpec, IsEinval) {
  auto spec = parse_device_spec(GetParam());
  ASSERT_FALSE(spec) << GetParam();
  EXPECT_EQ(spec.error().code, Errno{EINVAL});
}

TEST(ParseSize, UnitsArePowersOf1024) {
  EXPECT_EQ(*parse_size("4096"), 4096u);
  EXPECT_EQ(*parse_size("2K"), KiB(2));
  EXPECT_EQ(*parse_size("256M"), MiB(256));
  EXPECT_EQ(*parse_size("1T"), GiB(1024));
}

TEST(ParseSize, NonsenseIsRefused) {
  for (const char* text : {"", "M", "0", "-1", "1.5G", "1GB", "0x10", " 1"})
    EXPECT_FALSE(parse_size(text)) << text;
  EXPECT_EQ(parse_size("18446744073709551615K").error().code, Errno{ERANGE});
}

}  // namespace
}  // namespace causeway::machine
