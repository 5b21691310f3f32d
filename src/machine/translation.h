// What stands between a device's bus address and physical memory: nothing, or an IOMMU.
//
//   Translation::Run run = translation.translate(requester, address, bytes, Access::kWrite);
//   if (run.bytes == 0) refuse();
//
// Called on DMA threads, inside the pass of the requester's gate: an implementation may drop tables
// after it has drained the gates.
#pragma once

#include <cstdint>

#include "base/types.h"

namespace causeway::machine {

enum class Access : uint8_t { kRead, kWrite };

class Translation {
 public:
  virtual ~Translation() = default;
  struct Run {
    PhysAddr address;
    uint64_t bytes = 0;  // that continue from there, at most what was asked; 0: refused
  };
  virtual Run translate(Bdf requester, DmaAddr address, uint64_t bytes, Access access) = 0;
};

// Bus addresses are physical addresses.
class IdentityTranslation final : public Translation {
 public:
  Run translate(Bdf, DmaAddr address, uint64_t bytes, Access) override {
    return {PhysAddr(address.value()), bytes};
  }
};

}  // namespace causeway::machine
