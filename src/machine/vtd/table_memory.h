// Memory as a remapping unit reads and writes it: 64-bit words, each access whole.
//
//   uint64_t entry;
//   if (!memory.load(table + 8 * index, &entry)) fault(kNextTableInvalid);
//
// Only inside a pass of a registered gate. Who reads tables at `load` may see what software has not flushed only as it
// was (LineFlushes); commands and rings are always coherent.
#pragma once

#include <cstdint>

#include "base/types.h"
#include "machine/region_map.h"
#include "machine/vtd/line_flushes.h"
#include "machine/vtd/walk_path.h"

namespace causeway::machine::vtd {

class TableMemory {
 public:
  TableMemory(const RegionMap& regions, LineFlushes* lines) : regions_(regions), lines_(lines) {}

  // This memory, which notes in `path` what is loaded from it.
  TableMemory recording(WalkPath& path) const {
    TableMemory memory = *this;
    memory.path_ = &path;
    path.clear();
    return memory;
  }
  // Every word of the path is as it was. False if there is none, or if memory is seen line by line.
  bool unchanged(const WalkPath& path) const;

  // False: no RAM there. Addresses are aligned to the access.
  bool load(PhysAddr at, uint64_t* word) const;
  bool load_coherent(PhysAddr at, uint64_t* word) const;
  bool store(PhysAddr at, uint64_t word) const;
  bool store32(PhysAddr at, uint32_t word) const;
  // Adds bits to a word that still is `seen`. False: it is not any more, or is not there.
  bool add_bits(PhysAddr at, uint64_t seen, uint64_t bits) const;

 private:
  const RegionMap& regions_;
  LineFlushes* const lines_;
  WalkPath* path_ = nullptr;
};

}  // namespace causeway::machine::vtd
