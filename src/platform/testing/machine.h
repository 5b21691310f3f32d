// For the tests of this room: a machine in this process, a platform attached to it, and the register
// access that machine/testing/mini_driver.h wants.
#pragma once

#include <gtest/gtest.h>

#include "base/log.h"
#include "base/point.h"
#include "machine/machine.h"
#include "machine/testing/mini_driver.h"
#include "platform/platform.h"

namespace causeway::platform::testing {

namespace regs = hw::dma_engine;

class PlatformRegisters final : public machine::testing::Registers {
 public:
  explicit PlatformRegisters(Platform& platform, Bdf bdf = Bdf(0, 1, 0)) : platform_(platform) {
    for (PciFunction& function : platform.pci().scan()) {
      if (function.bdf() != bdf) continue;
      function.enable_memory();
      function.set_bus_master(true);
      window = function.bar0();
    }
  }
  void write32(uint32_t offset, uint32_t value) override { window.write32(offset, value); }
  void write64(uint32_t offset, uint64_t value) override { window.write64(offset, value); }
  uint32_t read32(uint32_t offset) override { return window.read32(offset); }
  uint64_t read64(uint32_t offset) override { return window.read64(offset); }
  uint32_t read32_with_effect(uint32_t offset) override { return window.read32_with_effect(offset); }
  std::byte* ram(PhysAddr address) override { return platform_.direct_map().to_virt(address); }

  MmioWindow window;

 private:
  Platform& platform_;
};

class PlatformTest : public ::testing::Test {
 protected:
  static machine::MachineConfig config() {
    machine::MachineConfig config;
    config.ram = MiB(64);
    return config;
  }
  std::unique_ptr<Platform> attach() {
    auto attached = Platform::attach(machine->connect());
    EXPECT_TRUE(attached);
    return attached ? std::move(*attached) : nullptr;
  }
  void TearDown() override { point::disarm_all(); }

  log::Capture quiet;
  std::unique_ptr<machine::Machine> machine = *machine::Machine::create(config());
  std::unique_ptr<Platform> platform = attach();
};

}  // namespace causeway::platform::testing
