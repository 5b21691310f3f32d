// The fixture of the controller's tests: a machine with a DMA engine and a controller, a raw kernel, drivers
// of both, and places in RAM.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <string>

#include "base/log.h"
#include "hw/stream_record.h"
#include "machine/machine.h"
#include "machine/testing/mini_nvme.h"

namespace causeway::machine::testing {

inline constexpr PhysAddr kAdminRings{0x10'0000};
inline constexpr uint64_t kQueueRings = 0x20'0000;  // + 0x10000 per queue
inline constexpr PhysAddr kEngineRings{0x30'0000};
inline constexpr uint64_t kLists = 0x38'0000;
inline constexpr uint64_t kData = 0x40'0000;
inline constexpr Bdf kDisk(0, 2, 0);

class NvmeTest : public ::testing::Test {
 protected:
  explicit NvmeTest(const std::string& options = "size=16M,queues=4,cmb=256K") : options_(options) {}

  void SetUp() override {
    MachineConfig config;
    config.ram = MiB(64);
    config.devices.push_back(*parse_device_spec("nvme@00:02.0," + options_));
    machine = *Machine::create(config);
    kernel = std::make_unique<RawKernel>(machine->connect());
    registers = std::make_unique<RawRegisters>(*kernel, kDisk);
    disk = std::make_unique<MiniNvme>(*registers);
    ASSERT_TRUE(disk->enable(kAdminRings));
  }
  static PhysAddr rings(unsigned queue) { return PhysAddr(kQueueRings + 0x10000 * queue); }
  std::byte* ram(uint64_t address) { return kernel->ram(PhysAddr(address)); }
  void fill(uint64_t address, uint64_t bytes, uint64_t seed) {
    regs::fill_payload(ram(address), bytes, seed);
  }
  bool same(uint64_t a, uint64_t b, uint64_t bytes) { return std::memcmp(ram(a), ram(b), bytes) == 0; }
  bool is_zero(uint64_t address, uint64_t bytes) {
    for (uint64_t i = 0; i < bytes; ++i) {
      if (ram(address)[i] != std::byte{0}) return false;
    }
    return true;
  }
  template <typename Entry>
  void put(uint64_t address, const Entry& entry) {
    std::memcpy(ram(address), &entry, sizeof entry);
  }
  void inject(hw::control::Fault fault, uint64_t nth) {
    EXPECT_EQ(control_call(kernel->control(), hw::control::Op::kInject, static_cast<uint64_t>(fault), nth)
                  .reply.error,
              0);
  }
  bool is_fatal() { return nvm::CstsCfs::get(registers->read32(nvm::kCsts)) != 0; }

  const std::string options_;
  log::Capture quiet;
  std::unique_ptr<Machine> machine;
  std::unique_ptr<RawKernel> kernel;
  std::unique_ptr<RawRegisters> registers;
  std::unique_ptr<MiniNvme> disk;
};

}  // namespace causeway::machine::testing
