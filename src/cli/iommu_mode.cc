#include "cli/iommu_mode.h"

namespace causeway::cli {

const char* name_of(IommuMode mode) {
  switch (mode) {
    case IommuMode::kOff:
      return "off";
    case IommuMode::kLegacy:
      return "legacy";
    case IommuMode::kScalable:
      return "scalable";
  }
  return "?";
}

std::optional<IommuMode> parse_iommu_mode(std::string_view text) {
  if (text == "on") return IommuMode::kScalable;
  for (IommuMode mode : {IommuMode::kOff, IommuMode::kLegacy, IommuMode::kScalable})
    if (text == name_of(mode)) return mode;
  return std::nullopt;
}

std::string machine_spec(IommuMode mode) {
  switch (mode) {
    case IommuMode::kOff:
      return "";
    case IommuMode::kLegacy:
      return "vtd,scalable=0";
    case IommuMode::kScalable:
      return "vtd,scalable=1";
  }
  return "";
}

void add_iommu_option(CLI::App& command, IommuMode& mode) {
  command
      .add_option_function<std::string>(
          "--iommu", [&mode](const std::string& text) { mode = parse_iommu_mode(text).value_or(IommuMode::kOff); },
          "a VT-d unit in front of the devices: off, legacy, scalable, or on, which is scalable; default: off")
      ->type_name("MODE")
      ->check([](const std::string& text) {
        return parse_iommu_mode(text) ? "" : "'" + text + "': want off, on, legacy or scalable";
      });
}

}  // namespace causeway::cli
