// The firmware's table of remapping units, read from bytes that nobody vouches for (hw/dmar.h).
//
//   DmarTable table = CW_TRY(parse_dmar(bytes));
//   for (const DmarUnit& unit : table.units) probe(unit.register_base);
//   const DmarUnit* mine = table.unit_of(0, Bdf(0, 1, 0));
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/result.h"
#include "base/types.h"

namespace causeway::iommu::vtd {

struct DmarUnit {
  uint16_t segment = 0;
  PhysAddr register_base;
  bool include_all = false;   // every device of the segment that no other unit names
  std::vector<Bdf> devices;   // endpoints
};

// Memory that the firmware's devices use behind the kernel's back: mapped one to one before they are translated.
struct DmarReserved {
  uint16_t segment = 0;
  PhysAddr base;
  PhysAddr last;  // inclusive
  std::vector<Bdf> devices;
};

struct DmarTable {
  unsigned host_address_bits = 0;
  std::vector<DmarUnit> units;
  std::vector<DmarReserved> reserved;

  // The unit that translates a device: the one that names it, else the segment's that includes all. Null: none.
  const DmarUnit* unit_of(uint16_t segment, Bdf bdf) const;
};

// `bytes` may go on behind the table. Structures of other types are skipped.
// ENODEV: no table (no signature). EINVAL: a length that is too short or goes beyond its container, a wrong checksum, a
// register base that is not a page's or is another unit's, a reserved range that ends before it starts, two units of
// one segment that include all.
Result<DmarTable> parse_dmar(std::span<const std::byte> bytes);

}  // namespace causeway::iommu::vtd
