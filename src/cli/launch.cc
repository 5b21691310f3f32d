#include "cli/launch.h"

#include <fmt/format.h>
#include <time.h>
#include <unistd.h>

#include <functional>
#include <random>

#include "base/clock.h"
#include "cli/brief.h"
#include "cli/machine_client.h"
#include "cli/programs.h"
#include "server/control.h"

namespace causeway::cli {
namespace {

// Generous: a kernel with a hundred thousand allocations under a sanitizer on a busy machine.
constexpr uint64_t kPatienceNs = 60'000'000'000;
constexpr long kPollNs = 2'000'000;

Status wait_until_it_answers(const char* what, Child& child, const std::function<bool()>& answers,
                             std::string* reason) {
  const uint64_t end = monotonic_ns() + kPatienceNs;
  while (!answers()) {
    if (!child.running()) {
      std::string last = child.last_log_line();
      *reason = fmt::format("the {} ended at start ({}){}{}", what, child.how_it_ended(),
                            last.empty() ? "" : ": ", last);
      return fail(ECHILD, "it ended before it answered");
    }
    if (monotonic_ns() > end) {
      *reason = fmt::format("the {} does not answer after {} s", what, kPatienceNs / 1'000'000'000);
      return fail(ETIMEDOUT, "it does not answer");
    }
    timespec pause{0, kPollNs};
    ::nanosleep(&pause, nullptr);
  }
  return {};
}

Result<Child> start(const std::string& program, const std::vector<std::string>& arguments,
                    const Child::Options& options, std::string* reason) {
  auto child = Child::start(program, arguments, options);
  if (!child) *reason = fmt::format("cannot start {}: {}", program, brief(child.error()));
  return child;
}

Result<std::string> find_program(std::string_view name, std::string* reason) {
  auto path = program_path(name);
  if (!path) *reason = fmt::format("{} is not beside the causeway program: build or install it first", name);
  return path;
}

}  // namespace

Result<Child> launch_machine(const std::string& name, const MachineSpec& spec, const Child::Options& options,
                             std::string* reason) {
  std::string program = CW_TRY(find_program(kMachineProgram, reason));
  const std::string socket = server::machine_socket_name(name);
  std::vector<std::string> arguments{"--listen", socket};
  if (!spec.ram.empty()) arguments.insert(arguments.end(), {"--ram", spec.ram});
  for (const std::string& device : spec.devices) arguments.insert(arguments.end(), {"--device", device});
  if (!spec.iommu.empty()) arguments.insert(arguments.end(), {"--iommu", spec.iommu});
  if (options.life == Child::Life::kWithParent) arguments.push_back("--die-with-parent");
  Child child = CW_TRY(start(program, arguments, options, reason));
  CW_TRY(wait_until_it_answers(
      "machine", child, [&] { return MachineClient::connect(socket).has_value(); }, reason));
  return child;
}

Result<Child> launch_kernel(const std::string& name, const KernelSpec& spec, const Child::Options& options,
                            std::string* reason) {
  std::string program =
      spec.program.empty() ? CW_TRY(find_program(kKernelProgram, reason)) : absolute_path(spec.program);
  const std::string socket = server::kernel_socket_name(name);
  std::vector<std::string> arguments{"--machine", server::machine_socket_name(name), "--control", socket,
                                     "--clients", server::client_socket_name(name)};
  if (!spec.command_line.empty()) arguments.insert(arguments.end(), {"--cmdline", spec.command_line});
  arguments.insert(arguments.end(), spec.arguments.begin(), spec.arguments.end());
  if (options.life == Child::Life::kWithParent) arguments.push_back("--die-with-parent");
  Child child = CW_TRY(start(program, arguments, options, reason));
  auto answers = [&] {
    auto reply = server::ask(socket, "status", 1000);
    return reply.has_value() && reply->number("pid") == static_cast<uint64_t>(child.pid());
  };
  CW_TRY(wait_until_it_answers("kernel", child, answers, reason));
  return child;
}

std::string private_name() {
  std::random_device random;
  return fmt::format("private-{}-{:08x}", ::getpid(), random());
}

bool is_size(const std::string& text) {
  size_t digits = text.find_first_not_of("0123456789");
  if (text.empty() || digits == 0) return false;
  if (digits == std::string::npos) return true;
  return digits + 1 == text.size() && std::string_view("KMGTkmgt").find(text[digits]) != std::string_view::npos;
}

}  // namespace causeway::cli
