// One recorded mapping, and how two of them compare.
//
//   DebugMapping wanted{.device = d, .address = bus, .size = 64, .type = EntryType::kPhys, ...};
//   if (is_exact(wanted, entry) && likeness(wanted, entry) == kPerfectFit) ...
#pragma once

#include <cstdint>
#include <string>

#include "base/types.h"
#include "dma/attributes.h"
#include "dma/debug/stack.h"
#include "dma/direction.h"

namespace causeway::dma {

enum class EntryType : uint8_t { kPhys, kSg, kCoherent, kNoncoherent, kLink };
const char* name_of(EntryType type);

// mapping_error() is owed for what map_phys() returned, for nothing else.
enum class ErrorCheck : uint8_t { kNotApplicable, kOwed, kDone };
const char* name_of(ErrorCheck check);

// A device, by name: Device objects are values, and reports outlive them.
struct DebugDevice {
  uint64_t requester = 0;
  std::string name;
  bool shown = true;  // passes the driver filter
  DebugDevice* next = nullptr;
};

// What is known of a mapping; the same from its record to its end.
struct DebugMapping {
  const DebugDevice* device = nullptr;
  DmaAddr address;
  uint64_t size = 0;
  PhysAddr phys;
  const void* cpu = nullptr;  // coherent memory
  Attr attrs = Attr::kNone;
  EntryType type = EntryType::kPhys;
  Direction direction = Direction::kNone;
  uint32_t sg_count = 0;   // of the list given to map_sg
  uint32_t sg_mapped = 0;  // segments it became
  Stack stack;             // of the map

  // Hostile sizes do not wrap.
  uint64_t end() const {
    uint64_t sum = 0;
    return checked_add(address.value(), size, &sum) ? sum : ~uint64_t{0};
  }
};

struct DebugEntry : DebugMapping {
  ErrorCheck check = ErrorCheck::kNotApplicable;  // under the bucket's lock
  DebugEntry* next = nullptr;                     // in its bucket, or in the free list
  DebugEntry* line_next = nullptr;                // in its chain of cache lines, under the chain's lock
};

inline bool is_exact(const DebugMapping& a, const DebugMapping& b) {
  return a.address == b.address && a.device == b.device;
}

inline constexpr unsigned kPerfectFit = 4;
// How many of size, type, direction and list length agree.
inline unsigned likeness(const DebugMapping& a, const DebugMapping& b) {
  return unsigned{a.size == b.size} + unsigned{a.type == b.type} + unsigned{a.direction == b.direction} +
         unsigned{a.sg_count == b.sg_count};
}

}  // namespace causeway::dma
