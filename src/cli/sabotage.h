// What `causeway demo --sabotage` can break on purpose, so that one can see the demo fail.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "hw/control.h"

namespace causeway::cli {

struct SabotageMode {
  const char* name;
  const char* workload;  // of which demo; kEveryWorkload
  const char* breaks;  // what is done wrong
  const char* effect;  // what a user should see
  hw::control::Fault fault{};  // done by the machine; else by the kernel, which finds the name on its command line
  // Breaks the handover of an IOMMU: nothing without one.
  bool needs_iommu() const { return std::string_view(workload) == kEveryWorkload; }

  static constexpr const char* kEveryWorkload = "--iommu";
};

std::span<const SabotageMode> sabotage_modes();
// Null: this workload has no such mode.
const SabotageMode* find_sabotage(std::string_view workload, std::string_view name);
// The text of `--sabotage help`.
std::string sabotage_help();
bool done_by_machine(const SabotageMode& mode);

}  // namespace causeway::cli
