#include <fmt/format.h>

#include <memory>
#include <nlohmann/json.hpp>

#include "base/types.h"
#include "cli/child.h"
#include "cli/demo.h"
#include "cli/demo_report.h"
#include "cli/demo_verdict.h"
#include "cli/launch.h"
#include "cli/sabotage.h"
#include "cli/verb.h"

namespace causeway::cli {
namespace {

struct Settings {
  DemoOptions demo;
  std::string workload = "stream";
  std::string sabotage;
  uint32_t rate = 0;
  uint32_t ring = 0;
  bool json = false;
};

int run(const CLI::App& command, Settings& settings) {
  if (settings.sabotage == "help") {
    fmt::print("{}", sabotage_help());
    return kOk;
  }
  DemoOptions& options = settings.demo;
  options.workload = find_workload(settings.workload);
  if (!settings.sabotage.empty()) {
    options.sabotage = find_sabotage(settings.workload, settings.sabotage);
    if (options.sabotage == nullptr) {
      fmt::print(stderr, "causeway demo: workload '{}' has no sabotage mode '{}': --sabotage help lists them\n",
                 settings.workload, settings.sabotage);
      return kUsage;
    }
    if (options.sabotage->needs_iommu() && options.iommu == IommuMode::kOff) {
      fmt::print(stderr, "causeway demo: sabotage mode '{}' breaks the handover of an IOMMU: give --iommu legacy or "
                         "--iommu scalable too\n", settings.sabotage);
      return kUsage;
    }
  }
  if (command.count("--rate") > 0) options.rate = settings.rate;
  if (command.count("--ring") > 0) options.ring = settings.ring;

  stop_children_on_signals();
  Progress progress(options.verbose ? Progress::Show::kNever : Progress::Show::kIfTerminal);
  DemoRun seen = run_demo(options, progress);
  std::vector<std::string> problems = find_problems(seen);
  if (settings.json) {
    nlohmann::json report = demo_json(seen, problems);
    report["sabotage"] = settings.sabotage;
    print_json(report);
  } else {
    fmt::print("{}", demo_text(seen, problems));
    if (!problems.empty() && !options.verbose) fmt::print("the kernels' logs: run it again with --verbose\n");
  }
  return problems.empty() ? kOk : kFailed;
}

}  // namespace

Verb add_demo(CLI::App& app) {
  auto settings = std::make_shared<Settings>();
  CLI::App* command = app.add_subcommand("demo", "the main job, self-contained: live updates under streaming DMA");
  DemoOptions& options = settings->demo;
  command->add_option("--seconds", options.seconds, "how long the device streams")
      ->type_name("S")->capture_default_str()->check(CLI::Range(0.1, 86400.0));
  command->add_option("--updates", options.updates, "live updates, spread over the time")
      ->type_name("N")->capture_default_str()->check(CLI::Range(0, 100000));
  command->add_option("--ram", options.ram, "RAM of the machine, e.g. 1G")->type_name("SIZE")
      ->check([](const std::string& text) { return is_size(text) ? "" : "want a number with K, M, G or T"; });
  command->add_option("--workload", settings->workload,
                      "what the device does: stream (records into memory) or nvme (a file written and read back)")
      ->type_name("NAME")->capture_default_str()
      ->check([](const std::string& text) {
        return find_workload(text) != nullptr ? "" : "want stream or nvme";
      });
  command->add_option("--depth", options.depth, "nvme: commands in flight")
      ->type_name("N")->capture_default_str()->check(CLI::Range(1, 128));
  command->add_option("--rate", settings->rate, "stream: records per second")->type_name("N")
      ->check(CLI::Range(1, 1000000));
  command->add_option("--ring", settings->ring, "stream: buffers, a power of two")->type_name("N")
      ->check(CLI::Range(2, 65536))
      ->check([](const std::string& text) {
        return is_power_of_two(std::strtoull(text.c_str(), nullptr, 10)) ? "" : "want a power of two";
      });
  add_iommu_option(*command, options.iommu);
  command->add_option("--sabotage", settings->sabotage, "break one thing on purpose; 'help' lists what")
      ->type_name("MODE");
  command->add_flag("--verbose", options.verbose, "the logs of machine and kernels on stderr");
  add_json_flag(*command, settings->json);
  command->footer(
      "A private machine streams checksummed records into memory while its kernel is replaced by another\n"
      "binary, several times. Exit status 0 only if no record was lost, refused or corrupted, no page leaked,\n"
      "and the stream never stopped. With --workload nvme, 32 commands at a time write a file to an NVMe disk and read\n"
      "it back; no command may be lost, completed twice or refused, and at the end sha256sum of the disk must be that of\n"
      "what was written. With --iommu the devices' addresses are translated throughout: nothing may be refused, no table\n"
      "dropped or changed under a device, and translation never switched off; one more device is not handed over, and\n"
      "what it tries after an update is refused.\n\n"
      "Example: causeway demo --updates 20 --seconds 20 --json\n"
      "         causeway demo --workload nvme --updates 20 --seconds 20\n"
      "         causeway demo --iommu scalable --workload nvme\n"
      "         causeway demo --sabotage early-free\n"
      "         causeway demo --iommu legacy --sabotage te-off");
  return {command, [command, settings] { return run(*command, *settings); }};
}

}  // namespace causeway::cli
