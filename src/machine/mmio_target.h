// What answers register accesses in a range of physical addresses: a function's BAR, an IOMMU's page.
//
//   class Unit : public MmioTarget { ... };
//   bus.attach(static_cast<MmioTarget&>(unit));
#pragma once

#include <cstdint>

#include "base/types.h"

namespace causeway::machine {

class MmioTarget {
 public:
  virtual ~MmioTarget() = default;
  virtual PhysAddr mmio_base() const = 0;
  virtual uint64_t mmio_size() const = 0;
  // False: it is there, and does not answer now.
  virtual bool decodes_memory() const { return true; }
  // Software's accesses, on the bus thread. Width 1, 2, 4 or 8, aligned, inside the range. False: no such register, or
  // a value it cannot take; `why` then says so for the log.
  virtual bool write_mmio(uint32_t offset, uint32_t width, uint64_t value, const char** why) = 0;
  virtual uint64_t read_mmio(uint32_t offset, uint32_t width) = 0;  // with its side effects
};

}  // namespace causeway::machine
