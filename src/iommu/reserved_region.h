// A window of bus addresses that means something else to a device than memory (struct iommu_resv_region).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/types.h"

namespace causeway::iommu {

struct ReservedRegion {
  enum class Kind : uint8_t {
    kDirect,             // mapped one to one, before the device is translated
    kDirectRelaxable,    // the same, and an owner other than the kernel may drop it
    kReserved,           // never handed out
    kMsi,                // interrupts: hardware passes them on
    kSoftwareMsi,        // interrupts: software maps the doorbell somewhere inside
  };
  Iova start, end;  // inclusive
  Kind kind = Kind::kReserved;
};
const char* name_of(ReservedRegion::Kind kind);  // as in sysfs: "direct", "direct-relaxable", "reserved", "msi"


// By start; regions of one kind that overlap or touch become one.
std::vector<ReservedRegion> merge_regions(std::vector<ReservedRegion> regions);
// A line each, as in sysfs' reserved_regions: "0x00000000fee00000 0x00000000feefffff msi".
std::string describe_regions(const std::vector<ReservedRegion>& regions);

}  // namespace causeway::iommu
