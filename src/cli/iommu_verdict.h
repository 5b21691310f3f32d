// Whether the IOMMU's part of a demo went well.
//
//   for (std::string& problem : find_iommu_problems(run)) problems.push_back(std::move(problem));
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "cli/demo.h"

namespace causeway::cli {

// One line each; empty: all holds, or the demo had no IOMMU. A problem that a counter of the unit shows names that counter.
std::vector<std::string> find_iommu_problems(const DemoRun& run);

// The lines below the table, and the report's "iommu".
std::vector<std::string> iommu_summary(const DemoRun& run);
nlohmann::json iommu_json(const DemoRun& run);

}  // namespace causeway::cli
