#include "machine/dma_engine/stream_queue.h"

#include <gtest/gtest.h>

#include <cstring>
#include <thread>
#include <vector>

#include "machine/testing/dma_engine_fixture.h"

namespace causeway::machine {
namespace {

using namespace testing;

class StreamQueueTest : public DmaEngineTest {};

TEST_F(StreamQueueTest, StreamRecordsComeInOrderAndIntact) {
  constexpr uint32_t kSize = 512;
  driver.set_up_stream(kStreamRings, 5, 100'000, kSize, kHold);
  post_buffers(32, kSize);
  for (uint64_t sequence = 0; sequence < 500; ++sequence) {
    auto done = driver.wait(kStreamQueue);
    ASSERT_EQ(done.status, TransferStatus::kOk);
    ASSERT_EQ(done.sequence, sequence);
    ASSERT_EQ(done.length, kSize);
    ASSERT_EQ(
        regs::check_record(kernel.ram(PhysAddr{done.cookie}), kSize, sequence, regs::CheckDepth::kPayload),
        regs::RecordFault::kNone);
    post_buffers(1, kSize);
  }
  EXPECT_EQ(driver.read64(kStreamQueue, regs::kDropped), 0u);
}

TEST_F(StreamQueueTest, HoldLosesNothingAndCountsTheTime) {
  driver.set_up_stream(kStreamRings, 4, 1'000'000, 64, kHold);
  ASSERT_TRUE(eventually([&] { return driver.read64(kStreamQueue, regs::kStarved) > 0; }));
  EXPECT_EQ(driver.read64(kStreamQueue, regs::kNextSequence), 0u);
  post_buffers(1, 64);
  EXPECT_EQ(driver.wait(kStreamQueue).sequence, 0u);
  EXPECT_EQ(driver.read64(kStreamQueue, regs::kDropped), 0u);
}

TEST_F(StreamQueueTest, DropLosesRecordsAndCountsThem) {
  driver.set_up_stream(kStreamRings, 4, 1'000'000, 64);
  ASSERT_TRUE(eventually([&] { return driver.read64(kStreamQueue, regs::kDropped) > 10; }));
  post_buffers(1, 64);
  EXPECT_GT(driver.wait(kStreamQueue).sequence, 10u);
  EXPECT_EQ(driver.read64(kStreamQueue, regs::kStarved), 0u);
}

TEST_F(StreamQueueTest, SequenceNumbersAreTransfersPlusLosses) {
  driver.set_up_stream(kStreamRings, 4, 200'000, 64);
  for (int i = 0; i < 40; ++i) {
    post_buffers(1, 64);
    driver.wait(kStreamQueue);
  }
  driver.write32(kStreamQueue, regs::kQueueControl, 0);
  EXPECT_EQ(driver.read64(kStreamQueue, regs::kNextSequence),
            driver.read64(kStreamQueue, regs::kCompleted) + driver.read64(kStreamQueue, regs::kDropped));
  EXPECT_EQ(driver.read64(kStreamQueue, regs::kCompleted), 40u);
}

TEST_F(StreamQueueTest, BufferTooSmallCostsNoRecord) {
  driver.set_up_stream(kStreamRings, 4, 100'000, 64, kHold);
  driver.put(kStreamQueue, buffer(kBuffers, 63));
  driver.put(kStreamQueue, buffer(kBuffers, 64));
  driver.ring_doorbell(kStreamQueue);
  EXPECT_EQ(driver.wait(kStreamQueue).status, TransferStatus::kBadDescriptor);
  auto done = driver.wait(kStreamQueue);
  EXPECT_EQ(done.status, TransferStatus::kOk);
  EXPECT_EQ(done.sequence, 0u);
}

TEST_F(StreamQueueTest, RefusedRecordIsLostWithItsSequenceNumber) {
  driver.set_up_stream(kStreamRings, 4, 100'000, 64, kHold);
  driver.put(kStreamQueue, buffer(GiB(200), 64));
  driver.put(kStreamQueue, buffer(kBuffers, 64));
  driver.ring_doorbell(kStreamQueue);
  auto refused = driver.wait(kStreamQueue);
  EXPECT_EQ(refused.status, TransferStatus::kRefusedDestination);
  EXPECT_EQ(refused.sequence, 0u);
  EXPECT_EQ(driver.wait(kStreamQueue).sequence, 1u);
}

TEST_F(StreamQueueTest, BusMasterOffStopsTheStreamAtOnceAndOnContinuesIt) {
  constexpr uint32_t kSize = 256;
  driver.set_up_stream(kStreamRings, 8, 500'000, kSize, kHold);
  post_buffers(256, kSize);
  driver.wait(kStreamQueue);
  registers.set_command(false);
  // From here on not a byte of RAM changes.
  std::vector<std::byte> before(256 * kSize);
  std::memcpy(before.data(), kernel.ram(PhysAddr{kBuffers}), before.size());
  uint32_t comp_tail = driver.read32(kStreamQueue, regs::kCompTail);
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  EXPECT_EQ(driver.read32(kStreamQueue, regs::kCompTail), comp_tail);
  EXPECT_EQ(std::memcmp(before.data(), kernel.ram(PhysAddr{kBuffers}), before.size()), 0);
  registers.set_command(true);
  for (uint64_t sequence = 1; sequence < 256; ++sequence) {
    auto done = driver.wait(kStreamQueue);
    ASSERT_EQ(done.status, TransferStatus::kOk);
    ASSERT_EQ(done.sequence, sequence);
    ASSERT_EQ(regs::check_record(kernel.ram(PhysAddr{done.cookie}), kSize, sequence),
              regs::RecordFault::kNone);
  }
}

TEST_F(StreamQueueTest, StreamIsNotDelayedByALongCopy) {
  driver.set_up(kWorkQueue, kWorkRings, 4);
  driver.set_up_stream(kStreamRings, 4, 100'000, 64, kHold);
  driver.post(kWorkQueue, copy(kBuffers + MiB(1), kBuffers + MiB(14), MiB(12), 1));
  post_buffers(16, 64);
  for (int i = 0; i < 16; ++i) EXPECT_EQ(driver.wait(kStreamQueue).status, TransferStatus::kOk);
  EXPECT_EQ(driver.wait(kWorkQueue).cookie, 1u);
}

TEST_F(StreamQueueTest, InjectedCorruptionDamagesExactlyTheNthRecord) {
  constexpr uint32_t kSize = 128;
  inject(hw::control::Fault::kCorruptByte, 3);
  driver.set_up_stream(kStreamRings, 4, 100'000, kSize, kHold);
  post_buffers(5, kSize);
  for (uint64_t i = 0; i < 5; ++i) {
    auto done = driver.wait(kStreamQueue);
    EXPECT_EQ(done.status, TransferStatus::kOk);
    EXPECT_EQ(regs::check_record(kernel.ram(PhysAddr{done.cookie}), kSize, i),
              i == 2 ? regs::RecordFault::kChecksum : regs::RecordFault::kNone);
  }
}

TEST_F(StreamQueueTest, GapCountersRestartOnRequest) {
  driver.set_up_stream(kStreamRings, 4, 1000, 64, kHold);
  post_buffers(3, 64);
  for (int i = 0; i < 3; ++i) driver.wait(kStreamQueue);
  EXPECT_GT(driver.read64(kStreamQueue, regs::kMaxGap), 0u);
  driver.write32(kStreamQueue, regs::kResetGap, 1);
  EXPECT_EQ(driver.read64(kStreamQueue, regs::kMaxGap), 0u);
  EXPECT_EQ(driver.read64(kStreamQueue, regs::kMaxLate), 0u);
}

TEST_F(StreamQueueTest, StarvationIsAGapButNotTheDevicesLateness) {
  driver.set_up_stream(kStreamRings, 4, 100'000, 64, kHold);
  post_buffers(1, 64);
  driver.wait(kStreamQueue);
  driver.write32(kStreamQueue, regs::kResetGap, 1);
  post_buffers(1, 64);
  driver.wait(kStreamQueue);
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  post_buffers(1, 64);
  driver.wait(kStreamQueue);
  EXPECT_GE(driver.read64(kStreamQueue, regs::kMaxGap), 50'000'000u);
  EXPECT_GE(driver.read64(kStreamQueue, regs::kStarved), 40'000'000u);
  EXPECT_LE(driver.read64(kStreamQueue, regs::kMaxLate) + 30'000'000,
            driver.read64(kStreamQueue, regs::kMaxGap));
}

}  // namespace
}  // namespace causeway::machine
