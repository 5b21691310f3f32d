#include "platform/mailbox.h"

#include <xxhash.h>

#include <algorithm>
#include <atomic>
#include <cstring>

#include "base/clock.h"
#include "base/point.h"
#include "hw/shared_words.h"

namespace causeway::platform {
namespace {

using hw::MailboxSlot;

constexpr size_t kCheckedBytes = offsetof(MailboxSlot, checksum);

uint64_t checksum_of(const MailboxSlot& slot) {
  return XXH64(&slot, kCheckedBytes, 0);
}

std::atomic_ref<uint64_t> checksum_ref(MailboxSlot& slot) {
  return std::atomic_ref<uint64_t>(slot.checksum);
}

bool is_blank(const MailboxSlot& slot) {
  auto* bytes = reinterpret_cast<const unsigned char*>(&slot);
  return std::all_of(bytes, bytes + sizeof slot, [](unsigned char byte) { return byte == 0; });
}

// A copy of the slot if it is whole.
std::optional<MailboxSlot> load_slot(MailboxSlot& shared, bool* damaged) {
  // The checksum first: it was written last.
  uint64_t checksum = checksum_ref(shared).load(std::memory_order_acquire);
  MailboxSlot slot = hw::load_words(&shared);
  if (slot.magic == hw::kMailboxMagic && slot.checksum == checksum && checksum == checksum_of(slot))
    return slot;
  if (damaged != nullptr && !is_blank(slot)) *damaged = true;
  return std::nullopt;
}

// Its checksum goes first, so that no half-erased slot is ever whole. Nobody reads while a kernel writes;
// what counts is the order in which stores have happened when it dies, hence the fence for the compiler.
void erase_slot(MailboxSlot& shared) {
  checksum_ref(shared).store(0, std::memory_order_release);
  std::atomic_signal_fence(std::memory_order_seq_cst);
  hw::store_words(&shared, MailboxSlot{});
}

}  // namespace

std::optional<Handover> Mailbox::current(bool* damaged) const {
  sync::MutexLock lock(mutex_);
  if (damaged != nullptr) *damaged = false;
  std::optional<MailboxSlot> newest;
  for (MailboxSlot& shared : mailbox_->slot) {
    auto slot = load_slot(shared, damaged);
    if (slot && (!newest || slot->sequence > newest->sequence)) newest = slot;
  }
  if (!newest) return std::nullopt;
  Handover handover;
  handover.fdt_addr = PhysAddr(newest->fdt_addr);
  handover.fdt_size = newest->fdt_size;
  handover.scratch_addr = PhysAddr(newest->scratch_addr);
  handover.scratch_size = newest->scratch_size;
  handover.kind = newest->kind;
  handover.generation = newest->generation;
  handover.time_ns = newest->time_ns;
  handover.release.assign(newest->release, ::strnlen(newest->release, sizeof newest->release));
  return handover;
}

void Mailbox::publish(const Handover& handover) {
  sync::MutexLock lock(mutex_);
  auto first = load_slot(mailbox_->slot[0], nullptr);
  auto second = load_slot(mailbox_->slot[1], nullptr);
  bool first_is_current = first && (!second || first->sequence > second->sequence);
  uint64_t last_sequence = first_is_current ? first->sequence : second ? second->sequence : 0;
  MailboxSlot& next = mailbox_->slot[first_is_current ? 1 : 0];
  MailboxSlot& previous = mailbox_->slot[first_is_current ? 0 : 1];

  MailboxSlot slot{};
  slot.magic = hw::kMailboxMagic;
  slot.sequence = last_sequence + 1;
  slot.fdt_addr = handover.fdt_addr.value();
  slot.fdt_size = handover.fdt_size;
  slot.scratch_addr = handover.scratch_addr.value();
  slot.scratch_size = handover.scratch_size;
  slot.kind = handover.kind;
  slot.generation = handover.generation;
  slot.time_ns = monotonic_ns();
  handover.release.copy(slot.release, sizeof slot.release - 1);

  CW_POINT("platform.mailbox.before_publish");
  // What a kernel that died here has left behind must not lend the new words a checksum.
  erase_slot(next);
  std::atomic_signal_fence(std::memory_order_seq_cst);
  hw::store_words(&next, slot);
  CW_POINT("platform.mailbox.before_checksum");
  checksum_ref(next).store(checksum_of(slot), std::memory_order_release);
  CW_POINT("platform.mailbox.between_slots");
  erase_slot(previous);
  CW_POINT("platform.mailbox.after_publish");
}

void Mailbox::erase() {
  sync::MutexLock lock(mutex_);
  auto first = load_slot(mailbox_->slot[0], nullptr);
  auto second = load_slot(mailbox_->slot[1], nullptr);
  // The older one first: a kernel that dies in between must not bring it back.
  bool first_is_older = first && second && first->sequence < second->sequence;
  erase_slot(mailbox_->slot[first_is_older ? 0 : 1]);
  CW_POINT("platform.mailbox.half_erased");
  erase_slot(mailbox_->slot[first_is_older ? 1 : 0]);
}

}  // namespace causeway::platform
