#include "iommu/vtd/environment.h"

#include "hw/address_map.h"

namespace causeway::iommu::vtd {

bool Environment::is_present(Bdf bdf) const {
  const uint64_t offset = uint64_t{bdf.value()} << kPageShift;
  if (offset >= hw::kEcamSize) return true;
  return platform.mmio().read(hw::kEcamBase + offset, 2) != 0xffff;
}

}  // namespace causeway::iommu::vtd
