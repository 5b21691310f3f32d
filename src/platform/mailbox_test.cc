#include "platform/mailbox.h"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>

#include "base/log.h"
#include "base/mapping.h"
#include "base/point.h"

namespace causeway::platform {
namespace {

Handover handover(uint64_t fdt) {
  Handover value;
  value.fdt_addr = PhysAddr{fdt};
  value.fdt_size = 4096;
  value.scratch_addr = PhysAddr{0x5000};
  value.scratch_size = 48;
  value.kind = hw::HandoverKind::kStanding;
  value.generation = 3;
  value.release = "causeway 0.1";
  return value;
}

class MailboxTest : public testing::Test {
 protected:
  uint64_t current_fdt() const {
    auto now = mailbox.current();
    return now ? now->fdt_addr.value() : 0;
  }
  hw::KexecMailbox shared{};
  Mailbox mailbox{&shared};
};

TEST_F(MailboxTest, BlankIsErasedAndNotDamaged) {
  bool damaged = true;
  EXPECT_FALSE(mailbox.current(&damaged));
  EXPECT_FALSE(damaged);
}

TEST_F(MailboxTest, EveryFieldComesBack) {
  mailbox.publish(handover(0x1000));
  auto now = mailbox.current();
  ASSERT_TRUE(now);
  EXPECT_EQ(now->fdt_addr, PhysAddr{0x1000});
  EXPECT_EQ(now->fdt_size, 4096u);
  EXPECT_EQ(now->scratch_addr, PhysAddr{0x5000});
  EXPECT_EQ(now->scratch_size, 48u);
  EXPECT_EQ(now->kind, hw::HandoverKind::kStanding);
  EXPECT_EQ(now->generation, 3u);
  EXPECT_EQ(now->release, "causeway 0.1");
  EXPECT_GT(now->time_ns, 0u);
}

TEST_F(MailboxTest, LongReleaseIsCut) {
  Handover value = handover(1);
  value.release = std::string(100, 'r');
  mailbox.publish(value);
  EXPECT_EQ(mailbox.current()->release, std::string(63, 'r'));
}

TEST_F(MailboxTest, NewestCountsAndTheOtherSlotIsErased) {
  for (uint64_t i = 1; i <= 5; ++i) {
    mailbox.publish(handover(i));
    EXPECT_EQ(current_fdt(), i);
    bool damaged;
    EXPECT_TRUE(mailbox.current(&damaged));
    EXPECT_FALSE(damaged);
    EXPECT_TRUE(shared.slot[0].magic == 0 || shared.slot[1].magic == 0);
  }
}

TEST_F(MailboxTest, EraseMeansColdBoot) {
  mailbox.publish(handover(1));
  mailbox.erase();
  bool damaged;
  EXPECT_FALSE(mailbox.current(&damaged));
  EXPECT_FALSE(damaged);
  mailbox.publish(handover(2));
  EXPECT_EQ(current_fdt(), 2u);
}

TEST_F(MailboxTest, EveryFlippedByteIsDamage) {
  mailbox.publish(handover(1));
  auto* bytes = reinterpret_cast<unsigned char*>(&shared.slot[shared.slot[0].magic != 0 ? 0 : 1]);
  for (size_t i = 0; i < sizeof(hw::MailboxSlot); ++i) {
    bytes[i] ^= 1;
    bool damaged = false;
    EXPECT_FALSE(mailbox.current(&damaged)) << i;
    EXPECT_TRUE(damaged) << i;
    bytes[i] ^= 1;
  }
  EXPECT_TRUE(mailbox.current());
}

TEST_F(MailboxTest, DamagedSlotDoesNotHideTheWholeOne) {
  mailbox.publish(handover(1));
  std::memset(&shared.slot[shared.slot[0].magic != 0 ? 1 : 0], 0xab, sizeof(hw::MailboxSlot));
  bool damaged;
  auto now = mailbox.current(&damaged);
  ASSERT_TRUE(now);
  EXPECT_EQ(now->fdt_addr, PhysAddr{1});
  EXPECT_TRUE(damaged);
  mailbox.publish(handover(2));
  EXPECT_EQ(current_fdt(), 2u);
}

TEST_F(MailboxTest, BothSlotsWholeMeansTheHigherSequenceCounts) {
  mailbox.publish(handover(1));
  hw::MailboxSlot first = shared.slot[0].magic != 0 ? shared.slot[0] : shared.slot[1];
  mailbox.publish(handover(2));
  // As if the kernel had died before it erased the first one.
  (shared.slot[0].magic == 0 ? shared.slot[0] : shared.slot[1]) = first;
  EXPECT_EQ(current_fdt(), 2u);
  mailbox.publish(handover(3));
  EXPECT_EQ(current_fdt(), 3u);
}

// A slot cut off after any number of its words leaves the old handover in force.
TEST_F(MailboxTest, SlotTornAtAnyWordIsNeverTaken) {
  mailbox.publish(handover(1));
  hw::KexecMailbox before = shared;
  mailbox.publish(handover(2));
  int next = shared.slot[0].magic != 0 ? 0 : 1;
  hw::MailboxSlot whole = shared.slot[next];
  for (size_t words = 0; words < sizeof whole / 8; ++words) {
    shared = before;
    std::memcpy(&shared.slot[next], &whole, words * 8);
    ASSERT_EQ(current_fdt(), 1u) << words;
    mailbox.publish(handover(3));
    ASSERT_EQ(current_fdt(), 3u) << words;
  }
}

#if CW_POINTS
// Kills a process at each named point of publish(); what another one then reads is the old or the new.
class KilledPublish : public testing::TestWithParam<std::pair<const char*, uint64_t>> {};
INSTANTIATE_TEST_SUITE_P(Points, KilledPublish,
                         testing::Values(std::pair{"platform.mailbox.before_publish", 1},
                                         std::pair{"platform.mailbox.before_checksum", 1},
                                         std::pair{"platform.mailbox.between_slots", 2},
                                         std::pair{"platform.mailbox.after_publish", 2}));
TEST_P(KilledPublish, LeavesOneWholeHandover) {
  void* memory = ::mmap(nullptr, kPageSize, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  ASSERT_NE(memory, MAP_FAILED);
  Mailbox mailbox(static_cast<hw::KexecMailbox*>(memory));
  mailbox.publish(handover(1));
  pid_t child = ::fork();
  if (child == 0) {
    log::set_level(log::Level::kError);
    if (!point::arm(std::string(GetParam().first) + "=kill")) ::_exit(1);
    mailbox.publish(handover(2));
    ::_exit(0);
  }
  int status;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFSIGNALED(status));
  auto now = mailbox.current();
  ASSERT_TRUE(now);
  EXPECT_EQ(now->fdt_addr.value(), GetParam().second);
  ::munmap(memory, kPageSize);
}

TEST_F(MailboxTest, KilledHalfWayThroughErasingDoesNotBringTheOlderBack) {
  mailbox.publish(handover(1));
  hw::MailboxSlot first = shared.slot[0].magic != 0 ? shared.slot[0] : shared.slot[1];
  mailbox.publish(handover(2));
  (shared.slot[0].magic == 0 ? shared.slot[0] : shared.slot[1]) = first;
  hw::KexecMailbox half{};
  ASSERT_TRUE(point::on_hit("platform.mailbox.half_erased", [&]() -> Status {
    half = shared;
    return {};
  }));
  mailbox.erase();
  point::disarm_all();
  EXPECT_EQ(Mailbox(&half).current()->fdt_addr, PhysAddr{2});
}
#endif

}  // namespace
}  // namespace causeway::platform
