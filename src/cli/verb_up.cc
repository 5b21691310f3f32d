#include <fmt/format.h>

#include <memory>
#include <nlohmann/json.hpp>

#include "cli/child.h"
#include "cli/iommu_mode.h"
#include "cli/launch.h"
#include "cli/machine_client.h"
#include "cli/progress.h"
#include "cli/snapshot.h"
#include "cli/verb.h"

namespace causeway::cli {
namespace {

struct Settings {
  std::string name = "default";
  MachineSpec machine;
  IommuMode iommu = IommuMode::kOff;
  KernelSpec kernel;
  std::string log;
  bool json = false;
};

int report(const Settings& settings, const Snapshot& kernel, int machine_pid, bool machine_started,
           bool kernel_started) {
  const kernel::KernelStatus& status = kernel.status;
  if (settings.json) {
    print_json({{"ok", true},
                {"name", settings.name},
                {"machine", {{"pid", machine_pid}, {"started", machine_started}}},
                {"kernel",
                 {{"pid", kernel.pid},
                  {"started", kernel_started},
                  {"release", status.release},
                  {"generation", status.generation},
                  {"boot", kernel::name_of(status.boot)}}}});
    return kOk;
  }
  fmt::print("machine '{}' {} (pid {}), kernel {} {} (pid {}), generation {}, boot '{}'\n", settings.name,
             machine_started ? "started" : "was up", machine_pid, status.release,
             kernel_started ? "started" : "was running", kernel.pid, status.generation,
             kernel::name_of(status.boot));
  return kOk;
}

int run(const CLI::App& command, const Settings& settings) {
  stop_children_on_signals();
  Progress progress(settings.json ? Progress::Show::kNever : Progress::Show::kIfTerminal);
  const std::string machine_socket = server::machine_socket_name(settings.name);
  const std::string kernel_socket = server::kernel_socket_name(settings.name);
  const Child::Options options{.life = Child::Life::kDetached, .share_stderr = false, .log_file = settings.log};
  auto failed = [&](const std::string& message) {
    progress.clear();
    return complain(command, settings.json, message);
  };

  Child machine;
  std::string reason;
  bool machine_was_up = MachineClient::connect(machine_socket).has_value();
  if (!machine_was_up) {
    progress.show("starting the machine");
    MachineSpec spec = settings.machine;
    spec.iommu = machine_spec(settings.iommu);
    auto started = launch_machine(settings.name, spec, options, &reason);
    if (!started) return failed(reason);
    machine = std::move(*started);
  } else if (!settings.machine.ram.empty() || !settings.machine.devices.empty() || command.count("--iommu") > 0) {
    return failed(fmt::format("machine '{}' is up already, --ram, --device and --iommu come too late: 'causeway "
                              "down --name {}' first",
                              settings.name, settings.name));
  }

  Child kernel;
  auto answer = server::ask(kernel_socket, "status");
  if (!answer && answer.error().code == Errno{ETIMEDOUT}) {
    return failed(fmt::format("the kernel of machine '{}' hangs: kill it, then run 'causeway up --name {}' again",
                              settings.name, settings.name));
  }
  if (!answer) {
    progress.show("booting the kernel");
    auto started = launch_kernel(settings.name, settings.kernel, options, &reason);
    if (!started) {
      if (!machine_was_up) return failed(reason);  // the machine ends with this program's interest in it
      return failed(fmt::format("{}; machine '{}' and its devices still run: 'causeway up --name {} --kernel BIN' "
                                "tries another kernel",
                                reason, settings.name, settings.name));
    }
    kernel = std::move(*started);
  }
  auto snapshot = take_snapshot(kernel_socket);
  auto client = MachineClient::connect(machine_socket);
  if (!snapshot || !client) return failed("machine or kernel died right after the start: try --log FILE");
  progress.clear();
  bool kernel_started = static_cast<bool>(kernel);
  kernel.release();
  machine.release();
  return report(settings, *snapshot, client->pid(), !machine_was_up, kernel_started);
}

}  // namespace

Verb add_up(CLI::App& app) {
  auto settings = std::make_shared<Settings>();
  CLI::App* command = app.add_subcommand("up", "start a machine, and a kernel on it");
  add_name_option(*command, settings->name);
  command->add_option("--ram", settings->machine.ram, "RAM of the machine, e.g. 1G")->type_name("SIZE")
      ->check([](const std::string& text) { return is_size(text) ? "" : "want a number with K, M, G or T"; });
  command->add_option("--device", settings->machine.devices, "a device; may be given again")->type_name("SPEC")
      ->expected(1)->take_all();
  add_iommu_option(*command, settings->iommu);
  command->add_option("--kernel", settings->kernel.program, "the kernel to boot; default: this installation's")
      ->type_name("BIN")->check(CLI::ExistingFile);
  command->add_option("--cmdline", settings->kernel.command_line, "the kernel's command line")->type_name("STR");
  command->add_option("--log", settings->log, "append the logs of both to this file")->type_name("FILE");
  add_json_flag(*command, settings->json);
  command->footer(
      "Does only what is missing: where the machine runs without a kernel, one is started and takes the\n"
      "running devices over.\n\n"
      "Example: causeway up --ram 1G --cmdline 'dma_engine.rate=2000' --log /tmp/causeway.log\n"
      "         causeway up --name vm --iommu scalable --device dma --device nvme,size=64M");
  return {command, [command, settings] { return run(*command, *settings); }};
}

}  // namespace causeway::cli
