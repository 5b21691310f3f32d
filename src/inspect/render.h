// A report as text for people and as JSON for programs.
//
//   fmt::print("{}", render_text(report, {}));
//   std::cout << to_json(report).dump(2);
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

#include "inspect/report.h"

namespace causeway::inspect {

struct TextOptions {
  std::string name;  // of the image
  bool all = false;  // every folio run, session and file; otherwise long lists are cut, and say so
  size_t max_ranges = 32;  // mapped ranges of the device in the picture
};

// With Report::translation: its picture instead of the lists.
std::string render_text(const Report& report, const TextOptions& options);
nlohmann::json to_json(const Report& report);

// "4 KiB", "2.5 MiB", "0 bytes".
std::string human_size(uint64_t bytes);
// "SEAL|WRITE", "none"; bits without a name as a number.
std::string seal_names(uint32_t seals);

}  // namespace causeway::inspect
