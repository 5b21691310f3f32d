// What a controller shares with the rest of the machine: interrupts, memory that other devices reach, its
// registers with the next driver, a file; and how it behaves with commands delayed and reordered.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <set>
#include <thread>
#include <vector>

#include "hw/pci.h"
#include "machine/testing/nvme_fixture.h"

namespace causeway::machine {
namespace {

using namespace testing;
using nvm::Status;
namespace pci = hw::pci;

class NvmeInterruptTest : public NvmeTest {
 protected:
  void SetUp() override {
    NvmeTest::SetUp();
    capability = kernel->config(kDisk) + pci::kMsixOffset;
  }
  void set_control(bool enabled, bool masked) {
    kernel->write(capability + pci::kMsixControl,
                  pci::MsixEnable::make(enabled) | pci::MsixFunctionMask::make(masked), 2);
  }
  static uint32_t word(unsigned entry, uint32_t offset) {
    return nvm::kMsixTable + entry * pci::kMsixEntrySize + offset;
  }
  void direct(unsigned entry, uint8_t vector, bool masked = false) {
    registers->write32(word(entry, pci::kMsixEntryAddressLow), static_cast<uint32_t>(hw::kMsiBase.value()));
    registers->write32(word(entry, pci::kMsixEntryData), vector);
    registers->write32(word(entry, pci::kMsixEntryControl), masked);
  }
  uint32_t raised(uint8_t vector) {
    kernel->flush();
    return kernel->interrupts().raised[vector].load();
  }
  // A completion is visible before its interrupt.
  bool comes_to(uint8_t vector, uint32_t count) {
    return eventually([&] { return raised(vector) == count; });
  }
  bool is_pending(unsigned entry) { return (registers->read32(nvm::kMsixPba) >> entry & 1) != 0; }

