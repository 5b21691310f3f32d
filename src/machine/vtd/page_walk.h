// The walk through page tables of either stage (VT-d 3.6 and 3.7, formats in hw/vtd.h).
//
//   Leaf leaf = walk(memory, stage, iova, Access::kWrite, Update::kYes);
//   if (leaf.reason != 0) fault(leaf.reason);
//   PhysAddr target = leaf.target(iova);
#pragma once

#include <cstdint>

#include "base/types.h"
#include "machine/translation.h"
#include "machine/vtd/table_memory.h"

namespace causeway::machine::vtd {

// One tree of page tables and how the unit reads it.
struct Stage {
  bool first = false;     // a first-stage format, else second
  bool scalable = false;  // which numbers faults have
  bool dirty = false;     // second stage: accessed and dirty bits are set
  unsigned levels = 4;
  unsigned width = 48;  // of a second stage: bits of an address at most
  PhysAddr top;
  bool operator==(const Stage&) const = default;
};

// What an address translates to, for all of the 2^shift bytes around it.
struct Leaf {
  uint8_t reason = 0;  // a fault's (hw::vtd::FaultReason), and then nothing else counts
  uint8_t shift = 12;
  bool read = false;
  bool write = false;
  bool write_marks = false;  // a write still has to set the dirty bit
  uint64_t start = 0;        // the first address
  uint64_t base = 0;         // what it translates to
  // Of a 4 KiB leaf: the table it is in and the entry that points there.
  uint64_t table = 0;
  uint64_t parent = 0;

  bool allows(Access access) const { return access == Access::kWrite ? write && !write_marks : read; }
  PhysAddr target(uint64_t address) const { return PhysAddr(base + (address - start)); }
};

// A table of 4 KiB leaves that a unit remembers, so that it need not walk down to it (a paging-structure cache).
struct LastTable {
  uint64_t table = 0;
  uint64_t parent = 0;
  bool read = true;
  bool write = true;
};

// Whether the walk sets accessed and dirty bits, or only looks.
enum class Update : bool { kNo, kYes };

// `from`: where to start instead of at the top, or null. Fills `last` when it comes through a last table.
Leaf walk(const TableMemory& memory, const Stage& stage, uint64_t address, Access access, Update update,
          const LastTable* from = nullptr, LastTable* last = nullptr);

}  // namespace causeway::machine::vtd
