#include <fmt/format.h>
#include <sys/socket.h>

#include <memory>
#include <nlohmann/json.hpp>

#include "cli/brief.h"
#include "cli/machine_client.h"
#include "cli/process_watch.h"
#include "cli/progress.h"
#include "cli/verb.h"
#include "server/control.h"

namespace causeway::cli {
namespace {

constexpr unsigned kPatienceMs = 20000;

struct Settings {
  std::string name = "default";
  bool json = false;
};

// True: it was there. The message is empty if it is gone now.
std::pair<bool, std::string> stop_kernel(const std::string& name) {
  auto connection = server::connect_to(server::kernel_socket_name(name), SOCK_STREAM);
  if (!connection) return {false, ""};
  auto watch = ProcessWatch::of_peer(connection->get());
  if (!watch) return {false, ""};  // it ended this very moment
  auto advice = fmt::format("end it with 'kill -9 {}', then run this again", watch->pid());
  connection->reset();  // the kernel serves one connection at a time

  auto reply = server::ask(server::kernel_socket_name(name), "shutdown", kPatienceMs);
  // Gone in the middle of it is gone all the same.
  if (!reply && reply.error().code == Errno{ETIMEDOUT}) return {true, "the kernel does not answer: " + advice};
  if (reply && !reply->ok())
    return {true, fmt::format("the kernel refuses to shut down ({}): {}", reply->text("reason"), advice)};
  if (!watch->wait(kPatienceMs)) return {true, "the kernel still runs after its shutdown: " + advice};
  return {true, ""};
}

int run(const CLI::App& command, const Settings& settings) {
  Progress progress(settings.json ? Progress::Show::kNever : Progress::Show::kIfTerminal);
  progress.show("shutting down");
  auto [kernel_was_up, trouble] = stop_kernel(settings.name);
  if (!trouble.empty()) {
    progress.clear();
    return complain(command, settings.json, trouble);
  }
  auto machine = MachineClient::connect(server::machine_socket_name(settings.name));
  if (machine) {
    if (auto off = machine->power_off(); !off) {
      progress.clear();
      return complain(command, settings.json,
                      fmt::format("the machine does not power off ({}): end it with 'kill {}'", brief(off.error()),
                                  machine->pid()));
    }
  }
  progress.clear();
  if (settings.json) {
    print_json({{"ok", true},
                {"name", settings.name},
                {"kernel_was_up", kernel_was_up},
                {"machine_was_up", machine.has_value()}});
  } else if (!machine && !kernel_was_up) {
    fmt::print("machine '{}' was not up\n", settings.name);
  } else {
    fmt::print("machine '{}' is down{}\n", settings.name, kernel_was_up ? "" : " (no kernel ran on it)");
  }
  return kOk;
}

}  // namespace

Verb add_down(CLI::App& app) {
  auto settings = std::make_shared<Settings>();
  CLI::App* command = app.add_subcommand("down", "shut the kernel down and switch its machine off");
  add_name_option(*command, settings->name);
  add_json_flag(*command, settings->json);
  command->footer("What is gone already is fine.\n\nExample: causeway down --name default");
  return {command, [command, settings] { return run(*command, *settings); }};
}

}  // namespace causeway::cli
