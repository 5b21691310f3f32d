// A demo's result for people and for programs.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "cli/demo.h"

namespace causeway::cli {

// A line per live update, the sums, the problems, and the verdict.
std::string demo_text(const DemoRun& run, const std::vector<std::string>& problems);

// {ok, seconds, updates: [{number, from, to, blackout_ms, ...}], lost, ..., problems: [...]}
nlohmann::json demo_json(const DemoRun& run, const std::vector<std::string>& problems);

}  // namespace causeway::cli
