// The MSI-X table and pending bits of a function (hw/pci.h).
//
//   MsixTable msix(page.block(table), page.block(pba), 5, interrupts);
//   msix.set_control(enabled, function_masked);      // bus thread
//   msix.write(kMsixEntryData, 4, vector, &why);     // bus thread
//   msix.raise(0);                                   // any thread
//
// An interrupt that finds its entry masked is kept, once, and sent when the mask goes; while MSI-X is
// disabled none is kept. An entry that is not directed at the interrupt window sends nothing.
#pragma once

#include <atomic>
#include <cstdint>
#include <vector>

#include "machine/interrupt_sink.h"
#include "machine/register_page.h"

namespace causeway::machine {

class MsixTable {
 public:
  // `table` and `pending` mirror it for software. Entries are masked at first, MSI-X is disabled.
  MsixTable(RegisterPage table, RegisterPage pending, unsigned entries, InterruptSink& interrupts);

  unsigned entries() const { return static_cast<unsigned>(entries_.size()); }
  bool enabled() const { return enabled_.load(std::memory_order_relaxed); }
  void set_control(bool enabled, bool function_masked);
  // `offset` from the start of the table. False: not an entry's word, or not 4 or 8 bytes wide.
  bool write(uint32_t offset, uint32_t width, uint64_t value, const char** why);
  void raise(unsigned entry);

 private:
  struct Entry {
    uint32_t word[4] = {};           // as software wrote them; the bus thread's
    std::atomic<uint32_t> state{0};  // what raise() needs of them, and whether one is pending
  };
  void update(unsigned entry);
  void set_pending_bit(unsigned entry, bool pending);

  RegisterPage table_, pending_;
  std::vector<Entry> entries_;
  InterruptSink& interrupts_;
  std::atomic<bool> enabled_{false};
  bool function_masked_ = false;
};

}  // namespace causeway::machine
