// What `causeway demo --sabotage` can break on purpose, so that one can see the demo fail.
#pragma once

#include <span>
#include <string>
#include <string_view>

namespace causeway::cli {

struct SabotageMode {
  const char* name;
  const char* breaks;  // what is done wrong
  const char* effect;  // what a user should see
};

std::span<const SabotageMode> sabotage_modes();
// Null: no such mode.
const SabotageMode* find_sabotage(std::string_view name);
// The text of `--sabotage help`.
std::string sabotage_help();
// `corrupt` is done by the machine; all others by the kernel, which finds them on its command line.
bool done_by_machine(const SabotageMode& mode);

}  // namespace causeway::cli
