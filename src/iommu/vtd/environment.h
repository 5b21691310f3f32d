// What the units, devices and domains of one VT-d driver share.
#pragma once

#include <atomic>

#include "iommu/iommu_pages.h"
#include "iommu/liveupdate/live_update.h"
#include "iommu/vtd/options.h"
#include "platform/platform.h"

namespace causeway::iommu::vtd {

struct Environment {
  platform::Platform& platform;
  IommuPages& pages;
  LiveUpdate* live_update;  // null: nothing is handed over
  const VtdOptions options;
  VtdFaults faults;                     // read by whoever boots, preserves and shuts down
  std::atomic<bool> skip_flush{false};  // read by everybody
  std::atomic<uint32_t> left_out{0};    // the same

  // Whether a function answers in configuration space. True where there is no such space.
  bool is_present(Bdf bdf) const;
};

}  // namespace causeway::iommu::vtd
