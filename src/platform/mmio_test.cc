#include "platform/mmio.h"

#include <gtest/gtest.h>
#include <sys/socket.h>

#include <thread>

#include "base/mapping.h"
#include "hw/bus.h"
#include "hw/pci.h"
#include "hw/shared_words.h"
#include "platform/testing/machine.h"

namespace causeway::platform {
namespace {

using namespace testing;
using namespace machine::testing;

TEST_F(PlatformTest, ReadSeesEveryWriteBeforeIt) {
  PlatformRegisters registers(*platform);
  for (uint32_t i = 0; i < 3000; ++i) {
    registers.write32(regs::queue_base(1) + regs::kRate, i);
    ASSERT_EQ(registers.read32(regs::queue_base(1) + regs::kRate), i);
  }
}

TEST_F(PlatformTest, WritesOfOneThreadKeepTheirOrderAmongThoseOfOthers) {
  PlatformRegisters registers(*platform);
  constexpr unsigned kThreads = 4, kWrites = 2000;
  // Each thread owns a register; the last value counts, and its own reads never go back.
  const uint32_t offsets[kThreads] = {
      regs::queue_base(1) + regs::kRate, regs::queue_base(1) + regs::kRecordSize,
      regs::queue_base(1) + regs::kCompBase, regs::queue_base(0) + regs::kCompBase};
  std::vector<std::thread> threads;
  std::atomic<unsigned> wrong{0};
  for (unsigned t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      for (uint32_t i = 1; i <= kWrites; ++i) {
        uint64_t value = t < 2 ? 1000 + i : uint64_t{i} * 64;
        if (t < 2) {
          registers.write32(offsets[t], static_cast<uint32_t>(value));
        } else {
          registers.write64(offsets[t], value);
        }
        if (i % 50 == 0 && (t < 2 ? registers.read32(offsets[t]) : registers.read64(offsets[t])) != value)
          ++wrong;
      }
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(wrong.load(), 0u);
  EXPECT_EQ(registers.read32(offsets[0]), 1000 + kWrites);
  EXPECT_EQ(registers.read64(offsets[3]), uint64_t{kWrites} * 64);
}

TEST_F(PlatformTest, ReadsWithEffectOfManyThreadsGetTheirOwnAnswers) {
  PlatformRegisters registers(*platform);
  registers.write32(regs::queue_base(1) + regs::kRate, 4711);
  std::atomic<unsigned> wrong{0};
  std::vector<std::thread> threads;
  for (unsigned t = 0; t < 3; ++t) {
    threads.emplace_back([&, t] {
      uint32_t offset = t % 2 == 0 ? regs::kVersion : regs::queue_base(1) + regs::kRate;
      uint32_t want = t % 2 == 0 ? regs::kVersionValue : 4711;
      for (int i = 0; i < 300; ++i) wrong += registers.read32_with_effect(offset) != want;
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(wrong.load(), 0u);
}

TEST_F(PlatformTest, PeekDoesNotWaitForWrites) {
  PlatformRegisters registers(*platform);
  EXPECT_EQ(registers.window.peek32(regs::kVersion), regs::kVersionValue);
  EXPECT_EQ(registers.window.peek32(regs::kBar0Size), ~0u) << "outside the window";
}

TEST_F(PlatformTest, AccessesOutsideTheWindowGoNowhere) {
  PlatformRegisters registers(*platform);
  registers.window.write32(regs::kBar0Size, 1);
  EXPECT_EQ(registers.window.read32(regs::kBar0Size), ~0u);
  EXPECT_EQ(platform->mmio().read(PhysAddr{0x1000}, 4), 0xffffffffu);
  EXPECT_EQ(platform->mmio().read(hw::kBarBase + 1, 4), 0xffffffffu) << "unaligned";
  EXPECT_EQ(platform->mmio().read(hw::kBarBase + hw::kBarWindowSize - 2, 4), 0xffffffffu);
  auto status = platform->machine_status();
  EXPECT_NE(status->find("machine.malformed_requests=0\n"), std::string::npos);
}

TEST_F(PlatformTest, PciScanFindsWhatTheMachineHas) {
  auto functions = platform->pci().scan();
  ASSERT_EQ(functions.size(), 1u);
  EXPECT_EQ(functions[0].bdf(), Bdf(0, 1, 0));
  EXPECT_EQ(functions[0].vendor(), regs::kVendor);
  EXPECT_EQ(functions[0].device(), regs::kDevice);
  EXPECT_EQ(functions[0].class_code(), regs::kClassCode);
  EXPECT_EQ(functions[0].bar0_base(), hw::kBarBase);
  EXPECT_EQ(functions[0].bar0_size(), regs::kBar0Size);
  EXPECT_EQ(functions[0].bar0().size(), regs::kBar0Size);
}

TEST(PciBus, ScanFindsFunctionsOfAMultiFunctionDevice) {
  machine::MachineConfig config;
  config.ram = MiB(16);
  config.devices = {{machine::DeviceKind::kDmaEngine, Bdf(0, 4, 0), 64},
                    {machine::DeviceKind::kDmaEngine, Bdf(0, 4, 7), 64},
                    {machine::DeviceKind::kDmaEngine, Bdf(0, 31, 0), 64}};
  auto machine = *machine::Machine::create(config);
  auto platform = *Platform::attach(machine->connect());
  auto functions = platform->pci().scan();
  ASSERT_EQ(functions.size(), 3u);
  EXPECT_EQ(functions[1].bdf(), Bdf(0, 4, 7));
  EXPECT_NE(functions[0].bar0_base(), functions[1].bar0_base());
}

TEST_F(PlatformTest, CommandRegisterIsChangedBitByBit) {
  PciFunction function = platform->pci().scan()[0];
  EXPECT_FALSE(function.bus_master());
  function.set_bus_master(true);
  function.enable_memory();
  EXPECT_TRUE(function.bus_master());
  function.set_bus_master(false);
  EXPECT_FALSE(function.bus_master());
  EXPECT_EQ(function.bar0().read32_with_effect(regs::kVersion), regs::kVersionValue)
      << "memory decoding stays on";
  EXPECT_FALSE(platform->pci().scan()[0].bus_master()) << "a scan changes nothing";
}

#if CW_POINTS
TEST_F(PlatformTest, ScanWritesNothingToAFunctionThatIsSetUp) {
  PciFunction function = platform->pci().scan()[0];
  function.enable_memory();
  unsigned writes = 0;
  ASSERT_TRUE(point::on_hit("platform.mmio.before_tail", [&] { return ++writes, Status{}; }));
  PciFunction again = platform->pci().scan()[0];
  point::disarm_all();
  EXPECT_EQ(writes, 0u) << "a kernel killed between two of them would take the device's registers away";
  EXPECT_EQ(again.bar0_base(), function.bar0_base());
  EXPECT_GE(again.bar0_size(), function.bar0_size());
}
#endif

TEST_F(PlatformTest, KernelKilledAtAnyWriteOfAScanLeavesTheBarFindable) {
  PhysAddr base = platform->pci().scan()[0].bar0_base();
  for (unsigned done = 0; done <= 3; ++done) {
    // What a kernel that is killed while it finds the size of the BAR has done by then.
    PhysAddr bar = hw::kEcamBase + hw::pci::ecam_offset(Bdf(0, 1, 0)) + hw::pci::kBar0;
    if (done > 0) platform->mmio().write(bar, ~0u, 4);
    if (done > 1) platform->mmio().write(bar + 4, ~0u, 4);
    if (done > 2) platform->mmio().write(bar, base.value(), 4);
    platform = nullptr;
    platform = attach();
    PciFunction function = platform->pci().scan()[0];
    EXPECT_EQ(function.bar0_base(), base) << done;
    EXPECT_EQ(function.bar0_size(), regs::kBar0Size) << done;
  }
}

TEST_F(PlatformTest, QuiesceTakesTheBusFromARunningDevice) {
  PlatformRegisters registers(*platform);
  MiniDriver driver(registers);
  driver.set_up_stream(PhysAddr{0x10'0000}, 6, 1'000'000, 64,
                       static_cast<uint32_t>(regs::OverrunHold::make(1)));
  for (uint64_t i = 0; i < 64; ++i) driver.put(regs::kStreamQueue, buffer(0x40'0000 + i * 64, 64));
  driver.ring_doorbell(regs::kStreamQueue);
  driver.wait(regs::kStreamQueue);
  auto masters = platform->pci().quiesce_all();
  ASSERT_EQ(masters.size(), 1u);
  EXPECT_EQ(masters[0], Bdf(0, 1, 0));
  uint32_t tail = driver.read32(regs::kStreamQueue, regs::kCompTail);
  std::this_thread::sleep_for(std::chrono::milliseconds(5));
  EXPECT_EQ(driver.read32(regs::kStreamQueue, regs::kCompTail), tail);
  EXPECT_TRUE(platform->pci().quiesce_all().empty());
}

// A machine that stands still: nobody consumes the ring.
TEST(Mmio, ClosedSocketEndsAWaitOnARingNobodyServes) {
  log::Capture quiet;
  Mapping bus = *Mapping::sparse(hw::kBusSize);
  int fds[2];
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds), 0);
  UniqueFd ours(fds[0]), theirs(fds[1]);
  Mmio mmio(bus.data(), ours.get());
  for (unsigned i = 0; i < hw::kRequestSlots; ++i) mmio.write(hw::kBarBase, i, 4);
  EXPECT_FALSE(mmio.machine_is_gone());
  theirs.reset();
  mmio.write(hw::kBarBase, 0, 4);  // the ring is full
  EXPECT_TRUE(mmio.machine_is_gone());
  EXPECT_EQ(mmio.read(hw::kBarBase, 4), 0xffffffffu);
  EXPECT_EQ(mmio.read(hw::kBarBase, 2), 0xffffu);
  EXPECT_TRUE(quiet.contains("the machine is gone: its control socket is closed"));
}

TEST(Mmio, FullRingWaitsForTheMachineAndLosesNothing) {
  Mapping bus = *Mapping::sparse(hw::kBusSize);
  auto& ring = *bus.at<hw::RequestRing>(hw::kRequestRing);
  // Close to the end of the index space, so that it wraps.
  ring.tail.store(~0u - 100);
  ring.head.store(~0u - 100);
  Mmio mmio(bus.data());
  std::vector<uint64_t> seen;
  constexpr uint64_t kWrites = 3 * hw::kRequestSlots;
  std::thread consumer([&] {
    uint32_t head = ring.head.load();
    while (seen.size() < kWrites) {
      if (ring.tail.load() == head) {
        std::this_thread::yield();
        continue;
      }
      seen.push_back(hw::load_words(&ring.slot[head % hw::kRequestSlots]).value);
      ring.head.store(++head);
      if (ring.kernel_sleeps.load() != 0) hw::futex_wake(ring.head);
    }
  });
  for (uint64_t i = 0; i < kWrites; ++i) mmio.write(hw::kBarBase, i, 8);
  mmio.flush();
  consumer.join();
  for (uint64_t i = 0; i < kWrites; ++i) ASSERT_EQ(seen[i], i);
}

}  // namespace
}  // namespace causeway::platform
