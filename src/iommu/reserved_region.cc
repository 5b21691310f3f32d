#include "iommu/reserved_region.h"

#include <fmt/format.h>

#include <algorithm>
#include <tuple>

namespace causeway::iommu {

const char* name_of(ReservedRegion::Kind kind) {
  switch (kind) {
    case ReservedRegion::Kind::kDirect: return "direct";
    case ReservedRegion::Kind::kDirectRelaxable: return "direct-relaxable";
    case ReservedRegion::Kind::kReserved: return "reserved";
    case ReservedRegion::Kind::kMsi:
    case ReservedRegion::Kind::kSoftwareMsi: return "msi";
  }
  return "?";
}

std::vector<ReservedRegion> merge_regions(std::vector<ReservedRegion> regions) {
  std::sort(regions.begin(), regions.end(), [](const ReservedRegion& a, const ReservedRegion& b) {
    return std::tuple(a.kind, a.start, a.end) < std::tuple(b.kind, b.start, b.end);
  });
  std::vector<ReservedRegion> merged;
  for (const ReservedRegion& region : regions) {
    ReservedRegion* last = merged.empty() ? nullptr : &merged.back();
    // The last address of all has nothing after it.
    const bool touches = last != nullptr && last->kind == region.kind &&
                         (region.start <= last->end || region.start.value() - 1 == last->end.value());
    if (touches)
      last->end = std::max(last->end, region.end);
    else
      merged.push_back(region);
  }
  std::stable_sort(merged.begin(), merged.end(),
                   [](const ReservedRegion& a, const ReservedRegion& b) { return a.start < b.start; });
  return merged;
}

std::string describe_regions(const std::vector<ReservedRegion>& regions) {
  std::string text;
  for (const ReservedRegion& region : regions)
    text += fmt::format("{:#018x} {:#018x} {}\n", region.start.value(), region.end.value(), name_of(region.kind));
  return text;
}

}  // namespace causeway::iommu
