// A verb of the `causeway` program. Each has a file of its own, verb_NAME.cc, with one function that
// adds the verb to the command line and says what it does:
//
//   Verb add_status(CLI::App& app);
//
// run() returns the exit status: kOk, kFailed; kUsage is the parser's.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <string>

namespace causeway::cli {

inline constexpr int kOk = 0;
inline constexpr int kFailed = 1;
inline constexpr int kUsage = 2;

struct Verb {
  CLI::App* command;
  std::function<int()> run;
};

Verb add_demo(CLI::App& app);
Verb add_up(CLI::App& app);
Verb add_down(CLI::App& app);
Verb add_status(CLI::App& app);
Verb add_kexec(CLI::App& app);
Verb add_inspect(CLI::App& app);
Verb add_dump(CLI::App& app);
Verb add_run(CLI::App& app);
Verb add_dept(CLI::App& app);

// "" if `name` can be a machine's: it must be usable in a socket's name; else what is wrong with it.
std::string check_name(const std::string& name);
// --name: which machine.
void add_name_option(CLI::App& command, std::string& name);
void add_json_flag(CLI::App& command, bool& json);

// Tells why a verb failed and returns kFailed: "causeway VERB: MESSAGE" on stderr, and with --json
// {"ok": false, "error": MESSAGE} on stdout.
int complain(const CLI::App& command, bool json, const std::string& message);
void print_json(const nlohmann::json& value);

}  // namespace causeway::cli
