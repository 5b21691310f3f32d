// What a kernel reaches of IOMMUs: the firmware's table, their registers, and the capabilities of devices behind them.
#include "hw/dmar.h"
#include "hw/vtd.h"
#include "platform/testing/machine.h"

namespace causeway::platform::testing {
namespace {

std::unique_ptr<machine::Machine> with_iommu() {
  machine::MachineConfig config;
  config.ram = MiB(64);
  config.iommus = {machine::IommuSpec{.scalable = true}};
  config.devices = {machine::DeviceSpec{.ats = true, .pasid_bits = 8},
                    machine::DeviceSpec{.bdf = Bdf(0, 2, 0), .pasid_bits = 20},
                    machine::DeviceSpec{.bdf = Bdf(0, 3, 0)}};
  return std::move(*machine::Machine::create(config));
}

class IommuAccess : public ::testing::Test {
 protected:
  log::Capture quiet;
  std::unique_ptr<machine::Machine> machine = with_iommu();
  std::unique_ptr<Platform> platform = std::move(*Platform::attach(machine->connect()));
};

TEST_F(IommuAccess, TheFirmwareTableLeadsToTheRegisters) {
  auto table = platform->firmware_table();
  ASSERT_EQ(table.size(), kPageSize);
  ASSERT_EQ(std::memcmp(table.data(), "DMAR", 4), 0);
  hw::DmarUnit unit;
  std::memcpy(&unit, table.data() + sizeof(hw::DmarHeader), sizeof unit);
  MmioWindow regs = platform->mmio().window(PhysAddr(unit.register_base), hw::vtd::kRegisterBytes);
  EXPECT_EQ(regs.read32(hw::vtd::kVersion), 0x10u);
  EXPECT_EQ(hw::vtd::EcapScalableMode::get(regs.read64(hw::vtd::kEcap)), 1u);
  regs.write64(hw::vtd::kRootTable, 0x1234'5000);
  EXPECT_EQ(regs.read64(hw::vtd::kRootTable), 0x1234'5000u);
  regs.write32(hw::vtd::kRootTable, 0x6000);
  EXPECT_EQ(regs.read64(hw::vtd::kRootTable), 0x6000u);
}

TEST_F(IommuAccess, CapabilitiesOfDevices) {
  std::vector<PciFunction> functions = platform->pci().scan();
  ASSERT_EQ(functions.size(), 3u);
  PciFunction &both = functions[0], &pasid = functions[1], &none = functions[2];
  EXPECT_EQ(both.ats_queue_depth(), 32u);
  EXPECT_EQ(both.pasid_bits(), 8u);
  EXPECT_FALSE(both.ats_enabled());
  EXPECT_TRUE(both.set_ats(true));
  EXPECT_TRUE(both.set_pasid(true));
  EXPECT_TRUE(both.ats_enabled() && both.pasid_enabled());
  EXPECT_TRUE(both.set_ats(false));
  EXPECT_FALSE(both.ats_enabled());
  EXPECT_EQ(pasid.ats_queue_depth(), 0u);
  EXPECT_EQ(pasid.pasid_bits(), 20u);
  EXPECT_FALSE(pasid.set_ats(true));
  EXPECT_EQ(none.ats_queue_depth(), 0u);
  EXPECT_EQ(none.pasid_bits(), 0u);
  EXPECT_FALSE(none.set_pasid(true));
}

TEST(Platform, AMachineWithoutIommusHasAnEmptyTable) {
  auto machine = std::move(*machine::Machine::create({.ram = MiB(16)}));
  auto platform = std::move(*Platform::attach(machine->connect()));
  for (std::byte byte : platform->firmware_table()) ASSERT_EQ(byte, std::byte{0});
}

}  // namespace
}  // namespace causeway::platform::testing
