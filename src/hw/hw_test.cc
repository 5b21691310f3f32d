#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include <cstring>
#include <thread>
#include <vector>

#include "hw/address_map.h"
#include "hw/bus.h"
#include "hw/futex.h"
#include "hw/packet.h"
#include "hw/pci.h"
#include "hw/shared_words.h"
#include "hw/stream_record.h"

namespace causeway::hw {
namespace {

using dma_engine::check_record;
using dma_engine::CheckDepth;
using dma_engine::RecordFault;

TEST(AddressMap, BootRamIsSplitInHalvesUpToTwoGigabytes) {
  EXPECT_EQ(low_ram_size(MiB(256)), MiB(128));
  EXPECT_EQ(low_ram_size(GiB(4)), GiB(2));
  EXPECT_EQ(low_ram_size(GiB(1024)), GiB(2));
}

TEST(AddressMap, LowRamNeverReachesConfigurationSpace) {
  EXPECT_LE(kMaxLowRam, kEcamBase.value());
  EXPECT_LE(kEcamBase + kEcamSize, kBarBase);
  EXPECT_LE(kBarBase + kBarWindowSize, kMsiBase);
  EXPECT_LE(kMsiBase + kMsiSize, kHighRamBase);
}

TEST(BusLayout, AreasArePageAlignedAndInOrder) {
  uint64_t areas[] = {kRegionTable, kMailbox, kInterruptMailbox, kRequestRing, kEcam, kBarWindow, kBusSize};
  for (size_t i = 0; i < std::size(areas); ++i) {
    EXPECT_TRUE(is_aligned(areas[i], kPageSize)) << i;
    if (i > 0) {
      EXPECT_LT(areas[i - 1], areas[i]) << i;
    }
  }
  EXPECT_LE(kRequestRing + sizeof(RequestRing), kEcam);
}

TEST(Ecam, LastFunctionOfTheBusLiesInsideTheWindow) {
  EXPECT_EQ(pci::ecam_offset(Bdf(0, 1, 0)), 0x8000u);
  EXPECT_EQ(pci::ecam_offset(Bdf(0, 31, 7)) + kPageSize, kEcamSize);
}

class Record : public testing::TestWithParam<uint32_t> {
 protected:
  uint32_t length() const { return GetParam(); }
  std::vector<std::byte> make(uint64_t sequence) const {
    std::vector<std::byte> buffer(length());
    dma_engine::make_record(buffer.data(), length(), sequence, 7);
    return buffer;
  }
};
INSTANTIATE_TEST_SUITE_P(Lengths, Record, testing::Values(33u, 40u, 100u, 543u, 544u, 545u, 4096u, 5000u));

TEST_P(Record, MadeRecordIsIntact) {
  EXPECT_EQ(check_record(make(5).data(), length(), 5, CheckDepth::kPayload), RecordFault::kNone);
}

TEST_P(Record, EveryFlippedBytePositionIsFound) {
  auto record = make(5);
  for (size_t i = 0; i < record.size(); i += 1 + i / 64) {
    if (i >= 16 && i < 24) continue;  // the time stamp is not covered
    record[i] ^= std::byte{0x10};
    EXPECT_NE(check_record(record.data(), length(), 5), RecordFault::kNone) << "byte " << i;
    record[i] ^= std::byte{0x10};
  }
}

TEST_P(Record, AnotherRecordIsNotTheWantedOne) {
  EXPECT_EQ(check_record(make(6).data(), length(), 5), RecordFault::kSequence);
}

TEST_P(Record, PayloadOfAnotherSequenceWithAFittingChecksumIsFound) {
  auto record = make(5);
  auto* payload = record.data() + sizeof(dma_engine::RecordHeader);
  size_t bytes = length() - sizeof(dma_engine::RecordHeader);
  dma_engine::fill_payload(payload, bytes, 6);
  uint64_t checksum = dma_engine::payload_checksum(payload, bytes, 5);
  std::memcpy(record.data() + offsetof(dma_engine::RecordHeader, checksum), &checksum, 8);
  EXPECT_EQ(check_record(record.data(), length(), 5), RecordFault::kNone);
  EXPECT_EQ(check_record(record.data(), length(), 5, CheckDepth::kPayload), RecordFault::kPayload);
}

TEST(Record, PayloadIsAPrefixOfALongerOne) {
  std::byte short_one[13], long_one[64];
  dma_engine::fill_payload(short_one, sizeof short_one, 9);
  dma_engine::fill_payload(long_one, sizeof long_one, 9);
  EXPECT_EQ(std::memcmp(short_one, long_one, sizeof short_one), 0);
}

TEST(Record, HeaderAloneIsARecord) {
  std::byte buffer[32];
  dma_engine::make_record(buffer, sizeof buffer, 1, 0);
  EXPECT_EQ(check_record(buffer, sizeof buffer, 1, CheckDepth::kPayload), RecordFault::kNone);
  EXPECT_EQ(check_record(buffer, sizeof buffer, 2), RecordFault::kSequence);
}

TEST(SharedWords, CopyIsTheSameBothWays) {
  Request in{1, 2, RequestOp::kRead, 4, 5};
  Request shared{};
  store_words(&shared, in);
  Request out = load_words(&shared);
  EXPECT_EQ(std::memcmp(&in, &out, sizeof in), 0);
}

TEST(Futex, WakeReachesASleeperThroughAnotherMapping) {
  UniqueFd fd(::memfd_create("futex", MFD_CLOEXEC));
  ASSERT_EQ(::ftruncate(fd.get(), kPageSize), 0);
  auto* a = static_cast<std::atomic<uint32_t>*>(
      ::mmap(nullptr, kPageSize, PROT_READ | PROT_WRITE, MAP_SHARED, fd.get(), 0));
  auto* b = static_cast<std::atomic<uint32_t>*>(
      ::mmap(nullptr, kPageSize, PROT_READ | PROT_WRITE, MAP_SHARED, fd.get(), 0));
  ASSERT_NE(a, MAP_FAILED);
  ASSERT_NE(b, MAP_FAILED);
  std::thread sleeper([&] {
    while (a->load() == 0) futex_wait(*a, 0, 10'000'000'000);
  });
  b->store(1);
  futex_wake(*b);
  sleeper.join();
  ::munmap(a, kPageSize);
  ::munmap(b, kPageSize);
}

class Sockets : public testing::Test {
 protected:
  void SetUp() override {
    int fds[2];
    ASSERT_EQ(::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds), 0);
    left.reset(fds[0]);
    right.reset(fds[1]);
  }
  UniqueFd left, right;
};

TEST_F(Sockets, DescriptorArrivesWithItsMessage) {
  UniqueFd memory(::memfd_create("packet", MFD_CLOEXEC));
  ASSERT_EQ(::ftruncate(memory.get(), 12345), 0);
  ASSERT_TRUE(send_packet(left.get(), "abc", 3, memory.get()));
  char buffer[8];
  auto packet = receive_packet(right.get(), buffer, sizeof buffer);
  ASSERT_TRUE(packet);
  EXPECT_EQ(packet->bytes, 3u);
  EXPECT_EQ(::lseek(packet->fd.get(), 0, SEEK_END), 12345);
  EXPECT_TRUE(::fcntl(packet->fd.get(), F_GETFD) & FD_CLOEXEC);
}

TEST_F(Sockets, MessageLongerThanTheBufferTellsItsLength) {
  ASSERT_TRUE(send_packet(left.get(), "abcdefgh", 8));
  char buffer[4];
  auto packet = receive_packet(right.get(), buffer, sizeof buffer);
  ASSERT_TRUE(packet);
  EXPECT_EQ(packet->bytes, 8u);
}

TEST_F(Sockets, ClosedPeerIsEconnreset) {
  left.reset();
  char buffer[4];
  auto packet = receive_packet(right.get(), buffer, sizeof buffer);
  ASSERT_FALSE(packet);
  EXPECT_EQ(packet.error().code, Errno{ECONNRESET});
  auto sent = send_packet(right.get(), "x", 1);
  ASSERT_FALSE(sent);
  EXPECT_EQ(sent.error().code, Errno{EPIPE});
}

}  // namespace
}  // namespace causeway::hw
