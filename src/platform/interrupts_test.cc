#include "platform/interrupts.h"

#include <gtest/gtest.h>

#include <thread>

#include "platform/testing/machine.h"

namespace causeway::platform {
namespace {

using namespace testing;
using namespace machine::testing;
using regs::kWorkQueue;

class InterruptsTest : public ::testing::Test {
 protected:
  // As the machine does it.
  void raise(uint8_t vector) {
    mailbox.raised[vector].fetch_add(1);
    mailbox.doorbell.fetch_add(1);
    if (mailbox.kernel_sleeps.load() != 0) hw::futex_wake(mailbox.doorbell);
  }
  hw::InterruptMailbox mailbox{};
};

TEST_F(InterruptsTest, VectorsAreHandedOutOnce) {
  Interrupts interrupts(&mailbox);
  EXPECT_EQ(*interrupts.allocate(), 32);
  EXPECT_EQ(*interrupts.allocate(), 33);
  EXPECT_TRUE(interrupts.claim(34));
  EXPECT_EQ(interrupts.claim(34).error().code, Errno{EBUSY});
  EXPECT_EQ(interrupts.claim(31).error().code, Errno{EINVAL});
  EXPECT_EQ(*interrupts.allocate(), 35);
  interrupts.release(33);
  EXPECT_EQ(*interrupts.allocate(), 33);
  for (int i = 36; i < 256; ++i) EXPECT_TRUE(interrupts.allocate());
  EXPECT_EQ(interrupts.allocate().error().code, Errno{ENOSPC});
}

TEST_F(InterruptsTest, VectorWithSomethingPendingIsNotHandedOut) {
  raise(32);
  Interrupts interrupts(&mailbox);
  EXPECT_EQ(*interrupts.allocate(), 33);
  EXPECT_TRUE(interrupts.claim(32));
}

TEST_F(InterruptsTest, PendingOnesAreHandledAtStartInOneCall) {
  for (int i = 0; i < 5; ++i) raise(40);
  Interrupts interrupts(&mailbox);
  std::atomic<int> calls{0};
  interrupts.set_handler(40, [&] { ++calls; });
  EXPECT_EQ(calls.load(), 0);
  interrupts.start();
  EXPECT_TRUE(eventually([&] { return mailbox.acknowledged[40].load() == 5; }));
  EXPECT_EQ(calls.load(), 1);
}

TEST_F(InterruptsTest, WithoutAHandlerTheyStayPendingUntilOneIsSet) {
  Interrupts interrupts(&mailbox);
  interrupts.start();
  raise(50);
  std::atomic<int> calls{0};
  interrupts.set_handler(51, [&] { ++calls; });
  raise(51);
  ASSERT_TRUE(eventually([&] { return calls.load() == 1; }));
  EXPECT_EQ(mailbox.acknowledged[50].load(), 0u);
  interrupts.set_handler(50, [&] { calls += 10; });
  EXPECT_TRUE(eventually([&] { return calls.load() == 11; }));
}

TEST_F(InterruptsTest, NoneIsLostInAStorm) {
  Interrupts interrupts(&mailbox);
  std::atomic<uint32_t> handled{0};
  interrupts.set_handler(60, [&] { handled = mailbox.raised[60].load(); });
  interrupts.start();
  for (int i = 0; i < 20'000; ++i) raise(60);
  EXPECT_TRUE(eventually([&] { return handled.load() == 20'000; }));
}

TEST_F(InterruptsTest, StopWaitsForTheHandlerAndStartGoesOn) {
  Interrupts interrupts(&mailbox);
  std::atomic<int> inside{0}, calls{0};
  interrupts.set_handler(70, [&] {
    inside = 1;
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
    ++calls;
    inside = 0;
  });
  interrupts.start();
  raise(70);
  ASSERT_TRUE(eventually([&] { return inside.load() == 1; }));
  interrupts.stop();
  EXPECT_EQ(inside.load(), 0);
  int before = calls.load();
  raise(70);
  std::this_thread::sleep_for(std::chrono::milliseconds(2));
  EXPECT_EQ(calls.load(), before);
  interrupts.start();
  EXPECT_TRUE(eventually([&] { return calls.load() > before; }));
}

TEST_F(InterruptsTest, ReplacedHandlerDoesNotRunAnyMore) {
  Interrupts interrupts(&mailbox);
  interrupts.start();
  std::atomic<bool> stop{false};
  std::thread storm([&] {
    while (!stop.load()) raise(80);
  });
  for (int i = 0; i < 100; ++i) {
    auto alive = std::make_unique<std::atomic<int>>(0);
    interrupts.set_handler(80, [&target = *alive] { ++target; });
    std::this_thread::yield();
    interrupts.set_handler(80, {});
    // `alive` dies here: a handler still running would touch freed memory.
  }
  stop = true;
  storm.join();
}

TEST_F(InterruptsTest, HandlerMayReplaceItself) {
  Interrupts interrupts(&mailbox);
  std::atomic<int> calls{0};
  interrupts.set_handler(90, [&] {
    ++calls;
    interrupts.set_handler(90, {});
  });
  interrupts.start();
  raise(90);
  EXPECT_TRUE(eventually([&] { return calls.load() == 1; }));
}

TEST_F(PlatformTest, DeviceInterruptReachesItsHandler) {
  PlatformRegisters registers(*platform);
  MiniDriver driver(registers);
  uint8_t vector = *platform->interrupts().allocate();
  std::atomic<int> calls{0};
  platform->interrupts().set_handler(vector, [&] { ++calls; });
  platform->interrupts().start();
  platform->pci().scan()[0].enable_msi(vector);
  registers.write32(regs::kControl, static_cast<uint32_t>(regs::ControlInterrupts::make(1)));
  driver.set_up(kWorkQueue, PhysAddr{0x10'0000}, 4);
  driver.run(kWorkQueue, fill(0, 0x20'0000, 64));
  EXPECT_TRUE(eventually([&] { return calls.load() == 1; }));
  platform->pci().scan()[0].disable_msi();
  driver.run(kWorkQueue, fill(0, 0x20'0000, 64));
  EXPECT_TRUE(eventually([&] { return registers.read32_with_effect(regs::kIntCause) != 0; }));
  EXPECT_EQ(calls.load(), 1);
}

TEST_F(PlatformTest, InterruptRaisedWhileNoKernelRanIsPendingForTheNext) {
  constexpr uint8_t kVector = 100;
  {
    PlatformRegisters registers(*platform);
    MiniDriver driver(registers);
    ASSERT_TRUE(platform->interrupts().claim(kVector));
    platform->pci().scan()[0].enable_msi(kVector);
    registers.write32(regs::kControl, static_cast<uint32_t>(regs::ControlInterrupts::make(1)));
    driver.set_up(kWorkQueue, PhysAddr{0x10'0000}, 4);
    driver.post(kWorkQueue, fill(0, 0x20'0000, MiB(8)));
  }
  platform.reset();  // the operation ends, or will end, without it
  platform = attach();
  std::atomic<int> calls{0};
  ASSERT_TRUE(platform->interrupts().claim(kVector));
  platform->interrupts().set_handler(kVector, [&] { ++calls; });
  platform->interrupts().start();
  EXPECT_TRUE(eventually([&] { return calls.load() > 0; }));
}

#if CW_POINTS
TEST_F(PlatformTest, KernelThatDiesInsideAHandlerLeavesTheInterruptPending) {
  hw::InterruptMailbox mailbox{};
  mailbox.raised[44] = 1;
  std::atomic<bool> seen{false};
  ASSERT_TRUE(point::on_hit("platform.interrupts.before_acknowledge", [&]() -> Status {
    EXPECT_EQ(mailbox.acknowledged[44].load(), 0u);
    seen = true;
    return {};
  }));
  Interrupts interrupts(&mailbox);
  interrupts.set_handler(44, [] {});
  interrupts.start();
  EXPECT_TRUE(eventually([&] { return seen.load(); }));
}
#endif

}  // namespace
}  // namespace causeway::platform
