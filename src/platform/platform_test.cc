#include "platform/platform.h"

#include <gtest/gtest.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include <cstring>
#include <thread>

#include "hw/stream_record.h"
#include "platform/testing/machine.h"

namespace causeway::platform {
namespace {

using namespace testing;
using namespace machine::testing;
using regs::kStreamQueue;
using regs::kWorkQueue;

constexpr uint32_t kHold = static_cast<uint32_t>(regs::OverrunHold::make(1));

UniqueFd memfd(uint64_t size) {
  UniqueFd fd(::memfd_create("client", MFD_CLOEXEC));
  EXPECT_EQ(::ftruncate(fd.get(), static_cast<off_t>(size)), 0);
  return fd;
}

TEST_F(PlatformTest, AttachFindsBootRamAndCountsGenerations) {
  EXPECT_EQ(platform->generation(), 1u);
  auto ram = platform->ram();
  ASSERT_EQ(ram.size(), 2u);
  EXPECT_EQ(ram[0].base, PhysAddr{0});
  EXPECT_EQ(ram[0].size, MiB(32));
  EXPECT_EQ(ram[1].base, hw::kHighRamBase);
  EXPECT_EQ(ram[1].fd_offset, MiB(32));
  EXPECT_EQ(ram[0].fd, ram[1].fd);
  EXPECT_FALSE(ram[1].hot_added);
  EXPECT_GE(platform->direct_map().limit(), GiB(256));
  platform.reset();
  EXPECT_EQ(attach()->generation(), 2u);
}

TEST_F(PlatformTest, RamKeepsItsContentsFromGenerationToGeneration) {
  std::strcpy(platform->direct_map().to_virt<char>(PhysAddr{GiB(4) + 77}), "still here");
  platform.reset();
  platform = attach();
  EXPECT_STREQ(platform->direct_map().to_virt<char>(PhysAddr{GiB(4) + 77}), "still here");
}

TEST_F(PlatformTest, DirectMapGoesBothWays) {
  const DirectMap& map = platform->direct_map();
  EXPECT_EQ(map.to_phys(map.to_virt(PhysAddr{0x12345})), PhysAddr{0x12345});
  EXPECT_TRUE(map.contains(map.to_virt(PhysAddr{GiB(63)})));
  int local;
  EXPECT_FALSE(map.contains(&local));
}

TEST_F(PlatformTest, AttachToSomethingElseIsAnError) {
  EXPECT_EQ(Platform::attach(UniqueFd()).error().code, Errno{EBADF});
  int fds[2];
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds), 0);
  UniqueFd left(fds[0]);
  ::close(fds[1]);
  EXPECT_EQ(Platform::attach(std::move(left)).error().code, Errno{ECONNRESET});

  // A peer that answers with nonsense, and one that hands out a bus of the wrong kind.
  for (bool sends_bus : {false, true}) {
    ASSERT_EQ(::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds), 0);
    UniqueFd ours(fds[0]), theirs(fds[1]);
    UniqueFd fake_bus = memfd(hw::kBusSize);
    hw::control::Reply reply{};
    ASSERT_TRUE(
        hw::send_packet(theirs.get(), &reply, sends_bus ? sizeof reply : 5, sends_bus ? fake_bus.get() : -1));
    EXPECT_EQ(Platform::attach(std::move(ours)).error().code, Errno{EPROTO});
  }
}

TEST_F(PlatformTest, RamBeyondAGivenLimitCannotBeMapped) {
  auto attached = Platform::attach(machine->connect(), GiB(1));
  ASSERT_FALSE(attached);
  EXPECT_EQ(attached.error().code, Errno{EINVAL});
}

TEST_F(PlatformTest, BackingGivesASecondMappingOfTheSamePage) {
  auto backing = platform->backing(PhysAddr{GiB(4) + 3 * kPageSize});
  ASSERT_TRUE(backing);
  EXPECT_EQ(backing->contiguous, MiB(32) - 3 * kPageSize);
  Mapping second = *Mapping::shared(backing->fd, backing->offset, kPageSize);
  second.data()[5] = std::byte{99};
  EXPECT_EQ(*platform->direct_map().to_virt(PhysAddr{GiB(4) + 3 * kPageSize + 5}), std::byte{99});
  EXPECT_EQ(platform->backing(PhysAddr{MiB(32)}).error().code, Errno{EINVAL});
  EXPECT_EQ(platform->backing(PhysAddr{GiB(60)}).error().code, Errno{EINVAL});
}

