#include "machine/msix_table.h"

#include "hw/address_map.h"
#include "hw/pci.h"

namespace causeway::machine {

namespace pci = hw::pci;

namespace {
// Entry::state
using Vector = Field<7, 0>;
constexpr uint32_t kDirected = 1u << 8;
constexpr uint32_t kMasked = 1u << 9;
constexpr uint32_t kEnabled = 1u << 10;
constexpr uint32_t kPending = 1u << 11;
}  // namespace

MsixTable::MsixTable(RegisterPage table, RegisterPage pending, unsigned entries, InterruptSink& interrupts)
    : table_(table), pending_(pending), entries_(entries), interrupts_(interrupts) {
  for (unsigned entry = 0; entry < entries; ++entry) {
    entries_[entry].word[3] = static_cast<uint32_t>(pci::MsixEntryMask::make(1));
    update(entry);
  }
}

void MsixTable::set_control(bool enabled, bool function_masked) {
  enabled_.store(enabled, std::memory_order_relaxed);
  function_masked_ = function_masked;
  for (unsigned entry = 0; entry < entries(); ++entry) update(entry);
}

bool MsixTable::write(uint32_t offset, uint32_t width, uint64_t value, const char** why) {
  if (width != 4 && width != 8) return *why = "the MSI-X table takes words of 4 or 8 bytes", false;
  if (offset + width > entries() * pci::kMsixEntrySize) return *why = "beyond the MSI-X table", false;
  unsigned entry = offset / pci::kMsixEntrySize;
  unsigned word = offset % pci::kMsixEntrySize / 4;
  entries_[entry].word[word] = static_cast<uint32_t>(value);
  if (width == 8) entries_[entry].word[word + 1] = static_cast<uint32_t>(value >> 32);
  update(entry);
  return true;
}

void MsixTable::update(unsigned number) {
  Entry& entry = entries_[number];
  for (unsigned i = 0; i < 4; ++i) table_.set32(number * pci::kMsixEntrySize + 4 * i, entry.word[i]);
  uint64_t address = uint64_t{entry.word[1]} << 32 | (entry.word[0] & ~3u);
  bool in_window = address >= hw::kMsiBase.value() && address - hw::kMsiBase.value() < hw::kMsiSize;
  bool masked = function_masked_ || pci::MsixEntryMask::get(entry.word[3]) != 0;
  uint32_t next = static_cast<uint32_t>(Vector::make(pci::MsiVector::get(entry.word[2]))) |
                  (in_window ? kDirected : 0) | (masked ? kMasked : 0) | (enabled() ? kEnabled : 0);
  uint32_t old = entry.state.load();
  // A pending interrupt stays for as long as the mask does.
  while (!entry.state.compare_exchange_weak(old, next | (masked && enabled() ? old & kPending : 0))) {
  }
  if ((old & kPending) == 0) return;
  if (masked && enabled()) return;
  set_pending_bit(number, false);
  if (enabled() && in_window) interrupts_.raise(static_cast<uint8_t>(Vector::get(next)));
}

void MsixTable::raise(unsigned number) {
  Entry& entry = entries_[number];
  uint32_t state = entry.state.load();
  do {
    if ((state & kEnabled) == 0) return;
    if ((state & kMasked) == 0) {
      if ((state & kDirected) != 0) interrupts_.raise(static_cast<uint8_t>(Vector::get(state)));
      return;
    }
    if ((state & kPending) != 0) return;
  } while (!entry.state.compare_exchange_weak(state, state | kPending));
  set_pending_bit(number, true);
  // The mask may have gone in between, and its bit with it.
  if ((entry.state.load() & kPending) == 0) set_pending_bit(number, false);
}

void MsixTable::set_pending_bit(unsigned entry, bool pending) {
  uint32_t bit = 1u << entry % 32;
  if (pending) {
    pending_.set_bits(entry / 32 * 4, bit);
  } else {
    pending_.clear_bits(entry / 32 * 4, bit);
  }
}

}  // namespace causeway::machine
