#include "cli/verb.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

namespace causeway::cli {
namespace {

// A socket's abstract name holds 107 bytes, and the rest of it is ours.
constexpr size_t kMaxName = 48;

}  // namespace

std::string check_name(const std::string& name) {
  bool usable = !name.empty() && name.size() <= kMaxName &&
                name.find_first_not_of("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.") ==
                    std::string::npos;
  return usable ? "" : fmt::format("'{}': want 1 to {} letters, digits, '-', '_' or '.'", name, kMaxName);
}

void add_name_option(CLI::App& command, std::string& name) {
  command.add_option("--name", name, "which machine")->type_name("NAME")->capture_default_str()->check(check_name);
}

void add_json_flag(CLI::App& command, bool& json) {
  command.add_flag("--json", json, "print one JSON object");
}

int complain(const CLI::App& command, bool json, const std::string& message) {
  if (json) print_json({{"ok", false}, {"error", message}});
  fmt::print(stderr, "causeway {}: {}\n", command.get_name(), message);
  return kFailed;
}

void print_json(const nlohmann::json& value) {
  // What a process logs or is called need not be UTF-8.
  fmt::print("{}\n", value.dump(2, ' ', false, nlohmann::json::error_handler_t::replace));
}

}  // namespace causeway::cli