TEST_F(PlatformTest, HotAddedMemoryIsRamForCpuAndDevice) {
  UniqueFd client = memfd(2 * kPageSize);
  auto range = platform->hot_add(client.get(), 2 * kPageSize);
  ASSERT_TRUE(range);
  EXPECT_TRUE(range->hot_added);
  EXPECT_TRUE(range->base.is_aligned(hw::kHotAddAlignment));
  EXPECT_EQ(platform->ram().size(), 3u);
  *platform->direct_map().to_virt(range->base + kPageSize) = std::byte{1};

  PlatformRegisters registers(*platform);
  MiniDriver driver(registers);
  driver.set_up(kWorkQueue, PhysAddr{0x10'0000}, 4);
  EXPECT_EQ(driver.run(kWorkQueue, fill(0x4242424242424242, range->base.value(), 8)).status,
            regs::TransferStatus::kOk);
  Mapping view = *Mapping::shared(client.get(), 0, 2 * kPageSize);
  EXPECT_EQ(view.data()[0], std::byte{0x42});
  EXPECT_EQ(view.data()[kPageSize], std::byte{1});

  EXPECT_TRUE(platform->remove(range->region));
  EXPECT_EQ(driver.run(kWorkQueue, fill(0, range->base.value(), 8)).status,
            regs::TransferStatus::kRefusedDestination);
  EXPECT_EQ(view.data()[0], std::byte{0x42});
  EXPECT_EQ(platform->ram().size(), 2u);
}

TEST_F(PlatformTest, HotAddedRegionsAreFoundByTheNextGeneration) {
  UniqueFd client = memfd(kPageSize);
  auto range = *platform->hot_add(client.get(), kPageSize);
  platform.reset();
  platform = attach();
  auto ram = platform->ram();
  ASSERT_EQ(ram.size(), 3u);
  EXPECT_EQ(ram[2].base, range.base);
  EXPECT_EQ(ram[2].region, range.region);
  EXPECT_TRUE(ram[2].hot_added);
  EXPECT_EQ(ram[2].inode, range.inode);
  // Known, and mapped only when somebody asks.
  ASSERT_TRUE(platform->map(ram[2].region));
  *platform->direct_map().to_virt(ram[2].base) = std::byte{9};
  char back = 0;
  EXPECT_EQ(::pread(platform->region_fd(ram[2].region)->get(), &back, 1, 0), 1);
  EXPECT_EQ(back, 9);
  auto backing = platform->backing(ram[2].base + 5);
  ASSERT_TRUE(backing);
  EXPECT_EQ(backing->offset, 5u);
  EXPECT_TRUE(platform->remove(ram[2].region));
  EXPECT_EQ(platform->map(ram[2].region).error().code, Errno{ENOENT});
  EXPECT_EQ(platform->region_fd(ram[2].region).error().code, Errno{ENOENT});
}

TEST_F(PlatformTest, ADevicesWriteToASealedFileIsARefusedTransfer) {
  UniqueFd client(::memfd_create("client", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  ASSERT_EQ(::ftruncate(client.get(), kPageSize), 0);
  ASSERT_EQ(::fcntl(client.get(), F_ADD_SEALS, F_SEAL_WRITE), 0);
  auto range = platform->hot_add(client.get(), kPageSize);
  ASSERT_TRUE(range);
  EXPECT_FALSE(range->writable);
  EXPECT_EQ(*platform->direct_map().to_virt(range->base), std::byte{0});
  PlatformRegisters registers(*platform);
  MiniDriver driver(registers);
  driver.set_up(kWorkQueue, PhysAddr{0x10'0000}, 4);
  EXPECT_EQ(driver.run(kWorkQueue, fill(1, range->base.value(), 8)).status,
            regs::TransferStatus::kRefusedDestination);
  EXPECT_EQ(driver.run(kWorkQueue, copy(range->base.value(), 0x20'0000, 8)).status, regs::TransferStatus::kOk);
}

TEST_F(PlatformTest, HotAddAndRemoveHaveTheirErrors) {
  UniqueFd client = memfd(kPageSize);
  EXPECT_EQ(platform->hot_add(client.get(), 2 * kPageSize).error().code, Errno{EINVAL});
  EXPECT_EQ(platform->hot_add(-1, kPageSize).error().code, Errno{EBADF});
  EXPECT_EQ(platform->remove(0).error().code, Errno{EBUSY});
  EXPECT_EQ(platform->remove(99).error().code, Errno{ENOENT});
  platform.reset();
  // Room for boot RAM alone: what does not fit is taken back from the machine.
  platform = *Platform::attach(machine->connect(), GiB(4) + MiB(32));
  EXPECT_EQ(platform->hot_add(client.get(), kPageSize).error().code, Errno{E2BIG});
  EXPECT_NE(platform->machine_status()->find("machine.regions=2\n"), std::string::npos);
}

TEST_F(PlatformTest, RegionsComeAndGoWhileTheStreamWritesIntoThem) {
  constexpr uint32_t kSize = 1024;
  PlatformRegisters registers(*platform);
  MiniDriver driver(registers);
  driver.set_up_stream(PhysAddr{0x10'0000}, 6, 1'000'000, kSize, kHold);
  UniqueFd client = memfd(MiB(1));
  uint64_t moved = 0, refused = 0;
  for (int round = 0; round < 30; ++round) {
    auto range = platform->hot_add(client.get(), MiB(1));
    ASSERT_TRUE(range);
    for (uint64_t i = 0; i < 64; ++i)
      driver.put(kStreamQueue, buffer(range->base.value() + i * kSize, kSize));
    driver.ring_doorbell(kStreamQueue);
    moved += driver.wait(kStreamQueue).status == regs::TransferStatus::kOk;
    ASSERT_TRUE(platform->remove(range->region));
    for (int i = 1; i < 64; ++i)
      (driver.wait(kStreamQueue).status == regs::TransferStatus::kOk ? moved : refused) += 1;
  }
  EXPECT_GT(moved, 0u);
  EXPECT_EQ(moved + refused, 30u * 64);
}

TEST_F(PlatformTest, TwoThousandRecordsUnderConcurrentConsumption) {
  constexpr uint32_t kSize = 2048;
  constexpr uint64_t kRecords = 2000, kBuffers = 0x40'0000;
  PlatformRegisters registers(*platform);
  MiniDriver driver(registers);
  driver.set_up_stream(PhysAddr{0x10'0000}, 6, 200'000, kSize, kHold);
  driver.set_up(kWorkQueue, PhysAddr{0x20'0000}, 4);
  for (uint64_t i = 0; i < 64; ++i)
    driver.put(kStreamQueue, buffer(kBuffers + i * kSize, kSize, kBuffers + i * kSize));
  driver.ring_doorbell(kStreamQueue);
  for (uint64_t sequence = 0; sequence < kRecords; ++sequence) {
    auto done = driver.wait(kStreamQueue);
    ASSERT_EQ(done.status, regs::TransferStatus::kOk);
    ASSERT_EQ(done.sequence, sequence);
    ASSERT_EQ(regs::check_record(platform->direct_map().to_virt(PhysAddr{done.cookie}), kSize, sequence,
                                 regs::CheckDepth::kPayload),
              regs::RecordFault::kNone);
    driver.post(kStreamQueue, buffer(done.cookie, kSize, done.cookie));
    if (sequence % 100 == 0) {
      ASSERT_EQ(driver.run(kWorkQueue, copy(kBuffers, 0x80'0000, 4096)).status, regs::TransferStatus::kOk);
    }
  }
  EXPECT_EQ(driver.read64(kStreamQueue, regs::kDropped), 0u);
  EXPECT_EQ(driver.read64(kStreamQueue, regs::kRefused), 0u);
}

TEST_F(PlatformTest, StreamGoesOnAcrossGenerationsWithoutAGapInItsNumbers) {
  constexpr uint32_t kSize = 256, kLog2 = 10;
  constexpr uint64_t kBuffers = 0x40'0000;
  uint64_t next = 0;
  for (int generation = 0; generation < 4; ++generation) {
    if (generation > 0) platform = nullptr;
    if (generation > 0) platform = attach();
    PlatformRegisters registers(*platform);
    MiniDriver driver(registers);
    if (generation == 0) {
      driver.set_up_stream(PhysAddr{0x10'0000}, kLog2, 100'000, kSize, kHold);
      for (uint64_t i = 0; i < 1u << kLog2; ++i)
        driver.put(kStreamQueue, buffer(kBuffers + i * kSize, kSize, kBuffers + i * kSize));
      driver.ring_doorbell(kStreamQueue);
    } else {
      driver.adopt(kStreamQueue, PhysAddr{0x10'0000}, kLog2);
    }
    for (int i = 0; i < 300; ++i, ++next) {
      auto done = driver.wait(kStreamQueue);
      ASSERT_EQ(done.sequence, next);
      ASSERT_EQ(regs::check_record(platform->direct_map().to_virt(PhysAddr{done.cookie}), kSize, next),
                regs::RecordFault::kNone);
      driver.post(kStreamQueue, buffer(done.cookie, kSize, done.cookie));
    }
  }
}

TEST_F(PlatformTest, StatusAndFaultsGoThroughTheControlSocket) {
  auto status = platform->machine_status();
  ASSERT_TRUE(status);
  EXPECT_NE(status->find("machine.generation=1\n"), std::string::npos);
  EXPECT_NE(status->find("dma0.bdf=00:01.0\n"), std::string::npos);
  EXPECT_TRUE(platform->inject_fault(hw::control::Fault::kRefuse, 1));
  EXPECT_FALSE(platform->inject_fault(hw::control::Fault{77}, 1));
  PlatformRegisters registers(*platform);
  MiniDriver driver(registers);
  driver.set_up(kWorkQueue, PhysAddr{0x10'0000}, 4);
  EXPECT_EQ(driver.run(kWorkQueue, fill(0, 0x20'0000, 8)).status, regs::TransferStatus::kRefusedDestination);
}

TEST_F(PlatformTest, MachineThatIsGoneReadsAllOnesAndIsLoggedOnce) {
  PlatformRegisters registers(*platform);
  ASSERT_EQ(registers.read32(regs::kVersion), regs::kVersionValue);
  EXPECT_TRUE(platform->power_off());
  EXPECT_TRUE(eventually([&] { return registers.read32(regs::kVersion) == ~0u; }));
  registers.write32(regs::kAddressWidth, 32);
  EXPECT_EQ(registers.read32_with_effect(regs::kIntCause), ~0u);
  EXPECT_EQ(registers.read64(regs::kVersion), ~uint64_t{0});
  EXPECT_EQ(platform->machine_status().error().code, Errno{ECONNRESET});
  auto lines = quiet.lines();
  EXPECT_EQ(std::count_if(lines.begin(), lines.end(),
                          [](const std::string& line) { return line.find("machine is gone") != line.npos; }),
            1);
}

TEST_F(PlatformTest, PostedWritesToAMachineThatDiesNeverBlock) {
  PlatformRegisters registers(*platform);
  std::thread writer([&] {
    for (int i = 0; i < 20'000; ++i) registers.write32(regs::kAddressWidth, 64);
  });
  machine.reset();
  writer.join();
  EXPECT_EQ(registers.read32(regs::kVersion), ~0u);
}

#if CW_POINTS
TEST_F(PlatformTest, FailedStepsOfHotAddLeaveNothingBehind) {
  UniqueFd client = memfd(kPageSize);
  ASSERT_TRUE(point::arm("platform.hot_add.before_request=fail"));
  EXPECT_EQ(platform->hot_add(client.get(), kPageSize).error().code, Errno{ENOMEM});
  ASSERT_TRUE(point::arm("machine.hot_add.map=fail"));
  EXPECT_EQ(platform->hot_add(client.get(), kPageSize).error().code, Errno{ENOMEM});
  EXPECT_EQ(platform->ram().size(), 2u);
  EXPECT_TRUE(platform->hot_add(client.get(), kPageSize));
}
#endif

}  // namespace
}  // namespace causeway::platform
