// The kernel's view of MSI-X, on an NVMe controller.
#include <gtest/gtest.h>

#include "hw/nvme.h"
#include "machine/testing/mini_nvme.h"
#include "platform/testing/machine.h"

namespace causeway::platform {
namespace {

using namespace testing;
using namespace machine::testing;

class MsixTest : public ::testing::Test {
 protected:
  static machine::MachineConfig config() {
    machine::MachineConfig config;
    config.ram = MiB(16);
    config.devices.push_back(*machine::parse_device_spec("nvme@00:02.0,size=1M,queues=2,cmb=0"));
    return config;
  }
  PciFunction function(Bdf bdf) {
    for (PciFunction& found : platform->pci().scan()) {
      if (found.bdf() == bdf) return found;
    }
    ADD_FAILURE() << "no function there";
    return platform->pci().scan()[0];
  }
  uint64_t count(uint8_t vector) { return counts[vector].load(); }

  log::Capture quiet;
  std::array<std::atomic<uint64_t>, 256> counts{};
  std::unique_ptr<machine::Machine> machine = *machine::Machine::create(config());
  std::unique_ptr<Platform> platform = *Platform::attach(machine->connect());
};

TEST_F(MsixTest, EntriesAreCountedAndBadOnesRefused) {
  PciFunction disk = function(Bdf(0, 2, 0));
  EXPECT_EQ(disk.msix_entries(), 3u);
  EXPECT_EQ(disk.enable_msix(3, 40).error().code, Errno{EINVAL});
  PciFunction engine = function(Bdf(0, 1, 0));
  EXPECT_EQ(engine.msix_entries(), 0u);
  EXPECT_EQ(engine.enable_msix(0, 40).error().code, Errno{ENODEV});
  engine.disable_msix();
}

TEST_F(MsixTest, EntryGoesToItsVectorAndIsTakenOverInPlace) {
  PlatformRegisters registers(*platform, Bdf(0, 2, 0));
  PciFunction disk = function(Bdf(0, 2, 0));
  for (unsigned vector : {40u, 41u, 42u, 43u})
    platform->interrupts().set_handler(static_cast<uint8_t>(vector), [this, vector] { ++counts[vector]; });
  platform->interrupts().start();
  ASSERT_TRUE(disk.enable_msix(0, 40));
  ASSERT_TRUE(disk.enable_msix(2, 42));
  MiniNvme driver(registers);
  ASSERT_TRUE(driver.enable(PhysAddr{0x10'0000}));
  driver.create_queue(1, PhysAddr{0x20'0000}, 16, 2, true);
  driver.run(1, read_command(0, 1, 0x30'0000));
  EXPECT_TRUE(eventually([&] { return count(40) >= 1 && count(42) == 1; }));
  ASSERT_TRUE(disk.enable_msix(2, 43));
  driver.run(1, read_command(0, 1, 0x30'0000));
  EXPECT_TRUE(eventually([&] { return count(43) == 1; }));
  EXPECT_EQ(count(42), 1u);
  ASSERT_TRUE(disk.mask_msix(2));
  driver.run(1, read_command(0, 1, 0x30'0000));
  driver.run(1, read_command(0, 1, 0x30'0000));
  ASSERT_TRUE(eventually([&] { return registers.read32(hw::nvme::kMsixPba) == 4; }));
  EXPECT_EQ(count(43), 1u);
  ASSERT_TRUE(disk.enable_msix(2, 42));
  EXPECT_TRUE(eventually([&] { return count(42) == 2; })) << "the masked one, once";
  disk.disable_msix();
  driver.run(1, read_command(0, 1, 0x30'0000));
  EXPECT_EQ(count(42), 2u);
}

}  // namespace
}  // namespace causeway::platform
