#include "kernel/kernel.h"

#include <gtest/gtest.h>

#include <chrono>
#include <cstring>
#include <functional>
#include <thread>

#include "base/log.h"
#include "kho/abi/kho_v4.h"
#include "machine/machine.h"

namespace causeway::kernel {
namespace {

using namespace std::chrono_literals;

constexpr char kSmall[] = "dma_engine.ring=64 dma_engine.rate=2000 dma_engine.overrun=hold memory_pressure=64";

// A machine and the generations that run on it, in this process.
class KernelTest : public testing::Test {
 protected:
  void SetUp() override {
    auto machine = machine::Machine::create({.ram = MiB(256)});
    ASSERT_TRUE(machine) << to_string(machine.error());
    machine_ = std::move(*machine);
  }
  void TearDown() override { kernel_.reset(); }

  void boot(const std::string& command_line = kSmall) {
    std::string problem;
    auto params = parse_command_line(command_line, &problem);
    ASSERT_TRUE(params) << problem;
    auto kernel = Kernel::boot(machine_->connect(), *params);
    ASSERT_TRUE(kernel) << to_string(kernel.error());
    kernel_ = std::move(*kernel);
  }
  void die() { kernel_.reset(); }
  void live_update(const std::string& command_line = kSmall) {
    Status frozen = kernel_->freeze();
    ASSERT_TRUE(frozen) << to_string(frozen.error());
    die();
    boot(command_line);
  }

  drivers::DmaEngineStats engine() {
    KernelStatus status = kernel_->status();
    return status.engines.empty() ? drivers::DmaEngineStats{} : status.engines.front().second;
  }
  // Until `records` more have been verified by this generation. False: the stream stands still.
  bool stream_advances(uint64_t records = 50) {
    uint64_t want = engine().records + records;
    for (int i = 0; i < 2000; ++i) {
      if (engine().records >= want) return true;
      std::this_thread::sleep_for(5ms);
    }
    return false;
  }
  void expect_stream_intact() {
    drivers::DmaEngineStats stats = engine();
    EXPECT_EQ(stats.lost, 0u);
    EXPECT_EQ(stats.replayed, 0u);
    EXPECT_EQ(stats.corrupted, 0u);
    EXPECT_EQ(stats.refused, 0u);
    EXPECT_EQ(stats.device_epoch, stats.expected_epoch);
    EXPECT_EQ(stats.work_failed, 0u);
  }
  void expect_no_problems() {
    for (const std::string& problem : kernel_->status().problems) ADD_FAILURE() << problem;
    for (const std::string& error : kernel_->status().driver_errors) ADD_FAILURE() << error;
  }

