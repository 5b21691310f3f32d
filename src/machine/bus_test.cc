#include "machine/bus.h"

#include <gtest/gtest.h>

#include <random>

#include "base/log.h"
#include "machine/machine.h"
#include "machine/testing/mini_driver.h"

namespace causeway::machine {
namespace {

using namespace testing;
namespace pci = hw::pci;

class BusTest : public ::testing::Test {
 protected:
  static MachineConfig config() {
    MachineConfig config;
    config.ram = MiB(16);
    config.devices = {{DeviceKind::kDmaEngine, Bdf(0, 1, 0), 64},
                      {DeviceKind::kDmaEngine, Bdf(0, 1, 3), 32},
                      {DeviceKind::kDmaEngine, Bdf(0, 7, 0), 64}};
    return config;
  }
  log::Capture quiet;
  std::unique_ptr<Machine> machine = *Machine::create(config());
  RawKernel kernel{machine->connect()};
  PhysAddr space = kernel.config(Bdf(0, 1, 0));
};

TEST_F(BusTest, AbsentFunctionsReadAllOnes) {
  for (Bdf bdf : {Bdf(0, 0, 0), Bdf(0, 1, 1), Bdf(0, 31, 7)}) {
    EXPECT_EQ(kernel.read(kernel.config(bdf) + pci::kVendorId, 2), 0xffffu);
    kernel.write(kernel.config(bdf) + pci::kCommand, 6, 2);
    EXPECT_EQ(kernel.read(kernel.config(bdf) + pci::kCommand, 2), 0xffffu);
    EXPECT_EQ(kernel.read_with_effect(kernel.config(bdf), 4), ~uint64_t{0});
  }
}

TEST_F(BusTest, HeaderAnswersForEveryFunction) {
  for (const DeviceSpec& spec : config().devices) {
    PhysAddr at = kernel.config(spec.bdf);
    EXPECT_EQ(kernel.read(at + pci::kVendorId, 2), regs::kVendor);
    EXPECT_EQ(kernel.read(at + pci::kDeviceId, 2), regs::kDevice);
    EXPECT_EQ(kernel.read(at + pci::kClassRevision, 4) >> 8, regs::kClassCode);
    EXPECT_EQ(kernel.read(at + pci::kCommand, 2), 0u) << "power-on";
    EXPECT_EQ(kernel.read(at + pci::kHeaderType, 1), spec.bdf.device() == 1 ? 0x80u : 0u);
    EXPECT_EQ(kernel.read(at + pci::kCapabilities, 1), pci::kMsiOffset);
    EXPECT_EQ(kernel.read(at + pci::kMsiOffset, 1), pci::kMsiCapabilityId);
  }
}

TEST_F(BusTest, BarSizesByAllOnesAndComesBack) {
  uint64_t before = kernel.read(space + pci::kBar0, 4);
  kernel.write(space + pci::kBar0, 0xffffffff, 4);
  kernel.write(space + (pci::kBar0 + 4), 0xffffffff, 4);
  EXPECT_EQ(kernel.read(space + pci::kBar0, 4), 0xfffff004u);
  EXPECT_EQ(kernel.read(space + (pci::kBar0 + 4), 4), 0xffffffffu);
  kernel.write(space + pci::kBar0, before, 4);
  kernel.write(space + (pci::kBar0 + 4), 0, 4);
  EXPECT_EQ(kernel.read(space + pci::kBar0, 4), before);
}

TEST_F(BusTest, SizingThatWasCutOffIsMendedByTheNextConfigurationWrite) {
  uint64_t before = kernel.read(space + pci::kBar0, 4);
  kernel.write(space + pci::kBar0, 0xffffffff, 4);
  kernel.write(space + (pci::kBar0 + 4), 0xffffffff, 4);
  EXPECT_NE(kernel.read(space + pci::kBar0, 4), before);
  RawRegisters registers(kernel);  // a later kernel, which sets the command register
  EXPECT_EQ(kernel.read(space + pci::kBar0, 4), before);
  EXPECT_EQ(kernel.read(space + (pci::kBar0 + 4), 4), 0u);
  kernel.write(space + pci::kBar0, 0x12345000, 4);
  EXPECT_EQ(kernel.read(space + pci::kBar0, 4), before) << "it does not move";
}

TEST_F(BusTest, ReadOnlyConfigurationStaysAndPartialWritesMerge) {
  kernel.write(space + pci::kVendorId, 0, 4);
  EXPECT_EQ(kernel.read(space + pci::kVendorId, 2), regs::kVendor);
  kernel.write(space + pci::kCommand, 0xff, 1);
  EXPECT_EQ(kernel.read(space + pci::kCommand, 2), 6u) << "only memory and bus master can be set";
  kernel.write(space + (pci::kMsiOffset + pci::kMsiAddressLow + 1), 0xab, 1);
  EXPECT_EQ(kernel.read(space + (pci::kMsiOffset + pci::kMsiAddressLow), 4), 0xab00u);
  kernel.write(space + 0x100, ~0u, 4);
  EXPECT_EQ(kernel.read(space + 0x100, 4), 0u) << "no extended capabilities";
}

TEST_F(BusTest, FunctionWithMemoryDecodingOffIgnoresItsRegisters) {
  RawRegisters registers(kernel);
  kernel.write(space + pci::kCommand, pci::CommandBusMaster::make(1), 2);
  registers.write32(regs::kAddressWidth, 32);
  EXPECT_EQ(registers.read32(regs::kAddressWidth), 64u);
  EXPECT_EQ(registers.read32_with_effect(regs::kVersion), ~0u);
  EXPECT_TRUE(quiet.contains("does not decode memory"));
}

TEST_F(BusTest, FunctionsHaveRegistersOfTheirOwn) {
  RawRegisters first(kernel, Bdf(0, 1, 0)), second(kernel, Bdf(0, 1, 3));
  EXPECT_NE(first.bar(), second.bar());
  EXPECT_EQ(second.read32(regs::kAddressWidth), 32u);
  first.write32(regs::kAddressWidth, 40);
  EXPECT_EQ(second.read32(regs::kAddressWidth), 32u);
  EXPECT_EQ(first.read32(regs::kAddressWidth), 40u);
}

TEST_F(BusTest, ReadsWithEffectWorkInEveryWidth) {
  RawRegisters registers(kernel);
  EXPECT_EQ(kernel.read_with_effect(registers.bar() + 2, 2), 1u);
  EXPECT_EQ(kernel.read_with_effect(registers.bar() + 2, 1), 1u);
  EXPECT_EQ(kernel.read_with_effect(registers.bar(), 4), regs::kVersionValue);
  EXPECT_EQ(kernel.read_with_effect(registers.bar(), 8), regs::kVersionValue);
  EXPECT_EQ(kernel.read_with_effect(space, 2), regs::kVendor);
}

TEST_F(BusTest, MalformedRequestsAreLoggedAndIgnored) {
  hw::Request bad[] = {
      {space.value(), 1, hw::RequestOp{0}, 4, 0},
      {space.value(), 1, hw::RequestOp{99}, 4, 0},
      {space.value(), 1, hw::RequestOp::kWrite, 0, 0},
      {space.value(), 1, hw::RequestOp::kWrite, 3, 0},
      {space.value() + 1, 1, hw::RequestOp::kWrite, 2, 0},
      {space.value(), 1, hw::RequestOp::kWrite, 8, 0},
      {0, 1, hw::RequestOp::kWrite, 4, 0},
      {~uint64_t{3}, 1, hw::RequestOp::kWrite, 4, 0},
      {hw::kBarBase.value() + hw::kBarWindowSize - 4, 1, hw::RequestOp::kWrite, 4, 0},
  };
  for (const auto& request : bad) kernel.post(request);
  EXPECT_EQ(kernel.read_with_effect(PhysAddr{0x1000}, 4), ~uint64_t{0});
  EXPECT_EQ(kernel.read_with_effect(space + 1, 4), ~uint64_t{0}) << "unaligned";
  EXPECT_EQ(kernel.read(space + pci::kVendorId, 2), regs::kVendor);
  EXPECT_TRUE(quiet.contains("unknown operation"));
  EXPECT_TRUE(quiet.contains("no registers are there"));
}

TEST_F(BusTest, TailThatCoversMoreThanTheRingDropsEverything) {
  kernel.flush();
  uint32_t tail = kernel.ring().tail.load() + hw::kRequestSlots + 1;
  kernel.ring().tail.store(tail);
  hw::futex_wake(kernel.ring().tail);
  ASSERT_TRUE(eventually([&] { return kernel.ring().head.load() == tail; }));
  EXPECT_TRUE(quiet.contains("tail covers 1025 entries, want at most 1024"));
  EXPECT_EQ(kernel.read_with_effect(space, 2), regs::kVendor) << "the ring works again";
}

TEST_F(BusTest, LostWakeUpOnlyDelays) {
  // As a kernel that was killed between its store of the tail and the wake-up.
  ASSERT_TRUE(eventually([&] { return kernel.ring().machine_sleeps.load() == 1; }));
  uint32_t tail = kernel.ring().tail.load();
  hw::store_words(&kernel.ring().slot[tail % hw::kRequestSlots],
                  {space.value() + pci::kCommand, 2, hw::RequestOp::kWrite, 2, 0});
  kernel.ring().tail.store(tail + 1);
  EXPECT_TRUE(eventually([&] { return kernel.ring().head.load() == tail + 1; }));
  EXPECT_EQ(kernel.read(space + pci::kCommand, 2), 2u);
}

TEST_F(BusTest, RandomRingContentsNeverHurt) {
  std::mt19937_64 random(20240607);
  auto pick = [&](std::initializer_list<uint64_t> values) {
    return values.begin()[random() % values.size()];
  };
  kernel.write(space + pci::kCommand, 6, 2);
  for (int round = 0; round < 60; ++round) {
    kernel.flush();
    for (auto& slot : kernel.ring().slot) {
      uint64_t base = pick(
          {hw::kEcamBase.value() + 0x8000, hw::kBarBase.value(), hw::kBarBase.value() + 0x100, random()});
      hw::store_words(&slot,
                      {base + random() % 0x200, pick({0, 1, 2, 3, 16, random(), random() & 0xffffffff}),
                       static_cast<hw::RequestOp>(pick({1, 1, 1, 2, random() & 0xff})),
                       static_cast<uint32_t>(pick({1, 2, 4, 4, 4, 8, random() & 0xff})), random()});
    }
    uint32_t jump = static_cast<uint32_t>(pick({1, 1024, 1024, 500, 2000, random()}));
    kernel.ring().tail.fetch_add(jump);
    kernel.ring().head.store(static_cast<uint32_t>(random()));  // a mirror: the machine has its own
    hw::futex_wake(kernel.ring().tail);
    uint32_t tail = kernel.ring().tail.load();
    ASSERT_TRUE(eventually([&] { return kernel.ring().head.load() == tail; }));
  }
  // The engines still work after a reset.
  kernel.write(space + pci::kBar0, hw::kBarBase.value(), 4);
  kernel.write(space + (pci::kBar0 + 4), 0, 4);
  RawRegisters registers(kernel);
  MiniDriver driver(registers);
  driver.reset();
  driver.set_up(regs::kWorkQueue, PhysAddr{0x1000}, 4);
  EXPECT_EQ(driver.run(regs::kWorkQueue, fill(1, 0x100000, 64)).status, regs::TransferStatus::kOk);
}

}  // namespace
}  // namespace causeway::machine
