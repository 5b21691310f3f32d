#include "machine/dma_engine/dma_engine.h"

#include <gtest/gtest.h>

#include <cstring>
#include <thread>
#include <vector>

#include "machine/testing/dma_engine_fixture.h"

namespace causeway::machine {
namespace {

using namespace testing;

TEST_F(DmaEngineTest, IdentifiesItself) {
  EXPECT_EQ(registers.read32(regs::kVersion), regs::kVersionValue);
  EXPECT_EQ(registers.read32(regs::kAddressWidth), 64u);
  EXPECT_EQ(registers.read32(regs::kEpoch), 0u);
}

TEST_F(DmaEngineTest, CopyMovesEveryByteAndAnswersTheCookie) {
  driver.set_up(kWorkQueue, kWorkRings, 4);
  // Longer than a chunk, odd length and alignment.
  constexpr uint32_t kLength = 300'001;
  std::byte* from = kernel.ram(PhysAddr{kBuffers + 3});
  regs::fill_payload(from, kLength, 1);
  auto done = driver.run(kWorkQueue, copy(kBuffers + 3, kBuffers + MiB(1) + 1, kLength, 0xc00c1e));
  EXPECT_EQ(done.status, TransferStatus::kOk);
  EXPECT_EQ(done.cookie, 0xc00c1eu);
  EXPECT_EQ(done.length, kLength);
  EXPECT_EQ(std::memcmp(from, kernel.ram(PhysAddr{kBuffers + MiB(1) + 1}), kLength), 0);
  EXPECT_EQ(driver.read64(kWorkQueue, regs::kBytes), kLength);
}

TEST_F(DmaEngineTest, FillRepeatsEightBytesAndStopsAtTheEnd) {
  driver.set_up(kWorkQueue, kWorkRings, 4);
  constexpr uint32_t kLength = 65536 * 2 + 11;
  auto done = driver.run(kWorkQueue, fill(0x0807060504030201, kBuffers, kLength));
  EXPECT_EQ(done.status, TransferStatus::kOk);
  std::byte* at = kernel.ram(PhysAddr{kBuffers});
  for (uint32_t i = 0; i < kLength; ++i) ASSERT_EQ(at[i], std::byte(i % 8 + 1)) << i;
  EXPECT_EQ(at[kLength], std::byte{0});
}

TEST_F(DmaEngineTest, QueueWrapsItsRingsManyTimes) {
  driver.set_up(kWorkQueue, kWorkRings, 1);
  for (uint64_t i = 0; i < 100; ++i) {
    auto done = driver.run(kWorkQueue, fill(i, kBuffers, 8, i));
    ASSERT_EQ(done.cookie, i);
    ASSERT_EQ(std::memcmp(kernel.ram(PhysAddr{kBuffers}), &i, 8), 0);
  }
  EXPECT_EQ(driver.read32(kWorkQueue, regs::kHead), 100u);
}

TEST_F(DmaEngineTest, HighRamIsReachedAboveFourGigabytes) {
  driver.set_up(kWorkQueue, kWorkRings, 4);
  auto done = driver.run(kWorkQueue, fill(0x55, GiB(4) + MiB(1), 8));
  EXPECT_EQ(done.status, TransferStatus::kOk);
  EXPECT_EQ(*kernel.ram(PhysAddr{GiB(4) + MiB(1)}), std::byte{0x55});
}

TEST_F(DmaEngineTest, AddressWithoutRamIsRefusedAndQueueGoesOn) {
  driver.set_up(kWorkQueue, kWorkRings, 4);
  EXPECT_EQ(driver.run(kWorkQueue, copy(MiB(32), kBuffers, 8)).status, TransferStatus::kRefusedSource);
  EXPECT_EQ(driver.run(kWorkQueue, copy(kBuffers, MiB(32), 8)).status, TransferStatus::kRefusedDestination);
  EXPECT_EQ(driver.run(kWorkQueue, copy(kBuffers, MiB(32) - 4, 8)).status,
            TransferStatus::kRefusedDestination)
      << "the last four bytes have no ram";
  EXPECT_EQ(driver.run(kWorkQueue, copy(kBuffers, ~uint64_t{0} - 3, 8)).status,
            TransferStatus::kRefusedDestination);
  EXPECT_EQ(driver.run(kWorkQueue, fill(0, hw::kEcamBase.value(), 8)).status,
            TransferStatus::kRefusedDestination)
      << "registers are not ram";
  EXPECT_EQ(driver.run(kWorkQueue, copy(kBuffers, kBuffers + 64, 8)).status, TransferStatus::kOk);
  EXPECT_EQ(driver.read64(kWorkQueue, regs::kRefused), 5u);
  EXPECT_EQ(driver.read64(kWorkQueue, regs::kCompleted), 1u);
}

TEST_F(DmaEngineTest, DescriptorThatMakesNoSenseIsRefused) {
  driver.set_up(kWorkQueue, kWorkRings, 4);
  regs::Descriptor bad[] = {fill(0, kBuffers, 0), fill(0, kBuffers, 8), fill(0, kBuffers, 8),
                            fill(0, kBuffers, 8), buffer(kBuffers, 8)};
  bad[1].op = regs::Op{77};
  bad[2].flags = 4;
  bad[3].pasid = 1;
  for (const auto& descriptor : bad)
    EXPECT_EQ(driver.run(kWorkQueue, descriptor).status, TransferStatus::kBadDescriptor);
}

TEST_F(DmaEngineTest, AddressWidthRefusesHigherAddresses) {
  driver.set_up(kWorkQueue, kWorkRings, 4);
  registers.write32(regs::kAddressWidth, 32);
  EXPECT_EQ(driver.run(kWorkQueue, fill(1, GiB(4), 8)).status, TransferStatus::kRefusedDestination);
  EXPECT_EQ(driver.run(kWorkQueue, copy(GiB(4), kBuffers, 8)).status, TransferStatus::kRefusedSource);
  EXPECT_EQ(driver.run(kWorkQueue, fill(1, kBuffers, 8)).status, TransferStatus::kOk);
  registers.write32(regs::kAddressWidth, 40);
  EXPECT_EQ(driver.run(kWorkQueue, fill(1, GiB(4), 8)).status, TransferStatus::kOk);
  EXPECT_EQ(driver.run(kWorkQueue, fill(1, GiB(1024), 8)).status, TransferStatus::kRefusedDestination);
  registers.write32(regs::kAddressWidth, 33);
  EXPECT_EQ(registers.read32(regs::kAddressWidth), 40u) << "a width the device does not have is ignored";
}

TEST_F(DmaEngineTest, RingWithoutRamHaltsTheQueueUntilReset) {
  driver.set_up(kWorkQueue, PhysAddr{MiB(16)}, 4);
  registers.write32(regs::queue_base(kWorkQueue) + regs::kQueueControl, 0);
  registers.write64(regs::queue_base(kWorkQueue) + regs::kRingBase, GiB(100));
  registers.write32(regs::queue_base(kWorkQueue) + regs::kQueueControl, 1);
  registers.write32(regs::queue_base(kWorkQueue) + regs::kTail, 1);
  EXPECT_TRUE(
      eventually([&] { return regs::StatusHalted::get(registers.read32(regs::kDeviceStatus)) == 1; }));
  EXPECT_TRUE(quiet.contains("queue 0 halted: descriptor ring at 0x1900000000"));
  driver.reset();
  EXPECT_EQ(registers.read32(regs::kDeviceStatus), 0u);
  driver.set_up(kWorkQueue, kWorkRings, 4);
  EXPECT_EQ(driver.run(kWorkQueue, fill(1, kBuffers, 8)).status, TransferStatus::kOk);
}

TEST_F(DmaEngineTest, ResetForgetsQueuesAndRaisesEpoch) {
  driver.set_up_stream(kStreamRings, 4, 100'000, 64, kHold);
  post_buffers(16, 64);
  driver.set_up(kWorkQueue, kWorkRings, 4);
  driver.run(kWorkQueue, fill(1, kBuffers, 8));
  registers.write32(regs::kAddressWidth, 32);
  driver.reset();
  EXPECT_EQ(registers.read32(regs::kEpoch), 1u);
  EXPECT_EQ(registers.read32(regs::kAddressWidth), 64u);
  for (unsigned queue : {kWorkQueue, kStreamQueue}) {
    for (uint32_t offset : {regs::kHead, regs::kTail, regs::kCompTail, regs::kCompHead, regs::kQueueControl})
      EXPECT_EQ(driver.read32(queue, offset), 0u) << queue << " " << offset;
    EXPECT_EQ(driver.read64(queue, regs::kCompleted), 0u);
  }
  EXPECT_EQ(registers.read32_with_effect(regs::kIntCause), 0u);
}

TEST_F(DmaEngineTest, SetupRegistersAreFixedWhileTheQueueIsEnabled) {
  driver.set_up(kWorkQueue, kWorkRings, 4);
  registers.write64(regs::queue_base(kWorkQueue) + regs::kRingBase, 0x1234000);
  registers.write32(regs::queue_base(kWorkQueue) + regs::kRingLog2, 8);
  EXPECT_EQ(driver.read64(kWorkQueue, regs::kRingBase), kWorkRings.value());
  EXPECT_EQ(driver.read32(kWorkQueue, regs::kRingLog2), 4u);
  EXPECT_TRUE(quiet.contains("fixed while the queue is enabled"));
}

TEST_F(DmaEngineTest, ValuesOutOfRangeAreIgnored) {
  uint32_t base = regs::queue_base(kStreamQueue);
  registers.write32(base + regs::kRingLog2, 17);
  registers.write32(base + regs::kRingLog2, 0);
  registers.write32(base + regs::kRecordSize, 31);
  registers.write32(base + regs::kRecordSize, regs::kMaxRecordSize + 1);
  registers.write64(base + regs::kRingBase, 0x1001);
  registers.write64(base + regs::kRingBase, ~uint64_t{63});
  registers.write32(base + regs::kTail, 3);  // of a ring of two
  registers.write32(base + regs::kCompHead, 1);
  registers.write32(base + regs::kHead, 1);  // read-only
  registers.write32(0x40, 1);                // nothing there
  EXPECT_EQ(registers.read32(base + regs::kRingLog2), 1u);
  EXPECT_EQ(registers.read32(base + regs::kRecordSize), 32u);
  EXPECT_EQ(registers.read64(base + regs::kRingBase), 0u);
  EXPECT_EQ(registers.read32(base + regs::kTail), 0u);
  EXPECT_EQ(registers.read32(base + regs::kCompHead), 0u);
  EXPECT_EQ(registers.read32(base + regs::kHead), 0u);
}

TEST_F(DmaEngineTest, DisabledQueueKeepsItsIndicesAndGoesOnLater) {
  driver.set_up(kWorkQueue, kWorkRings, 4);
  driver.run(kWorkQueue, fill(1, kBuffers, 8));
  driver.write32(kWorkQueue, regs::kQueueControl, 0);
  driver.post(kWorkQueue, fill(2, kBuffers, 8, 2));
  EXPECT_EQ(driver.read32(kWorkQueue, regs::kHead), 1u);
  EXPECT_FALSE(driver.poll(kWorkQueue));
  driver.write32(kWorkQueue, regs::kQueueControl, 1);
  EXPECT_EQ(driver.wait(kWorkQueue).cookie, 2u);
}

TEST_F(DmaEngineTest, FullCompletionRingStopsTheQueue) {
  driver.set_up(kWorkQueue, kWorkRings, 2);
  for (int i = 0; i < 4; ++i) driver.put(kWorkQueue, fill(1, kBuffers, 8));
  driver.ring_doorbell(kWorkQueue);
  ASSERT_TRUE(eventually([&] { return driver.read32(kWorkQueue, regs::kCompTail) == 4; }));
  // Descriptors are free again, completions are not.
  for (int i = 0; i < 4; ++i) driver.put(kWorkQueue, fill(1, kBuffers, 8, 100 + i));
  driver.ring_doorbell(kWorkQueue);
  std::this_thread::sleep_for(std::chrono::milliseconds(5));
  EXPECT_EQ(driver.read32(kWorkQueue, regs::kHead), 4u);
  for (int i = 0; i < 8; ++i) EXPECT_EQ(driver.wait(kWorkQueue).cookie, i < 4 ? 0u : 96u + i);
}

TEST_F(DmaEngineTest, LongCopySurvivesLosingTheBusInTheMiddle) {
  driver.set_up(kWorkQueue, kWorkRings, 4);
  constexpr uint32_t kLength = MiB(8);
  regs::fill_payload(kernel.ram(PhysAddr{kBuffers}), kLength, 3);
  driver.post(kWorkQueue, copy(kBuffers, kBuffers + MiB(10), kLength));
  for (int i = 0; i < 20; ++i) {
    registers.set_command(false);
    registers.set_command(true);
  }
  EXPECT_EQ(driver.wait(kWorkQueue).status, TransferStatus::kOk);
  EXPECT_EQ(std::memcmp(kernel.ram(PhysAddr{kBuffers}), kernel.ram(PhysAddr{kBuffers + MiB(10)}), kLength),
            0);
}

TEST_F(DmaEngineTest, ResetInTheMiddleOfALongCopyStopsIt) {
  driver.set_up(kWorkQueue, kWorkRings, 4);
  driver.post(kWorkQueue, fill(0xff, kBuffers, MiB(24)));
  driver.reset();
  std::vector<std::byte> now(MiB(24));
  std::memcpy(now.data(), kernel.ram(PhysAddr{kBuffers}), now.size());
  std::this_thread::sleep_for(std::chrono::milliseconds(5));
  EXPECT_EQ(std::memcmp(now.data(), kernel.ram(PhysAddr{kBuffers}), now.size()), 0);
  EXPECT_EQ(driver.read32(kWorkQueue, regs::kCompTail), 0u);
}

TEST_F(DmaEngineTest, InterruptComesOnlyWhenEnabledAndCauseClearsOnRead) {
  PhysAddr config = kernel.config(Bdf(0, 1, 0));
  constexpr uint8_t kVector = 77;
  kernel.write(config + (hw::pci::kMsiOffset + hw::pci::kMsiAddressLow), hw::kMsiBase.value(), 4);
  kernel.write(config + (hw::pci::kMsiOffset + hw::pci::kMsiData), kVector, 2);
  kernel.write(config + (hw::pci::kMsiOffset + hw::pci::kMsiControl), 1, 2);
  driver.set_up(kWorkQueue, kWorkRings, 4);
  driver.run(kWorkQueue, fill(1, kBuffers, 8));
  // The device interrupts after it has published; the cause tells that it would have.
  ASSERT_TRUE(eventually([&] { return registers.read32_with_effect(regs::kIntCause) == 1; }));
  EXPECT_EQ(registers.read32_with_effect(regs::kIntCause), 0u);
  EXPECT_EQ(kernel.interrupts().raised[kVector].load(), 0u) << "kControl does not allow interrupts yet";
  registers.write32(regs::kControl, static_cast<uint32_t>(regs::ControlInterrupts::make(1)));
  driver.run(kWorkQueue, fill(1, kBuffers, 8));
  EXPECT_TRUE(eventually([&] { return kernel.interrupts().raised[kVector].load() == 1; }));
  kernel.write(config + (hw::pci::kMsiOffset + hw::pci::kMsiControl), 0, 2);
  driver.run(kWorkQueue, fill(1, kBuffers, 8));
  ASSERT_TRUE(eventually([&] { return registers.read32_with_effect(regs::kIntCause) == 1; }));
  EXPECT_EQ(kernel.interrupts().raised[kVector].load(), 1u) << "msi is disabled";
}

TEST_F(DmaEngineTest, InjectedRefusalRefusesExactlyTheNthTransfer) {
  driver.set_up(kWorkQueue, kWorkRings, 4);
  inject(hw::control::Fault::kRefuse, 2);
  EXPECT_EQ(driver.run(kWorkQueue, fill(1, kBuffers, 8)).status, TransferStatus::kOk);
  EXPECT_EQ(driver.run(kWorkQueue, fill(1, kBuffers, 8)).status, TransferStatus::kRefusedDestination);
  EXPECT_EQ(driver.run(kWorkQueue, fill(1, kBuffers, 8)).status, TransferStatus::kOk);
}

TEST_F(DmaEngineTest, KernelThatScribblesOverTheRegisterPagesFoolsOnlyItself) {
  driver.set_up(kWorkQueue, kWorkRings, 4);
  driver.run(kWorkQueue, fill(1, kBuffers, 8));
  auto bus = control_call(kernel.control(), hw::control::Op::kAttach).fd;
  Mapping mapping = *Mapping::shared(bus.get(), 0, hw::kBusSize);
  std::memset(mapping.data() + hw::kBarWindow, 0xee, kPageSize);
  std::memset(mapping.data() + hw::kEcam, 0xee, hw::kEcamSize);
  driver.post(kWorkQueue, fill(0x77, kBuffers + 64, 8));
  EXPECT_TRUE(eventually([&] { return driver.read32(kWorkQueue, regs::kCompTail) == 2; }));
  EXPECT_EQ(*kernel.ram(PhysAddr{kBuffers + 64}), std::byte{0x77});
}

}  // namespace
}  // namespace causeway::machine
