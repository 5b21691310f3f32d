#include "machine/nvme/controller.h"

#include <gtest/gtest.h>

#include <cstring>
#include <map>
#include <random>
#include <thread>

#include "hw/pci.h"
#include "machine/testing/nvme_fixture.h"

namespace causeway::machine {
namespace {

using namespace testing;
using nvm::Status;

TEST_F(NvmeTest, IdentifiesItselfAsLinuxLikeDriversExpect) {
  EXPECT_EQ(registers->read32(nvm::kVs), nvm::kVersion14);
  uint64_t cap = registers->read64(nvm::kCap);
  EXPECT_EQ(nvm::CapMqes::get(cap), nvm::kMaxEntries - 1);
  EXPECT_EQ(nvm::CapDstrd::get(cap), 0u);
  EXPECT_EQ(nvm::CapMpsmin::get(cap), 0u);
  PhysAddr config = kernel->config(kDisk);
  EXPECT_EQ(kernel->read(config + hw::pci::kClassRevision, 4) >> 8, nvm::kClassCode);

  nvm::Command command{.opcode = nvm::admin::kIdentify, .prp1 = kData, .cdw10 = 1};
  ASSERT_EQ(disk->status(0, command), Status::kSuccess);
  nvm::IdentifyController controller;
  std::memcpy(&controller, ram(kData), sizeof controller);
  EXPECT_EQ(controller.vid, nvm::kVendor);
  EXPECT_EQ(controller.sn[0], 'C');
  EXPECT_EQ(controller.mn[39], ' ');
  EXPECT_EQ(controller.nn, 1u);
  EXPECT_EQ(controller.sqes, 0x66);
  EXPECT_EQ(controller.cqes, 0x44);
  EXPECT_EQ(controller.mdts, 8);
  EXPECT_EQ(nvm::SglsSupported::get(controller.sgls), 1u);
  EXPECT_EQ(nvm::OncsWriteZeroes::get(controller.oncs), 1u);

  command = {.opcode = nvm::admin::kIdentify, .nsid = 1, .prp1 = kData, .cdw10 = 0};
  ASSERT_EQ(disk->status(0, command), Status::kSuccess);
  nvm::IdentifyNamespace space;
  std::memcpy(&space, ram(kData), sizeof space);
  EXPECT_EQ(space.nsze, MiB(16) / 512);
  EXPECT_EQ(space.lbaf[space.flbas & 0xf].lbads, 9);

  command = {.opcode = nvm::admin::kIdentify, .nsid = 0, .prp1 = kData, .cdw10 = 2};
  ASSERT_EQ(disk->status(0, command), Status::kSuccess);
  EXPECT_EQ(static_cast<uint8_t>(ram(kData)[0]), 1);
  EXPECT_TRUE(is_zero(kData + 4, 4092));

  command = {.opcode = nvm::admin::kSetFeatures, .cdw10 = nvm::feature::kNumberOfQueues, .cdw11 = 0x000f000f};
  EXPECT_EQ(disk->run(0, command).result, 0x0003'0003u);
  command = {.opcode = nvm::admin::kGetFeatures, .cdw10 = 0x7f};
  EXPECT_EQ(disk->status(0, command), Status::kInvalidField);
}

TEST_F(NvmeTest, PrpsOfOnePageTwoPagesAListAndAChainedListMoveEveryByte) {
  disk->create_queue(1, rings(1), 16);
  struct Case {
    uint64_t offset;  // in the first page
    uint32_t blocks;
    uint64_t list_offset;  // in the list's page
  };
  // The last list begins with its last entries, so the data go on in a second list page.
  const Case cases[] = {{0, 8, 0},  {512, 3, 0},        {0, 16, 0},     {2048, 8, 0},
                        {0, 64, 0}, {1024, 100, 0xff0}, {4, 512, 0xff8}};
  uint64_t lba = 7;
  for (const Case& test : cases) {
    SCOPED_TRACE(::testing::Message() << test.offset << "+" << test.blocks << " blocks");
    const uint64_t bytes = uint64_t{test.blocks} * 512;
    const uint64_t source = kData + test.offset;
    const uint64_t target = kData + MiB(2) + test.offset;
    fill(source, bytes, lba);
    std::memset(ram(target), 0, bytes);
    auto prps = [&](uint64_t address, nvm::Command& command) {
      command.prp1 = address;
      uint64_t first_end = align_up(address + 1, kPageSize);
      if (address + bytes <= first_end) return;
      command.prp2 = first_end;
      if (address + bytes <= first_end + kPageSize) return;
      uint64_t list = kLists + test.list_offset;
      uint64_t next_list = kLists + kPageSize;
      command.prp2 = list;
      for (uint64_t page = first_end; page < address + bytes; page += kPageSize) {
        bool is_last_slot = list % kPageSize == kPageSize - 8;
        if (is_last_slot && page + kPageSize < address + bytes) {
          put(list, next_list);
          list = next_list;
          next_list += kPageSize;
        }
        put(list, page);
        list += 8;
      }
    };
    nvm::Command write = write_command(lba, test.blocks, 0);
    prps(source, write);
    ASSERT_EQ(disk->status(1, write), Status::kSuccess);
    nvm::Command read = read_command(lba, test.blocks, 0);
    prps(target, read);
    ASSERT_EQ(disk->status(1, read), Status::kSuccess);
    EXPECT_TRUE(same(source, target, bytes));
    lba += test.blocks;
  }
}

TEST_F(NvmeTest, PrpListScattersOverPagesInAnyOrder) {
  disk->create_queue(1, rings(1), 16);
  fill(kData, 5 * kPageSize, 3);
  for (unsigned i = 0; i < 4; ++i) put(kLists + 8 * i, kData + (i + 1) * kPageSize);
  ASSERT_EQ(disk->status(1, write_command(0, 40, kData, kLists)), Status::kSuccess);
  for (unsigned i = 0; i < 4; ++i) put(kLists + 8 * i, kData + MiB(1) + (3 - i) * kPageSize);
  ASSERT_EQ(disk->status(1, read_command(0, 40, kData + MiB(2), kLists)), Status::kSuccess);
  EXPECT_TRUE(same(kData, kData + MiB(2), kPageSize));
  for (unsigned i = 0; i < 4; ++i)
    EXPECT_TRUE(same(kData + (i + 1) * kPageSize, kData + MiB(1) + (3 - i) * kPageSize, kPageSize)) << i;
}

TEST_F(NvmeTest, SglsOfOneBlockAndOfChainedSegmentsMoveEveryByte) {
  disk->create_queue(1, rings(1), 16);
  fill(kData, KiB(64), 9);
  nvm::Command write = write_command(100, 128, 0);
  nvm::set_sgl(write, nvm::sgl_descriptor(nvm::SglType::kDataBlock, kData, KiB(64)));
  ASSERT_EQ(disk->status(1, write), Status::kSuccess);

  // Odd pieces: 3 in a segment that points on, 2 in the last, to odd places in reverse.
  const uint32_t pieces[] = {1000, 24, 30000, 1, KiB(64) - 31025};
  const uint64_t place = kData + MiB(2) + 5;
  put(kLists, nvm::sgl_descriptor(nvm::SglType::kDataBlock, place + 400000, pieces[0]));
  put(kLists + 16, nvm::sgl_descriptor(nvm::SglType::kDataBlock, place + 300000, pieces[1]));
  put(kLists + 32, nvm::sgl_descriptor(nvm::SglType::kDataBlock, place + 200000, pieces[2]));
  put(kLists + 48, nvm::sgl_descriptor(nvm::SglType::kLastSegment, kLists + 4096, 32));
  put(kLists + 4096, nvm::sgl_descriptor(nvm::SglType::kDataBlock, place + 190000, pieces[3]));
  put(kLists + 4112, nvm::sgl_descriptor(nvm::SglType::kDataBlock, place, pieces[4]));
  nvm::Command read = read_command(100, 128, 0);
  nvm::set_sgl(read, nvm::sgl_descriptor(nvm::SglType::kSegment, kLists, 64));
  ASSERT_EQ(disk->status(1, read), Status::kSuccess);
  const uint64_t where[] = {400000, 300000, 200000, 190000, 0};
  uint64_t from = kData;
  for (unsigned i = 0; i < 5; ++i) {
    EXPECT_TRUE(same(from, place + where[i], pieces[i])) << i;
    from += pieces[i];
  }
}

TEST_F(NvmeTest, WriteZeroesAndFlush) {
  disk->create_queue(1, rings(1), 16);
  fill(kData, KiB(32), 9);
  ASSERT_EQ(disk->status(1, write_command(0, 16, kData, kData + kPageSize)), Status::kSuccess);
  ASSERT_EQ(disk->status(1, io_command(nvm::opcode::kWriteZeroes, 3, 5)), Status::kSuccess);
  ASSERT_EQ(disk->status(1, io_command(nvm::opcode::kFlush, 0, 1)), Status::kSuccess);
  fill(kData + MiB(1), KiB(8), 1);
  ASSERT_EQ(disk->status(1, read_command(0, 16, kData + MiB(1), kData + MiB(1) + kPageSize)),
            Status::kSuccess);
  EXPECT_TRUE(same(kData, kData + MiB(1), 3 * 512));
  EXPECT_TRUE(is_zero(kData + MiB(1) + 3 * 512, 5 * 512));
  EXPECT_TRUE(same(kData + 8 * 512, kData + MiB(1) + 8 * 512, 8 * 512));
}

TEST_F(NvmeTest, WhatIsWrongWithACommandIsItsStatus) {
  disk->create_queue(1, rings(1), 16);
  const uint64_t end = MiB(16) / 512;
  EXPECT_EQ(disk->status(1, read_command(end, 1, kData)), Status::kLbaOutOfRange);
  EXPECT_EQ(disk->status(1, read_command(end - 1, 2, kData)), Status::kLbaOutOfRange);
  EXPECT_EQ(disk->status(1, read_command(~uint64_t{0}, 2, kData)), Status::kLbaOutOfRange);
  EXPECT_EQ(disk->status(1, io_command(nvm::opcode::kWriteZeroes, end, 1)), Status::kLbaOutOfRange);
  EXPECT_EQ(disk->status(1, io_command(0x7f, 0, 1)), Status::kInvalidOpcode);
  nvm::Command command = read_command(0, 1, kData);
  command.nsid = 2;
  EXPECT_EQ(disk->status(1, command), Status::kInvalidNamespace);
  command = read_command(0, 1, kData);
  command.flags = 1;
  EXPECT_EQ(disk->status(1, command), Status::kInvalidField);
  EXPECT_EQ(disk->status(1, read_command(0, 4096, kData, kLists)), Status::kInvalidField)
      << "longer than MDTS";

  EXPECT_EQ(disk->status(1, read_command(0, 1, kData + 2)), Status::kPrpOffsetInvalid);
  EXPECT_EQ(disk->status(1, read_command(0, 16, kData, kData + 8)), Status::kPrpOffsetInvalid);
  EXPECT_EQ(disk->status(1, read_command(0, 24, kData, kLists + 4)), Status::kPrpOffsetInvalid);
  put(kLists, kData + 512);
  EXPECT_EQ(disk->status(1, read_command(0, 24, kData, kLists)), Status::kPrpOffsetInvalid);

  // No RAM at the data, at the list; registers are no memory.
  EXPECT_EQ(disk->status(1, read_command(0, 1, GiB(3))), Status::kDataTransferError);
  EXPECT_EQ(disk->status(1, write_command(0, 1, GiB(3))), Status::kDataTransferError);
  EXPECT_EQ(disk->status(1, read_command(0, 24, kData, GiB(3))), Status::kDataTransferError);
  EXPECT_EQ(disk->status(1, read_command(0, 1, registers->bar().value())), Status::kDataTransferError);
  EXPECT_EQ(disk->status(1, read_command(0, 16, ~uint64_t{4095}, ~uint64_t{4095})),
            Status::kDataTransferError);

  using nvm::sgl_descriptor;
  using nvm::SglType;
  auto sgl = [&](const nvm::SglDescriptor& first) {
    nvm::Command read = read_command(0, 8, 0);
    nvm::set_sgl(read, first);
    return disk->status(1, read);
  };
  EXPECT_EQ(sgl(sgl_descriptor(SglType::kDataBlock, kData, 4095)), Status::kSglLengthInvalid);
  EXPECT_EQ(sgl(sgl_descriptor(SglType::kDataBlock, kData, 4097)), Status::kSglLengthInvalid);
  EXPECT_EQ(sgl(sgl_descriptor(SglType::kBitBucket, kData, 4096)), Status::kSglTypeInvalid);
  EXPECT_EQ(sgl(sgl_descriptor(SglType::kDataBlock, ~uint64_t{0}, 4096)), Status::kDataTransferError);
  EXPECT_EQ(sgl(sgl_descriptor(SglType::kSegment, kLists, 17)), Status::kSglSegmentInvalid);
  EXPECT_EQ(sgl(sgl_descriptor(SglType::kSegment, kLists, 0)), Status::kSglSegmentInvalid);
  nvm::SglDescriptor offset = sgl_descriptor(SglType::kDataBlock, 0, 4096);
  offset.identifier |= 1;
  EXPECT_EQ(sgl(offset), Status::kSglTypeInvalid);
  // A circle, and a segment that ends without pointing on.
  put(kLists, sgl_descriptor(SglType::kSegment, kLists, 16));
  EXPECT_EQ(sgl(sgl_descriptor(SglType::kSegment, kLists, 16)), Status::kSglCountInvalid);
  put(kLists, sgl_descriptor(SglType::kDataBlock, kData, 4096));
  EXPECT_EQ(sgl(sgl_descriptor(SglType::kSegment, kLists, 16)), Status::kSglSegmentInvalid);
  EXPECT_EQ(sgl(sgl_descriptor(SglType::kLastSegment, kLists, 16)), Status::kSuccess) << "the control";

  EXPECT_FALSE(is_fatal());
}

TEST_F(NvmeTest, QueueCommandsAreRefusedWithTheirOwnStatuses) {
  EXPECT_EQ(disk->create_completions(0, rings(1), 16), Status::kInvalidQueueId);
  EXPECT_EQ(disk->create_completions(5, rings(1), 16), Status::kInvalidQueueId);
  EXPECT_EQ(disk->create_completions(1, rings(1), 2000), Status::kInvalidQueueSize);
  EXPECT_EQ(disk->create_completions(1, rings(1), 1), Status::kInvalidQueueSize);
  EXPECT_EQ(disk->create_completions(1, rings(1) + 16, 16), Status::kPrpOffsetInvalid);
  EXPECT_EQ(disk->create_completions(1, rings(1), 16, 9), Status::kInvalidVector);
  EXPECT_EQ(disk->create_submissions(1, rings(1), 16, 1), Status::kCompletionQueueInvalid);
  disk->create_queue(1, rings(1), 16);
  EXPECT_EQ(disk->create_completions(1, rings(2), 16), Status::kInvalidQueueId) << "it exists";
  EXPECT_EQ(disk->remove(nvm::admin::kDeleteCq, 1), Status::kInvalidQueueDeletion);
  EXPECT_EQ(disk->remove(nvm::admin::kDeleteSq, 2), Status::kInvalidQueueId);
  EXPECT_EQ(disk->remove(nvm::admin::kDeleteSq, 1), Status::kSuccess);
  EXPECT_EQ(disk->remove(nvm::admin::kDeleteCq, 1), Status::kSuccess);
  disk->create_queue(1, rings(1), 16);
  nvm::Command features{.opcode = nvm::admin::kSetFeatures, .cdw10 = nvm::feature::kNumberOfQueues};
  EXPECT_EQ(disk->status(0, features), Status::kCommandSequenceError);
  nvm::Command sgl{.opcode = nvm::admin::kIdentify, .flags = 0x40, .prp1 = kData, .cdw10 = 1};
  EXPECT_EQ(disk->status(0, sgl), Status::kInvalidField);
  EXPECT_EQ(disk->status(0, {.opcode = 0xff}), Status::kInvalidOpcode);
  // Events stay outstanding; one too many does not.
  for (unsigned i = 0; i < 4; ++i) disk->post(0, {.opcode = nvm::admin::kAsyncEventRequest});
  EXPECT_EQ(disk->status(0, {.opcode = nvm::admin::kAsyncEventRequest}), Status::kAsyncEventLimit);
}

TEST_F(NvmeTest, RingsWrapManyTimesAndThePhaseFlips) {
  disk->create_queue(1, rings(1), 4);
  for (unsigned i = 0; i < 50; ++i) {
    fill(kData, 512, i);
    ASSERT_EQ(disk->status(1, write_command(i, 1, kData)), Status::kSuccess);
    ASSERT_EQ(disk->status(1, read_command(i, 1, kData + kPageSize)), Status::kSuccess);
    ASSERT_TRUE(same(kData, kData + kPageSize, 512));
  }
  EXPECT_EQ(disk->index(1, nvm::kCwSqTail), 0u);
  EXPECT_EQ(disk->index(1, nvm::kCwSqHead), 0u);
  EXPECT_EQ(disk->index(1, nvm::kCwCqTail), nvm::CwCqTailPhase::make(0) | nvm::CwCqTailIndex::make(0))
      << "a hundred completions are 25 passes";
  EXPECT_EQ(registers->read64(nvm::cw_queue(1) + nvm::kCwCompleted), 100u);
}

TEST_F(NvmeTest, FullCompletionQueueStopsTheQueueUntilTheHeadMoves) {
  // Completions have place for three, submissions for fifteen.
  disk->set_rings(1, rings(1), 16);
  ASSERT_EQ(disk->create_completions(1, rings(2), 4), Status::kSuccess);
  ASSERT_EQ(disk->create_submissions(1, rings(1), 16, 1), Status::kSuccess);
  for (unsigned i = 0; i < 10; ++i) disk->put(1, read_command(i, 1, kData));
  disk->ring_doorbell(1);
  auto posted = [&] { return nvm::CwCqTailIndex::get(disk->index(1, nvm::kCwCqTail)); };
  ASSERT_TRUE(eventually([&] { return posted() == 3; }));
  std::this_thread::sleep_for(std::chrono::milliseconds(2));
  EXPECT_EQ(posted(), 3u);
  EXPECT_EQ(disk->index(1, nvm::kCwInFlight), 7u);
  registers->write32(nvm::cq_doorbell(1), 3);
  EXPECT_TRUE(eventually([&] { return disk->index(1, nvm::kCwInFlight) == 4; }));
  registers->write32(nvm::cq_doorbell(1), 2);
  EXPECT_TRUE(eventually([&] { return disk->index(1, nvm::kCwInFlight) == 1; }));
}

TEST_F(NvmeTest, TwoQueuesWorkAtOnceAndKeepTheirDataApart) {
  disk->create_queue(1, rings(1), 32);
  disk->create_queue(2, rings(2), 32);
  constexpr unsigned kPages = 400;
  fill(kData, 2 * KiB(4) * 16, 77);
  for (unsigned round = 0; round < kPages / 16; ++round) {
    for (unsigned queue : {1u, 2u}) {
      for (unsigned i = 0; i < 16; ++i)
        disk->put(queue, write_command((queue * kPages + round * 16 + i) * 8, 8,
                                       kData + (queue - 1) * KiB(64) + i * KiB(4)));
    }
    disk->ring_doorbell(1);
    disk->ring_doorbell(2);
    for (unsigned i = 0; i < 16; ++i) {
      EXPECT_EQ(nvm::status_of(disk->wait(1).status), Status::kSuccess);
      EXPECT_EQ(nvm::status_of(disk->wait(2).status), Status::kSuccess);
    }
  }
  for (unsigned queue : {1u, 2u}) {
    for (unsigned i = 0; i < kPages; i += 37) {
      ASSERT_EQ(disk->status(3 - queue, read_command((queue * kPages + i) * 8, 8, kData + MiB(1))),
                Status::kSuccess);
      EXPECT_TRUE(same(kData + MiB(1), kData + (queue - 1) * KiB(64) + i % 16 * KiB(4), KiB(4)));
    }
  }
}

TEST_F(NvmeTest, ResetForgetsTheQueuesAndCountsAnEpoch) {
  disk->create_queue(1, rings(1), 16);
  disk->run(1, read_command(0, 1, kData));
  EXPECT_EQ(registers->read32(nvm::kCwEpoch), 0u);
  disk->disable();
  EXPECT_EQ(registers->read32(nvm::kCsts), 0u);
  EXPECT_EQ(registers->read32(nvm::kCwEpoch), 1u);
  EXPECT_EQ(disk->index(1, nvm::kCwSqEntries), 0u);
  EXPECT_EQ(disk->index(1, nvm::kCwCqEntries), 0u);
  ASSERT_TRUE(disk->enable(kAdminRings));
  registers->write32(nvm::sq_doorbell(1), 3);
  EXPECT_EQ(disk->index(1, nvm::kCwSqTail), 0u) << "there is no such queue any more";
  disk->create_queue(1, rings(1), 16);
  EXPECT_EQ(disk->status(1, read_command(0, 1, kData)), Status::kSuccess);
}

TEST_F(NvmeTest, SettingsThatMakeNoSenseAreFatalUntilReset) {
  disk->disable();
  registers->write64(nvm::kAsq, 0x1234);
  registers->write32(nvm::kCc, 1);
  EXPECT_TRUE(is_fatal());
  EXPECT_EQ(registers->read32(nvm::kCwFatalReason), static_cast<uint32_t>(nvm::FatalReason::kSettings));
  disk->disable();
  EXPECT_FALSE(is_fatal());
  registers->write32(nvm::kAqa, 0);
  registers->write64(nvm::kAsq, kAdminRings.value());
  registers->write32(nvm::kCc, 1);
  EXPECT_TRUE(is_fatal());
  disk->disable();
  EXPECT_TRUE(disk->enable(kAdminRings));
}

TEST_F(NvmeTest, RingThatIsNoMemoryIsFatalAndNothingElseGoesOn) {
  disk->create_queue(1, rings(1), 16);
  ASSERT_EQ(disk->create_completions(2, rings(2), 16), Status::kSuccess);
  ASSERT_EQ(disk->create_submissions(2, PhysAddr(GiB(3)), 16, 2), Status::kSuccess);
  registers->write32(nvm::sq_doorbell(2), 1);
  ASSERT_TRUE(eventually([&] { return is_fatal(); }));
  EXPECT_EQ(registers->read32(nvm::kCwFatalReason), static_cast<uint32_t>(nvm::FatalReason::kSubmissionRing));
  EXPECT_EQ(registers->read32(nvm::kCwFatalQueue), 2u);
  disk->post(1, read_command(0, 1, kData));
  std::this_thread::sleep_for(std::chrono::milliseconds(2));
  EXPECT_FALSE(disk->poll(1));

  disk->disable();
  ASSERT_TRUE(disk->enable(kAdminRings));
  disk->create_queue(1, rings(1), 16);
  disk->set_rings(2, rings(2), 16);
  ASSERT_EQ(disk->create_completions(2, PhysAddr(GiB(3)), 16), Status::kSuccess);
  ASSERT_EQ(disk->create_submissions(2, rings(2), 16, 2), Status::kSuccess);
  disk->post(2, read_command(0, 1, kData));
  ASSERT_TRUE(eventually([&] { return is_fatal(); }));
  EXPECT_EQ(registers->read32(nvm::kCwFatalReason), static_cast<uint32_t>(nvm::FatalReason::kCompletionRing));
}

TEST_F(NvmeTest, QueuesStandStillWithoutTheBusAndGoOn) {
  disk->create_queue(1, rings(1), 64);
  fill(kData, KiB(4), 5);
  registers->set_command(false);
  for (unsigned i = 0; i < 40; ++i) disk->put(1, write_command(8 * i, 8, kData));
  disk->ring_doorbell(1);
  std::this_thread::sleep_for(std::chrono::milliseconds(2));
  EXPECT_FALSE(disk->poll(1));
  EXPECT_EQ(disk->index(1, nvm::kCwSqHead), 0u);
  unsigned done = 0;
  ASSERT_TRUE(eventually([&] {
    registers->set_command(true);
    registers->set_command(false);
    while (auto completion = disk->poll(1)) {
      EXPECT_EQ(nvm::status_of(completion->status), Status::kSuccess);
      ++done;
    }
    return done > 0;
  }));
  registers->set_command(true);
  for (; done < 40; ++done) EXPECT_EQ(nvm::status_of(disk->wait(1).status), Status::kSuccess);
  EXPECT_FALSE(is_fatal());
  ASSERT_EQ(disk->status(1, read_command(8 * 39, 8, kData + MiB(1))), Status::kSuccess);
  EXPECT_TRUE(same(kData, kData + MiB(1), KiB(4)));
}

TEST_F(NvmeTest, HostileCommandsAllComplete) {
  disk->create_queue(1, rings(1), 64);
  std::mt19937 random(4711);
  auto random_command = [&](bool admin) {
    std::array<uint32_t, 16> words;
    for (uint32_t& word : words) word = random();
    auto command = std::bit_cast<nvm::Command>(words);
    // Half of them nearly make sense, so that they get further than the first check; none may touch the
    // tables that this test itself stands on.
    if (random() % 2 == 0) {
      command.nsid = 1;
      command.flags = static_cast<uint8_t>(random() % 2 << 6);
      command.prp1 = kData + random() % MiB(1);
      command.prp2 = kLists + random() % KiB(64);
      if (random() % 2 == 0) command.prp1 &= ~uint64_t{3};
      if (random() % 2 == 0) command.prp2 &= ~kPageSize + 1;
      if (command.flags != 0 && random() % 2 == 0)
        nvm::set_sgl(command, nvm::sgl_descriptor(static_cast<nvm::SglType>(2 + random() % 2),
                                                  kLists + random() % 64 * 16, random() % 8 * 16));
      command.cdw10 = random() % 40000;
      command.cdw11 = 0;
      command.cdw12 = random() % 300;
    }
    static constexpr uint8_t kOpcodes[] = {nvm::opcode::kRead, nvm::opcode::kWrite, nvm::opcode::kFlush,
                                           nvm::opcode::kWriteZeroes, 0x33};
    static constexpr uint8_t kAdmin[] = {nvm::admin::kIdentify,    nvm::admin::kGetLogPage,
                                         nvm::admin::kAbort,       nvm::admin::kSetFeatures,
                                         nvm::admin::kGetFeatures, 0x80};
    command.opcode = admin ? kAdmin[random() % 6] : kOpcodes[random() % 5];
    return command;
  };
  std::map<Status, unsigned> seen;
  for (unsigned round = 0; round < 60; ++round) {
    // Lists made of noise, too: some words look like descriptors of RAM.
    for (unsigned i = 0; i < KiB(64) / 8; ++i) {
      uint64_t noise = random() % 3 == 0 ? uint64_t{random()} << 32 | random()
                                         : (kData + random() % MiB(1)) &
                                               (random() % 2 == 0 ? ~uint64_t{4095} : ~uint64_t{0});
      if (i % 2 == 1 && random() % 2 == 0) noise = uint64_t{random() % 4} << 60 | (random() % 4096 & ~15u);
      put(kLists + 8 * i, noise);
    }
    for (unsigned i = 0; i < 30; ++i) disk->put(1, random_command(false));
    disk->ring_doorbell(1);
    disk->run(0, random_command(true));
    for (unsigned i = 0; i < 30; ++i) ++seen[nvm::status_of(disk->wait(1).status)];
    ASSERT_FALSE(is_fatal());
  }
  EXPECT_GE(seen.size(), 8u) << "the noise should reach more than the first checks";
  EXPECT_GT(seen[Status::kSuccess], 0u);
  EXPECT_EQ(disk->index(1, nvm::kCwInFlight), 0u);
}

TEST_F(NvmeTest, DoorbellsThatMakeNoSenseAreIgnored) {
  disk->create_queue(1, rings(1), 16);
  registers->write32(nvm::sq_doorbell(1), 16);
  registers->write32(nvm::sq_doorbell(2), 1);
  registers->write32(nvm::cq_doorbell(1), 5);
  registers->write64(nvm::sq_doorbell(1), 1);
  registers->write32(nvm::kCwEpoch, 7);
  registers->write32(nvm::kAqa, 7);
  EXPECT_EQ(disk->index(1, nvm::kCwSqTail), 0u);
  EXPECT_EQ(disk->index(1, nvm::kCwCqHead), 0u);
  EXPECT_EQ(registers->read32(nvm::kCwEpoch), 0u);
  EXPECT_EQ(disk->status(1, read_command(0, 1, kData)), Status::kSuccess);
}

}  // namespace
}  // namespace causeway::machine
