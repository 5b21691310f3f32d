// --iommu of the verbs that start a machine: off, legacy, scalable, or on, which is scalable.
//
//   add_iommu_option(*command, settings->iommu);
//   spec.iommu = machine_spec(settings->iommu);      // "vtd,scalable=1"
#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace causeway::cli {

enum class IommuMode : uint8_t { kOff, kLegacy, kScalable };

const char* name_of(IommuMode mode);
std::optional<IommuMode> parse_iommu_mode(std::string_view text);
// What the machine is told by --iommu; "": nothing, it has no IOMMU.
std::string machine_spec(IommuMode mode);
void add_iommu_option(CLI::App& command, IommuMode& mode);

}  // namespace causeway::cli
