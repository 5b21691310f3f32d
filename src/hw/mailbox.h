// The kexec mailbox: where a generation leaves the address of its handover for the next one.
//
// It plays the role of the setup_data record SETUP_KEXEC_KHO (x86) or of /chosen/linux,kho-fdt (arm64),
// and carries the same four numbers. It lies in the machine, outside RAM, so that it survives a
// kernel that dies at any instruction.
//
// Two slots make a switch from one handover to another atomic: the writer fills the slot that is not
// current, with a higher sequence number and a checksum, then erases the other one. A reader takes
// the valid slot with the highest sequence number. Killed before the new slot is complete: the old
// handover counts. Killed after: the new one. There is never a moment without one.
//
// An erased mailbox (no valid slot) means a cold boot.
#pragma once

#include <cstddef>
#include <cstdint>

namespace causeway::hw {

inline constexpr uint64_t kMailboxMagic = 0x786f42636578654b;  // "KexecBox"

// Why the handover was published.
enum class HandoverKind : uint32_t {
  kNone = 0,
  kStanding = 1,  // always current while a generation runs: it may die at any time
  kOrderly = 2,   // kexec: the old generation has frozen its drivers and is about to jump
};

struct MailboxSlot {
  uint64_t magic;
  uint64_t sequence;
  // The four numbers of SETUP_KEXEC_KHO.
  uint64_t fdt_addr;
  uint64_t fdt_size;
  uint64_t scratch_addr;  // array of {u64 address, u64 size}
  uint64_t scratch_size;  // bytes of that array
  HandoverKind kind;
  uint32_t generation;  // of the writer; counts boots since power-on, from 1
  uint64_t time_ns;     // CLOCK_MONOTONIC when it was written
  char release[64];     // of the writer, NUL-terminated
  uint64_t checksum;    // XXH64 of all bytes before it, seed 0; written last
};
static_assert(sizeof(MailboxSlot) == 136);
static_assert(offsetof(MailboxSlot, checksum) == 128);

struct KexecMailbox {
  MailboxSlot slot[2];
};

}  // namespace causeway::hw
