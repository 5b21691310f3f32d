// How the VT-d driver is to behave, and what can be made to go wrong on purpose.
//
//   auto vtd = CW_TRY(VtdDriver::create(platform, pages, &live_update, {.scalable = false}));
//   vtd->set_faults({.skip_flush = true});        // a negative control: somebody has to notice
#pragma once

#include <functional>

#include "iommu/driver.h"

namespace causeway::iommu::vtd {

// Defects for negative controls. Each of them must be noticed by somebody: the model of the unit, or the data.
struct VtdFaults {
  bool skip_context_preserve = false;       // context tables are said to be preserved, and are not
  bool forget_domain_ids = false;           // the ids of preserved devices are not reserved in the new kernel
  bool translation_off_at_shutdown = false; // whatever is preserved
  bool skip_flush = false;                  // no IOTLB invalidation is sent for what is mapped or unmapped
  uint32_t left_out = 0;                    // descriptors that are never sent: 1 << hw::vtd::kContextCache and so on
};

struct VtdOptions {
  // intel_iommu=sm_on: units that can are in scalable mode. One taken over stays in the mode it is in.
  bool scalable = true;
  // Booted after a crash: what the old kernel's devices are translated by is copied, and kept until a driver attaches.
  // The core of such a kernel has no LiveUpdate: it takes nobody over.
  bool crash_kernel = false;
  // Faults that the units record, on the interrupt thread. Core::report_fault(), as a rule.
  std::function<void(const FaultReport&)> on_fault = {};
  // Writes CPU cache lines back, for units that do not snoop. Null: nothing has to be done on this processor.
  std::function<void(const void* from, uint64_t bytes)> flush_cache = {};
};

}  // namespace causeway::iommu::vtd
