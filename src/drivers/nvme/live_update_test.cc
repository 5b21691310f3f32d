#include <gtest/gtest.h>

#include <cstring>
#include <functional>
#include <vector>

#include "base/log.h"
#include "drivers/abi/nvme_v1.h"
#include "drivers/nvme/testing/nvme_system.h"
#include "hw/nvme.h"

namespace causeway::drivers::nvme {
namespace {

using testing::NvmeSystem;

constexpr NvmeOptions kBusy{.queues = 2, .queue_depth = 32, .io_size = KiB(8), .file_bytes = MiB(4)};
// Slow enough that commands are always under way, fast enough for a test.
constexpr machine::NvmeOptions kDisk{.size = MiB(16), .queues = 2, .cmb = 0, .shuffle = true, .latency_us = 300};

class NvmeLiveUpdate : public ::testing::Test {
 public:
  abi::Handover& handover() {
    kho::Subtree found =
        must(system_.system().kho().retrieve_subtree(Nvme::subtree_name(system_.function().bdf())));
    return *reinterpret_cast<abi::Handover*>(system_.at(found.phys));
  }
  abi::LiveState& live() { return *reinterpret_cast<abi::LiveState*>(system_.at(PhysAddr(handover().queue[0].live))); }
  void expect_clean(const NvmeStats& stats) {
    EXPECT_EQ(stats.lost, 0u);
    EXPECT_EQ(stats.duplicated, 0u);
    EXPECT_EQ(stats.corrupted, 0u);
    EXPECT_EQ(stats.refused, 0u);
    EXPECT_EQ(stats.device_epoch, stats.expected_epoch);
  }
  // One update with a mistake in it, then some time for it to show.
  NvmeStats update_with(Sabotage sabotage) {
    must(system_.start(kBusy));
    EXPECT_TRUE(system_.advances(100));
    system_.kexec();
    NvmeOptions options = kBusy;
    options.sabotage = sabotage;
    options.timeout_ms = 300;
    must(system_.start(options));
    return system_.driver().stats();
  }
  log::Capture quiet_;
  NvmeSystem system_{kDisk};
};

TEST_F(NvmeLiveUpdate, TwentyUpdatesLoseNothing) {
  must(system_.start(kBusy));
  for (int update = 0; update < 20; ++update) {
    ASSERT_TRUE(system_.advances(80));
    uint64_t before = system_.driver().stats().reads + system_.driver().stats().writes;
    // Every other one unannounced.
    if (update % 2 == 0) {
      system_.kexec();
    } else {
      system_.crash();
    }
    must(system_.start(kBusy));
    NvmeStats stats = system_.driver().stats();
    ASSERT_TRUE(stats.adopted);
    EXPECT_GT(stats.in_flight_at_takeover, 0u);
    EXPECT_GE(stats.completed_before, before);
    EXPECT_EQ(stats.queues, 2u);
  }
  ASSERT_TRUE(system_.wait_until([&] { return system_.driver().stats().passes >= 2; }));
  ASSERT_TRUE(system_.advances(80));
  NvmeStats stats = system_.driver().stats();
  expect_clean(stats);
  EXPECT_GT(stats.verified, 0u);
  EXPECT_GT(stats.blackout_ns, 0u);
}

TEST_F(NvmeLiveUpdate, CommandsCompleteWhileNoKernelRuns) {
  must(system_.start(kBusy));
  ASSERT_TRUE(system_.advances(100));
  system_.driver().freeze();
  // The controller needs nobody for what it has.
  ASSERT_TRUE(system_.wait_until([&] { return system_.driver().stats().device_in_flight == 0; }));
  system_.stop();
  system_.system().kexec(system_.boot_options());
  must(system_.start(kBusy));
  NvmeStats stats = system_.driver().stats();
  EXPECT_GT(stats.completed_during_blackout, 0u);
  EXPECT_EQ(stats.completed_during_blackout, stats.in_flight_at_takeover);
  ASSERT_TRUE(system_.advances(100));
  expect_clean(system_.driver().stats());
}

TEST_F(NvmeLiveUpdate, TheRunningConfigurationWinsOverTheNewOptions) {
  must(system_.start(kBusy));
  ASSERT_TRUE(system_.advances(50));
  system_.kexec();
  must(system_.start({.queues = 1, .queue_depth = 4, .io_size = KiB(4), .file_bytes = KiB(64), .seed = 99, .poll = true}));
  ASSERT_TRUE(system_.advances(300));
  expect_clean(system_.driver().stats());
  EXPECT_EQ(system_.driver().stats().queues, 2u);
}

TEST_F(NvmeLiveUpdate, FrozenAndThawedItGoesOn) {
  must(system_.start(kBusy));
  ASSERT_TRUE(system_.advances(50));
  system_.driver().freeze();
  EXPECT_EQ(error_of(system_.driver().flush()), EBUSY);
  system_.driver().thaw();
  ASSERT_TRUE(system_.advances(100));
  expect_clean(system_.driver().stats());
}

// Killed after the handover was published and before the first queue was made.
TEST_F(NvmeLiveUpdate, AControllerThatWasNeverStartedIsStartedByTheNext) {
  {
    auto driver = must(system_.probe(kBusy));
    must(driver->preserve());
    system_.system().commit();
  }
  system_.crash();
  must(system_.start(kBusy));
  ASSERT_TRUE(system_.advances(100));
  expect_clean(system_.driver().stats());
}

TEST_F(NvmeLiveUpdate, ReplayedCommandsAreCountedAsDuplicates) {
  update_with(Sabotage::kReplayInFlight);
  EXPECT_TRUE(system_.wait_until([&] { return system_.driver().stats().duplicated > 0; }));
  EXPECT_EQ(system_.driver().stats().lost, 0u);
}

TEST_F(NvmeLiveUpdate, ForgottenCommandsAreCountedAsLost) {
  uint64_t dropped = update_with(Sabotage::kDropInFlight).in_flight_at_takeover;
  ASSERT_GT(dropped, 0u);
  EXPECT_TRUE(system_.wait_until([&] { return system_.driver().stats().lost == dropped; }));
  EXPECT_EQ(system_.driver().stats().duplicated, 0u);
}

TEST_F(NvmeLiveUpdate, AResetControllerShowsInTheEpochAndLosesCommands) {
  NvmeStats stats = update_with(Sabotage::kStopDevice);
  EXPECT_NE(stats.device_epoch, stats.expected_epoch);
  EXPECT_TRUE(system_.wait_until([&] { return system_.driver().stats().lost == stats.in_flight_at_takeover; }));
  EXPECT_GT(stats.in_flight_at_takeover, 0u);
}

TEST_F(NvmeLiveUpdate, BuffersFreedEarlyAreCorrupted) {
  update_with(Sabotage::kEarlyFree);
  // Where the controller's commands lead to is in the ring, which is where its registers say.
  platform::MmioWindow regs = system_.function().bar0();
  uint32_t ring_register = hw::nvme::cw_queue(1) + hw::nvme::kCwSqBase;
  auto* ring = reinterpret_cast<hw::nvme::Command*>(system_.at(PhysAddr(regs.read64(ring_register))));
  std::vector<PhysAddr> freed;
  for (uint32_t i = 0; i < IoQueue::entries_for(kBusy.queue_depth); ++i) {
    PhysAddr data(__atomic_load_n(&ring[i].prp1, __ATOMIC_RELAXED));
    if (data.value() != 0 && system_.system().state(data) == mm::FrameState::kFree) freed.push_back(data);
  }
  ASSERT_FALSE(freed.empty());
  // Whoever gets the memory writes to it.
  EXPECT_TRUE(system_.wait_until([&] {
    for (PhysAddr data : freed) std::memset(system_.at(data), 0x5a, KiB(8));
    return system_.driver().stats().corrupted > 0;
  }));
}

TEST_F(NvmeLiveUpdate, RingsThatWereNotPreservedAreRefused) {
  NvmeOptions careless = kBusy;
  careless.sabotage = Sabotage::kSkipPreserve;
  must(system_.start(careless));
  ASSERT_TRUE(system_.advances(50));
  system_.kexec();
  EXPECT_EQ(error_of(system_.probe(kBusy)), ENOENT);
  EXPECT_FALSE(system_.function().bus_master());
}

TEST_F(NvmeLiveUpdate, WhatDoesNotFitIsRefusedAndTheControllerTakenOffTheBus) {
  const std::function<void(NvmeLiveUpdate&)> damages[] = {
      [](NvmeLiveUpdate& t) { t.handover().compatible[12] ^= 1; },
      [](NvmeLiveUpdate& t) { t.handover().queues = 9; },
      [](NvmeLiveUpdate& t) { t.handover().depth = 16; },
      [](NvmeLiveUpdate& t) { t.handover().io_size = 0; },
      [](NvmeLiveUpdate& t) { t.handover().epoch += 1; },
      [](NvmeLiveUpdate& t) { t.handover().admin_submission = t.handover().admin_completion; },
      [](NvmeLiveUpdate& t) { t.handover().queue[1].completion = 0; },
      [](NvmeLiveUpdate& t) { t.handover().queue[0].live = MiB(5); },
      [](NvmeLiveUpdate& t) { t.handover().queue[0].live = ~uint64_t{0}; },
      [](NvmeLiveUpdate& t) { t.live().current = 7; },
      [](NvmeLiveUpdate& t) { t.live().slot[t.live().current].submitted += 1000; },
      [](NvmeLiveUpdate& t) { t.live().slot[t.live().current].consumed -= 40; },
  };
  int number = 0;
  for (const auto& damage : damages) {
    SCOPED_TRACE(number++);
    must(system_.start(kBusy));
    ASSERT_TRUE(system_.advances(80));
    system_.kexec();
    damage(*this);
    auto refused = system_.probe(kBusy);
    EXPECT_FALSE(refused);
    EXPECT_FALSE(system_.function().bus_master());
    // The next kernel finds no handover of the controller and sets it up anew.
    system_.system().commit();
    system_.crash();
  }
}

}  // namespace
}  // namespace causeway::drivers::nvme