  PhysAddr capability;
};

TEST_F(NvmeInterruptTest, CapabilityListLeadsToTheTable) {
  PhysAddr config = kernel->config(kDisk);
  uint64_t first = kernel->read(config + pci::kCapabilities, 1);
  ASSERT_EQ(kernel->read(config + first, 1), pci::kMsiCapabilityId);
  uint64_t next = kernel->read(config + (first + pci::kCapabilityNext), 1);
  ASSERT_EQ(kernel->read(config + next, 1), pci::kMsixCapabilityId);
  EXPECT_EQ(pci::MsixTableSize::get(kernel->read(capability + pci::kMsixControl, 2)), 4u) << "five entries";
  EXPECT_EQ(kernel->read(capability + pci::kMsixTableOffset, 4), nvm::kMsixTable);
  EXPECT_EQ(kernel->read(capability + pci::kMsixPbaOffset, 4), nvm::kMsixPba);
  EXPECT_EQ(registers->read32(word(4, pci::kMsixEntryControl)), 1u) << "masked at power-on";
}

TEST_F(NvmeInterruptTest, EveryCompletionInterruptsAtItsQueuesVector) {
  set_control(true, false);
  direct(0, 40);
  direct(2, 42);
  disk->create_queue(1, rings(1), 16, 2, true);
  ASSERT_TRUE(comes_to(40, 2)) << "two admin commands";
  for (unsigned i = 0; i < 5; ++i) disk->put(1, read_command(i, 1, kData));
  disk->ring_doorbell(1);
  for (unsigned i = 0; i < 5; ++i) disk->wait(1);
  EXPECT_TRUE(comes_to(42, 5));
  disk->create_queue(2, rings(2), 16, 2, false);
  disk->run(2, read_command(0, 1, kData));
  EXPECT_EQ(raised(42), 5u) << "this queue's are off";
}

TEST_F(NvmeInterruptTest, MaskedInterruptIsPendingOnceAndSentWhenTheMaskGoes) {
  set_control(true, false);
  direct(1, 50, true);
  disk->create_queue(1, rings(1), 16, 1, true);
  for (unsigned i = 0; i < 3; ++i) disk->run(1, read_command(i, 1, kData));
  ASSERT_TRUE(eventually([&] { return is_pending(1); }));
  EXPECT_EQ(raised(50), 0u);
  registers->write32(word(1, pci::kMsixEntryControl), 0);
  EXPECT_EQ(raised(50), 1u);
  EXPECT_FALSE(is_pending(1));
  EXPECT_TRUE(is_pending(0)) << "the admin queue's entry has been masked all the time";
  // The function's mask does the same.
  set_control(true, true);
  disk->run(1, read_command(0, 1, kData));
  ASSERT_TRUE(eventually([&] { return is_pending(1); }));
  set_control(true, false);
  EXPECT_EQ(raised(50), 2u);
  // Another vector while it is pending.
  registers->write32(word(1, pci::kMsixEntryControl), 1);
  disk->run(1, read_command(0, 1, kData));
  ASSERT_TRUE(eventually([&] { return is_pending(1); }));
  registers->write32(word(1, pci::kMsixEntryData), 51);
  registers->write32(word(1, pci::kMsixEntryControl), 0);
  EXPECT_EQ(raised(50), 2u);
  EXPECT_EQ(raised(51), 1u);
}

TEST_F(NvmeInterruptTest, WithoutMsixTheCompletionsInterruptThroughMsiUnlessMasked) {
  PhysAddr msi = kernel->config(kDisk) + pci::kMsiOffset;
  kernel->write(msi + pci::kMsiAddressLow, hw::kMsiBase.value(), 4);
  kernel->write(msi + pci::kMsiData, 60, 2);
  kernel->write(msi + pci::kMsiControl, 1, 2);
  disk->create_queue(1, rings(1), 16, 3, true);
  EXPECT_TRUE(comes_to(60, 2));
  disk->run(1, read_command(0, 1, kData));
  EXPECT_TRUE(comes_to(60, 3));
  registers->write32(nvm::kIntms, 1);
  disk->run(1, read_command(0, 1, kData));
  registers->write32(nvm::kIntmc, 1);
  disk->run(1, read_command(0, 1, kData));
  EXPECT_TRUE(comes_to(60, 4));
  set_control(true, false);
  disk->run(1, read_command(0, 1, kData));
  EXPECT_EQ(raised(60), 4u) << "msi-x is on, and its entry goes nowhere";
}

class NvmeBufferTest : public NvmeTest {
 protected:
  void SetUp() override {
    NvmeTest::SetUp();
    engine_registers = std::make_unique<RawRegisters>(*kernel, Bdf(0, 1, 0));
    engine = std::make_unique<MiniDriver>(*engine_registers);
    engine->set_up(regs::kWorkQueue, kEngineRings, 4);
    disk->create_queue(1, rings(1), 16);
    registers->write64(nvm::kCmbmsc, nvm::CmbmscCre::make(1));
    uint64_t unit = kPageSize << 4 * nvm::CmbszSzu::get(registers->read32(nvm::kCmbsz));
    offset = static_cast<uint32_t>(nvm::CmblocOfst::get(registers->read32(nvm::kCmbloc)) * unit);
    size = nvm::CmbszSz::get(registers->read32(nvm::kCmbsz)) * unit;
    buffer = registers->bar().value() + offset;
  }
  std::unique_ptr<RawRegisters> engine_registers;
  std::unique_ptr<MiniDriver> engine;
  uint32_t offset = 0;
  uint64_t size = 0;
  uint64_t buffer = 0;  // bus address
};

TEST_F(NvmeBufferTest, IsVisibleOnlyWhenTheDriverAsks) {
  EXPECT_EQ(size, KiB(256));
  EXPECT_EQ(offset, KiB(256));
  registers->write64(nvm::kCmbmsc, 0);
  EXPECT_EQ(registers->read32(nvm::kCmbsz), 0u);
  EXPECT_EQ(registers->read32(nvm::kCmbloc), 0u);
}

TEST_F(NvmeBufferTest, ProcessorReadsAndWritesItThroughTheBar) {
  registers->write32(offset + 8, 0xfeedf00d);
  registers->write64(offset + size - 8, 0x1122334455667788);
  EXPECT_EQ(registers->read32(offset + 8), 0xfeedf00du);
  EXPECT_EQ(registers->read64(offset + size - 8), 0x1122334455667788u);
}

TEST_F(NvmeBufferTest, AnotherDeviceReachesItAndTheControllerMovesItToTheNamespace) {
  fill(kData, KiB(16), 12);
  // RAM -> engine -> buffer -> namespace -> buffer -> engine -> RAM: nothing of it through memory in between.
  auto done = engine->run(regs::kWorkQueue, copy(kData, buffer + KiB(32), KiB(16)));
  ASSERT_EQ(done.status, regs::TransferStatus::kOk);
  for (unsigned i = 0; i < 3; ++i) put(kLists + 8 * i, buffer + KiB(36) + i * KiB(4));
  ASSERT_EQ(disk->status(1, write_command(64, 32, buffer + KiB(32), kLists)), Status::kSuccess);
  nvm::Command read = read_command(64, 32, 0);
  nvm::set_sgl(read, nvm::sgl_descriptor(nvm::SglType::kDataBlock, buffer + KiB(128) + 4, KiB(16)));
  ASSERT_EQ(disk->status(1, read), Status::kSuccess);
  done = engine->run(regs::kWorkQueue, copy(buffer + KiB(128) + 4, kData + MiB(1), KiB(16)));
  ASSERT_EQ(done.status, regs::TransferStatus::kOk);
  EXPECT_TRUE(same(kData, kData + MiB(1), KiB(16)));
}

TEST_F(NvmeBufferTest, RegistersAreNoMemoryAndTheBufferEndsWhereItEnds) {
  using regs::TransferStatus;
  auto write_to = [&](uint64_t address, uint32_t bytes) {
    return engine->run(regs::kWorkQueue, regs::Descriptor{0x55, address, bytes, regs::Op::kFill, 0, 0, 0})
        .status;
  };
  EXPECT_EQ(write_to(registers->bar().value(), 8), TransferStatus::kRefusedDestination);
  EXPECT_EQ(write_to(registers->bar().value() + nvm::sq_doorbell(1), 8), TransferStatus::kRefusedDestination);
  EXPECT_EQ(write_to(buffer - 8, 16), TransferStatus::kRefusedDestination);
  EXPECT_EQ(write_to(buffer + size - 8, 16), TransferStatus::kRefusedDestination);
  EXPECT_EQ(write_to(buffer + size - 8, 8), TransferStatus::kOk);
}

TEST_F(NvmeBufferTest, WithoutMemoryDecodingNobodyReachesIt) {
  using regs::TransferStatus;
  PhysAddr command = kernel->config(kDisk) + pci::kCommand;
  kernel->write(command, pci::CommandBusMaster::make(1), 2);
  kernel->flush();
  regs::Descriptor fill_it{0x55, buffer, 8, regs::Op::kFill, 0, 0, 0};
  EXPECT_EQ(engine->run(regs::kWorkQueue, fill_it).status, TransferStatus::kRefusedDestination);
  registers->set_command(true);
  EXPECT_EQ(engine->run(regs::kWorkQueue, fill_it).status, TransferStatus::kOk);
}

TEST_F(NvmeBufferTest, QueuesMayLieInItAndTheControllerKnowsItsOwnAddress) {
  // At an address that is no memory to anybody else.
  const uint64_t own = GiB(3);
  registers->write64(nvm::kCmbmsc, nvm::CmbmscCre::make(1) | nvm::CmbmscCmse::make(1) | own);
  fill(kData, 512, 4);
  ASSERT_EQ(disk->status(1, write_command(9, 1, kData)), Status::kSuccess);
  ASSERT_EQ(disk->status(1, read_command(9, 1, own + KiB(64))), Status::kSuccess);
  engine->run(regs::kWorkQueue, copy(buffer + KiB(64), kData + kPageSize, 512));
  EXPECT_TRUE(same(kData, kData + kPageSize, 512));
  // A submission queue in the buffer, written by the processor.
  ASSERT_EQ(disk->create_completions(2, rings(2), 4), Status::kSuccess);
  ASSERT_EQ(disk->create_submissions(2, PhysAddr(own), 4, 2), Status::kSuccess);
  nvm::Command read = read_command(9, 1, kData + MiB(1));
  uint64_t words[8];
  std::memcpy(words, &read, sizeof read);
  for (uint32_t i = 0; i < 8; ++i) registers->write64(offset + 8 * i, words[i]);
  registers->write32(nvm::sq_doorbell(2), 1);
  EXPECT_TRUE(eventually([&] { return nvm::CwCqTailIndex::get(disk->index(2, nvm::kCwCqTail)) == 1; }));
  EXPECT_TRUE(same(kData, kData + MiB(1), 512));
  registers->write64(nvm::kCmbmsc, nvm::CmbmscCre::make(1) | nvm::CmbmscCmse::make(1) | ~uint64_t{0} << 12);
  EXPECT_EQ(registers->read32(nvm::kCmbsts), 1u) << "it would wrap";
}

class NvmeSlowTest : public NvmeTest {
 protected:
  NvmeSlowTest() : NvmeTest("size=16M,queues=2,cmb=0,shuffle=1,latency_us=300") {}
};

TEST_F(NvmeSlowTest, CommandsCompleteOutOfOrderWithTheRightData) {
  disk->create_queue(1, rings(1), 64);
  std::vector<uint16_t> order;
  for (unsigned round = 0; round < 4; ++round) {
    std::set<uint16_t> posted;
    for (unsigned i = 0; i < 50; ++i) {
      fill(kData + i * kPageSize, 512, round * 50 + i);
      posted.insert(disk->put(1, write_command(i, 1, kData + i * kPageSize)));
    }
    disk->ring_doorbell(1);
    for (unsigned i = 0; i < 50; ++i) {
      order.push_back(disk->wait(1).cid);
      EXPECT_EQ(posted.erase(order.back()), 1u) << "each exactly once";
    }
  }
  EXPECT_FALSE(std::is_sorted(order.begin(), order.end()));
  for (unsigned i = 0; i < 50; ++i) {
    ASSERT_EQ(disk->status(1, read_command(i, 1, kData + MiB(1))), Status::kSuccess);
    EXPECT_TRUE(same(kData + i * kPageSize, kData + MiB(1), 512));
  }
}

TEST_F(NvmeSlowTest, AnotherDriverGoesOnFromTheRegistersAloneInMidFlight) {
  disk->create_queue(1, rings(1), 8);
  // The completion ring has wrapped for the controller and not for the driver.
  for (unsigned i = 0; i < 6; ++i) disk->run(1, read_command(i, 1, kData));
  std::set<uint16_t> outstanding;
  for (unsigned i = 0; i < 5; ++i) outstanding.insert(disk->put(1, read_command(i, 1, kData)));
  disk->ring_doorbell(1);
  ASSERT_TRUE(eventually([&] { return disk->index(1, nvm::kCwInFlight) <= 2; }));
  EXPECT_EQ(disk->index(1, nvm::kCwSqTail), 3u);

  MiniNvme successor(*registers);
  successor.adopt(1);
  EXPECT_EQ(registers->read32(nvm::kCwEpoch), 0u);
  for (unsigned i = 0; i < 5; ++i) outstanding.erase(successor.wait(1).cid);
  EXPECT_TRUE(outstanding.empty());
  EXPECT_FALSE(successor.poll(1));
  for (unsigned i = 0; i < 20; ++i)
    EXPECT_EQ(successor.status(1, read_command(i, 1, kData)), Status::kSuccess);
  EXPECT_EQ(registers->read32(nvm::kCwTotalInFlight), 0u);
}

class NvmeStandstillTest : public NvmeTest {
 protected:
  NvmeStandstillTest() : NvmeTest("size=1M,queues=2,cmb=0,latency_us=10000000") {}
};

TEST_F(NvmeStandstillTest, AbortAndDeletionEndCommandsThatWouldTakeLong) {
  disk->create_queue(1, rings(1), 16);
  for (unsigned i = 0; i < 4; ++i) disk->put(1, read_command(i, 1, kData));
  uint16_t victim = disk->post(1, read_command(9, 1, kData));
  ASSERT_TRUE(eventually([&] { return disk->index(1, nvm::kCwInFlight) == 5; }));
  nvm::Command abort{.opcode = nvm::admin::kAbort};
  abort.cdw10 = static_cast<uint32_t>(nvm::AbortSqid::make(1) | nvm::AbortCid::make(victim));
  EXPECT_EQ(disk->run(0, abort).result, 0u);
  nvm::Completion aborted = disk->wait(1);
  EXPECT_EQ(aborted.cid, victim);
  EXPECT_EQ(nvm::status_of(aborted.status), Status::kAbortRequested);
  EXPECT_EQ(disk->run(0, abort).result, 1u) << "it is gone";
  EXPECT_EQ(disk->remove(nvm::admin::kDeleteSq, 1), Status::kSuccess);
  for (unsigned i = 0; i < 4; ++i)
    EXPECT_EQ(nvm::status_of(disk->wait(1).status), Status::kAbortedBySqDeletion);
  EXPECT_EQ(registers->read32(nvm::kCwTotalInFlight), 0u);
}

TEST_F(NvmeStandstillTest, ResetAndPowerOffDoNotWaitForCommands) {
  disk->create_queue(1, rings(1), 16);
  disk->post(1, read_command(0, 1, kData));
  ASSERT_TRUE(eventually([&] { return disk->index(1, nvm::kCwInFlight) == 1; }));
  disk->disable();
  EXPECT_EQ(registers->read32(nvm::kCwTotalInFlight), 0u);
  ASSERT_TRUE(disk->enable(kAdminRings));
  disk->create_queue(1, rings(1), 16);
  disk->post(1, read_command(0, 1, kData));
  machine->power_off();
}

TEST_F(NvmeTest, InjectedFaultsBefallExactlyTheNthCommand) {
  using hw::control::Fault;
  disk->create_queue(1, rings(1), 16);
  fill(kData, 512, 1);
  disk->run(1, write_command(0, 1, kData));
  inject(Fault::kNvmeCorruptData, 2);
  for (bool whole : {true, false, true}) {
    EXPECT_EQ(disk->status(1, read_command(0, 1, kData + kPageSize)), Status::kSuccess);
    EXPECT_EQ(same(kData, kData + kPageSize, 512), whole);
  }
  inject(Fault::kNvmeRefuseData, 1);
  EXPECT_EQ(disk->status(1, read_command(0, 1, kData)), Status::kDataTransferError);
  inject(Fault::kNvmeRepeatCompletion, 1);
  uint16_t cid = disk->post(1, read_command(0, 1, kData));
  EXPECT_EQ(disk->wait(1).cid, cid);
  EXPECT_EQ(disk->wait(1).cid, cid);
  inject(Fault::kNvmeLoseCompletion, 1);
  disk->post(1, read_command(0, 1, kData));
  ASSERT_TRUE(eventually([&] { return disk->index(1, nvm::kCwInFlight) == 0; }));
  EXPECT_FALSE(disk->poll(1));
  EXPECT_EQ(disk->status(1, read_command(0, 1, kData)), Status::kSuccess);
}

TEST_F(NvmeTest, StatusTellsWhatHasBeenDone) {
  disk->create_queue(1, rings(1), 16);
  disk->run(1, write_command(0, 8, kData));
  disk->run(1, read_command(0, 2, kData));
  disk->run(1, read_command(0, 1, GiB(3)));
  std::string text = machine->status();
  for (const char* line : {"nvme0.bdf=00:02.0\n", "nvme0.ready=1\n", "nvme0.commands=5\n", "nvme0.errors=1\n",
                           "nvme0.refused=1\n", "nvme0.bytes_read=1024\n", "nvme0.bytes_written=4096\n",
                           "nvme0.in_flight=0\n", "nvme0.resets=0\n", "dma0.bdf=00:01.0\n"})
    EXPECT_NE(text.find(line), std::string::npos) << line << text;
}

class NvmeFileTest : public NvmeTest {
 protected:
  NvmeFileTest() : NvmeTest("file=" + path() + ",size=1M,lba=4096,queues=1") {}
  ~NvmeFileTest() override { std::remove(path().c_str()); }
  static std::string path() { return ::testing::TempDir() + "causeway-nvme-" + std::to_string(::getpid()); }
};

TEST_F(NvmeFileTest, DataAreInTheFileAndAFileThatHasBeenCutIsAMediumError) {
  disk->create_queue(1, rings(1), 16);
  fill(kData, KiB(8), 21);
  ASSERT_EQ(disk->status(1, write_command(3, 2, kData, kData + kPageSize)), Status::kSuccess);
  ASSERT_EQ(disk->status(1, io_command(nvm::opcode::kFlush, 0, 1)), Status::kSuccess);
  UniqueFd file(::open(path().c_str(), O_RDWR | O_CLOEXEC));
  std::vector<std::byte> bytes(KiB(8));
  ASSERT_EQ(::pread(file.get(), bytes.data(), bytes.size(), 3 * 4096), static_cast<ssize_t>(bytes.size()));
  EXPECT_EQ(std::memcmp(bytes.data(), ram(kData), bytes.size()), 0);
  ASSERT_EQ(disk->status(1, read_command(3, 1, kData + MiB(1))), Status::kSuccess);
  EXPECT_TRUE(same(kData, kData + MiB(1), KiB(4)));
  ASSERT_EQ(disk->status(1, io_command(nvm::opcode::kWriteZeroes, 3, 1)), Status::kSuccess);
  ASSERT_EQ(disk->status(1, read_command(3, 1, kData + MiB(1))), Status::kSuccess);
  EXPECT_TRUE(is_zero(kData + MiB(1), KiB(4)));
  EXPECT_EQ(disk->status(1, read_command(256, 1, kData)), Status::kLbaOutOfRange);
  ASSERT_EQ(::ftruncate(file.get(), 0), 0);
  EXPECT_EQ(disk->status(1, read_command(3, 1, kData)), Status::kUnrecoveredRead);
  registers->write32(nvm::kCc, registers->read32(nvm::kCc) | static_cast<uint32_t>(nvm::CcShn::make(1)));
  EXPECT_EQ(nvm::CstsShst::get(registers->read32(nvm::kCsts)), 2u);
}

TEST(NvmeMachine, WithoutItsFileThereIsNoMachine) {
  MachineConfig config;
  config.ram = MiB(16);
  config.devices = {*parse_device_spec("nvme,file=/nonexistent/disk")};
  auto machine = Machine::create(config);
  ASSERT_FALSE(machine.has_value());
  EXPECT_EQ(machine.error().code, Errno{ENOENT});
}

TEST(NvmeMachine, BarsOfDevicesLieApartAndOnMultiplesOfTheirSizes) {
  MachineConfig config;
  config.ram = MiB(16);
  config.devices = {DeviceSpec{}};
  for (const char* text : {"nvme,size=1M,cmb=1M,queues=1", "dma", "nvme,size=1M,cmb=0,queues=1"})
    config.devices.push_back(*parse_device_spec(text, config.devices));
  auto machine = *Machine::create(config);
  RawKernel kernel(machine->connect());
  uint64_t end = 0;
  const uint64_t sizes[] = {0x1000, MiB(2), 0x1000, 0x8000};
  for (unsigned i = 0; i < 4; ++i) {
    uint64_t base = kernel.read(kernel.config(config.devices[i].bdf) + pci::kBar0, 4) & ~0xfu;
    EXPECT_GE(base, end);
    EXPECT_EQ(base % sizes[i], 0u);
    end = base + sizes[i];
  }
  config.devices.clear();
  for (unsigned i = 0; i < 3; ++i)
    config.devices.push_back(*parse_device_spec("nvme,size=1M,cmb=4M,queues=1", config.devices));
  EXPECT_EQ(Machine::create(config).error().code, Errno{EINVAL}) << "the window holds two of them";
}

}  // namespace
}  // namespace causeway::machine
