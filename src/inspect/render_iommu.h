// The IOMMU part of the reports. Private to this room; the whole: render.h.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

#include "inspect/render.h"

namespace causeway::inspect {

// The section of all carriers, "" without one.
std::string iommu_text(const Report& report, const TextOptions& options);
// The picture of Report::translation, which is there.
std::string translation_text(const Report& report, const TextOptions& options);

nlohmann::json iommu_json(const Report& report);
nlohmann::json translation_json(const Report& report);  // null without one

// "first", "second", "unknown".
const char* name_of(Stage stage);

}  // namespace causeway::inspect
