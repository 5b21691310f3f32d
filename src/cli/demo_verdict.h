// Whether a demo went well: everything that must hold, and what was seen where it does not.
//
//   for (const std::string& problem : find_problems(run)) fmt::print("problem: {}\n", problem);
#pragma once

#include <string>
#include <vector>

#include "cli/demo.h"

namespace causeway::cli {

// One line each: what was seen and what was wanted. Empty: all of it holds.
std::vector<std::string> find_problems(const DemoRun& run);

}  // namespace causeway::cli