  log::Capture quiet_;
  std::unique_ptr<machine::Machine> machine_;
  std::unique_ptr<Kernel> kernel_;
};

TEST_F(KernelTest, AColdBootStartsTheStream) {
  boot();
  EXPECT_EQ(kernel_->status().boot, BootKind::kCold);
  EXPECT_EQ(kernel_->status().generation, 1u);
  EXPECT_TRUE(stream_advances());
  expect_stream_intact();
  expect_no_problems();
}

TEST_F(KernelTest, LiveUpdatesLoseNothing) {
  boot();
  for (uint32_t update = 1; update <= 5; ++update) {
    ASSERT_TRUE(stream_advances(20));
    live_update();
    KernelStatus status = kernel_->status();
    EXPECT_EQ(status.boot, BootKind::kKexec);
    EXPECT_EQ(status.generation, update + 1);
    EXPECT_EQ(status.kho.kexec_count, update);
    EXPECT_TRUE(engine().adopted);
  }
  ASSERT_TRUE(stream_advances());
  expect_stream_intact();
  expect_no_problems();
  KernelStatus status = kernel_->status();
  EXPECT_EQ(status.kho.unrestored_pages, status.kho.unrestored_by_design);
  EXPECT_GT(engine().recycled, 0u);
}

TEST_F(KernelTest, TheDeviceWorksWhileThereIsNoKernel) {
  boot();
  ASSERT_TRUE(stream_advances(20));
  ASSERT_TRUE(kernel_->freeze());
  die();
  std::this_thread::sleep_for(10ms);
  boot();
  ASSERT_TRUE(stream_advances(20));
  EXPECT_GT(engine().completed_during, 0u);
  EXPECT_GT(engine().blackout_ns, 10'000'000u);
  expect_stream_intact();
}

TEST_F(KernelTest, AKernelThatDiesUnannouncedIsTakenOver) {
  boot();
  for (int i = 0; i < 3; ++i) {
    ASSERT_TRUE(stream_advances(20));
    die();
    boot();
    EXPECT_EQ(kernel_->status().boot, BootKind::kTakeover);
  }
  ASSERT_TRUE(stream_advances());
  expect_stream_intact();
  expect_no_problems();
}

TEST_F(KernelTest, ThawGoesOnAsBefore) {
  boot();
  ASSERT_TRUE(stream_advances(20));
  ASSERT_TRUE(kernel_->freeze());
  kernel_->thaw();
  ASSERT_TRUE(stream_advances(20));
  live_update();
  ASSERT_TRUE(stream_advances(20));
  expect_stream_intact();
}

TEST_F(KernelTest, ShutdownGivesEverythingBack) {
  boot();
  ASSERT_TRUE(stream_advances(20));
  live_update();
  ASSERT_TRUE(stream_advances(20));
  kernel_->shutdown();
  EXPECT_EQ(kernel_->dma().stats().allocations, 0u);
  EXPECT_EQ(kernel_->status().pages.bad_pages, 0u);
  EXPECT_FALSE(kernel_->platform().mailbox().current());
  for (platform::PciFunction& function : kernel_->platform().pci().scan()) EXPECT_FALSE(function.bus_master());
}

TEST_F(KernelTest, WithoutKhoALiveUpdateIsRefused) {
  boot(std::string(kSmall) + " kho=off");
  ASSERT_TRUE(stream_advances(20));
  Status frozen = kernel_->freeze();
  ASSERT_FALSE(frozen);
  EXPECT_EQ(frozen.error().code, Errno{ENODEV});
  EXPECT_TRUE(stream_advances(20));
}

TEST_F(KernelTest, WithoutKhoTheNextBootIsColdAndTakesTheDeviceOffTheBusFirst) {
  boot(std::string(kSmall) + " kho=off");
  ASSERT_TRUE(stream_advances(20));
  die();
  boot();
  EXPECT_EQ(kernel_->status().boot, BootKind::kCold);
  EXPECT_TRUE(quiet_.contains("taken off the bus"));
  EXPECT_TRUE(stream_advances(20));
  EXPECT_EQ(kernel_->status().pressure_damaged, 0u);
}

TEST_F(KernelTest, TheFormatMayChangeWithEveryUpdate) {
  boot();
  for (const char* format : {" kho_format=typed", " kho_format=typed", " kho_format=v4", " kho_format=typed"}) {
    ASSERT_TRUE(stream_advances(20));
    live_update(std::string(kSmall) + format);
    EXPECT_EQ(kernel_->status().boot, BootKind::kKexec);
  }
  ASSERT_TRUE(stream_advances());
  expect_stream_intact();
  expect_no_problems();
}

TEST_F(KernelTest, ManyOtherAllocationsComeBackToo) {
  boot(std::string(kSmall) + " ballast=2000");
  ASSERT_TRUE(stream_advances(20));
  live_update();
  ASSERT_TRUE(stream_advances(20));
  EXPECT_GE(kernel_->status().dma.restored, 2000u);
  live_update();
  ASSERT_TRUE(stream_advances(20));
  expect_stream_intact();
  expect_no_problems();
}

class DamagedHandover : public KernelTest {
 protected:
  // Lets `damage` at the machine while no kernel runs, then boots and expects an ordinary cold boot.
  void boot_after(const std::function<void(platform::Platform&, const platform::Handover&)>& damage) {
    boot();
    ASSERT_TRUE(stream_advances(20));
    ASSERT_TRUE(kernel_->freeze());
    die();
    {
      auto vandal = platform::Platform::attach(machine_->connect());
      ASSERT_TRUE(vandal);
      auto handover = (*vandal)->mailbox().current();
      ASSERT_TRUE(handover);
      damage(**vandal, *handover);
    }
    boot();
    EXPECT_EQ(kernel_->status().boot, BootKind::kColdAfterDamage);
    EXPECT_TRUE(quiet_.contains("taken off the bus"));
    EXPECT_TRUE(stream_advances(20)) << "the device starts anew";
    EXPECT_EQ(kernel_->status().pressure_damaged, 0u);
    EXPECT_EQ(engine().corrupted, 0u);
    live_update();  // and the system is as good as before
    EXPECT_TRUE(stream_advances(20));
    EXPECT_EQ(kernel_->status().boot, BootKind::kKexec);
  }
};

TEST_F(DamagedHandover, MailboxPointsNowhere) {
  boot_after([](platform::Platform& platform, platform::Handover handover) {
    handover.fdt_addr = PhysAddr{GiB(64)};
    platform.mailbox().publish(handover);
  });
}

TEST_F(DamagedHandover, FdtIsGarbage) {
  boot_after([](platform::Platform& platform, const platform::Handover& handover) {
    auto* fdt = platform.direct_map().to_virt<uint32_t>(handover.fdt_addr);
    for (int i = 0; i < 16; ++i) fdt[i] ^= 0x5a5a5a5a;
  });
}

TEST_F(DamagedHandover, ScratchArrayLeadsOutOfRam) {
  boot_after([](platform::Platform& platform, const platform::Handover& handover) {
    auto* entry = platform.direct_map().to_virt<kho::abi::ScratchEntry>(handover.scratch_addr);
    entry->addr = GiB(40);
  });
}

TEST_F(DamagedHandover, TreeHasACycle) {
  boot_after([](platform::Platform& platform, const platform::Handover& handover) {
    const std::byte* fdt = platform.direct_map().to_virt(handover.fdt_addr);
    // The root's physical address is the one 8-byte page-aligned value in the FDT whose page links to
    // pages: found by its property length, so that the test knows no offset.
    for (unsigned at = 0; at + 12 <= 1024; at += 4) {
      if (*reinterpret_cast<const uint32_t*>(fdt + at) != 0x08000000) continue;  // big-endian length 8
      uint64_t root;
      std::memcpy(&root, fdt + at + 8, sizeof root);
      auto* node = platform.direct_map().to_virt<uint64_t>(PhysAddr(root));
      for (int i = 0; i < 512; ++i)
        if (node[i] != 0) node[i] = root;
      return;
    }
    ADD_FAILURE() << "no tree root in the FDT";
  });
}

class SabotagedUpdate : public KernelTest, public testing::WithParamInterface<const char*> {};

// What each mode does must be seen by somebody. The demo's own checks are tested with the demo.
TEST_P(SabotagedUpdate, IsNoticed) {
  std::string command_line = std::string(kSmall) + " memory_pressure=2048 sabotage=" + GetParam();
  boot(command_line);
  ASSERT_TRUE(stream_advances(20));
  live_update(command_line);
  for (int i = 0; i < 400; ++i) {
    KernelStatus status = kernel_->status();
    drivers::DmaEngineStats stats = engine();
    bool noticed = !status.problems.empty() || !status.driver_errors.empty() || stats.corrupted != 0 ||
                   stats.device_epoch != stats.expected_epoch;
    if (noticed) return;
    std::this_thread::sleep_for(10ms);
  }
  for (const std::string& line : quiet_.lines()) ADD_FAILURE() << line;
  FAIL() << GetParam() << " went unnoticed";
}

INSTANTIATE_TEST_SUITE_P(Modes, SabotagedUpdate,
                         testing::Values("skip-preserve", "early-free", "short-preserve", "wrong-refcount",
                                         "stop-device"));

}  // namespace
}  // namespace causeway::kernel
