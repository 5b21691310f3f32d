// The fixture of the engine's tests: a small machine, a raw kernel, a driver, and places in RAM.
#pragma once

#include <gtest/gtest.h>

#include <memory>

#include "base/log.h"
#include "hw/stream_record.h"
#include "machine/machine.h"
#include "machine/testing/mini_driver.h"

namespace causeway::machine::testing {

using regs::kStreamQueue;
using regs::kWorkQueue;
using regs::TransferStatus;

inline constexpr PhysAddr kWorkRings{0x10'0000};
inline constexpr PhysAddr kStreamRings{0x20'0000};
inline constexpr uint64_t kBuffers = 0x40'0000;
inline constexpr uint32_t kHold = static_cast<uint32_t>(regs::OverrunHold::make(1));

class DmaEngineTest : public ::testing::Test {
 protected:
  static MachineConfig config() {
    MachineConfig config;
    config.ram = MiB(64);
    return config;
  }
  void post_buffers(unsigned count, uint32_t size) {
    for (unsigned i = 0; i < count; ++i) {
      uint32_t index = driver.tail(kStreamQueue) % driver.entries(kStreamQueue);
      driver.put(kStreamQueue,
                 buffer(kBuffers + uint64_t{index} * size, size, kBuffers + uint64_t{index} * size));
    }
    driver.ring_doorbell(kStreamQueue);
  }
  uint64_t head_room() {
    return driver.read32(kStreamQueue, regs::kTail) - driver.read32(kStreamQueue, regs::kHead);
  }
  void inject(hw::control::Fault fault, uint64_t nth) {
    EXPECT_EQ(control_call(kernel.control(), hw::control::Op::kInject, static_cast<uint64_t>(fault), nth)
                  .reply.error,
              0);
  }

  log::Capture quiet;
  std::unique_ptr<Machine> machine = *Machine::create(config());
  RawKernel kernel{machine->connect()};
  RawRegisters registers{kernel};
  MiniDriver driver{registers};
};

}  // namespace causeway::machine::testing
