#include <fmt/format.h>

#include <memory>
#include <nlohmann/json.hpp>

#include "cli/brief.h"
#include "cli/machine_client.h"
#include "cli/snapshot.h"
#include "cli/verb.h"

namespace causeway::cli {
namespace {

struct Settings {
  std::string name = "default";
  bool json = false;
};

nlohmann::json machine_json(const std::string& lines) {
  server::Reply reply;
  for (size_t start = 0; start < lines.size();) {
    size_t end = std::min(lines.find('\n', start), lines.size());
    std::string line = lines.substr(start, end - start);
    if (size_t equals = line.find('='); equals != std::string::npos)
      reply.lines.emplace_back(line.substr(0, equals), line.substr(equals + 1));
    start = end + 1;
  }
  nlohmann::json machine = nlohmann::json::object();
  for (const auto& [name, value] : reply.lines) machine[name] = value;
  return machine;
}

void print_kernel(const Snapshot& kernel) {
  const kernel::KernelStatus& status = kernel.status;
  fmt::print("kernel     {} (pid {}), generation {}, boot '{}' in {:.2f} ms\n", status.release, kernel.pid,
             status.generation, kernel::name_of(status.boot), static_cast<double>(status.boot_ns) / 1e6);
  if (!status.command_line.empty()) fmt::print("           {}\n", status.command_line);
  fmt::print("memory     dma32 {} of {} pages free, normal {} of {}, bad {}, leaked {}\n",
             status.pages.zone[0].free_pages, status.pages.zone[0].managed_pages, status.pages.zone[1].free_pages,
             status.pages.zone[1].managed_pages, status.pages.bad_pages, kernel.leaked_pages());
  fmt::print("handover   in: {} pages, {} restored, {} unrestored; out: {} blocks, {} pages\n",
             status.kho.incoming_pages, status.kho.restored_pages, kernel.unrestored_pages(),
             status.kho.preserved_blocks, status.kho.preserved_pages);
  if (status.luo.enabled) {
    fmt::print("sessions   {} to hand over with {} files; {} from the kernel before with {} files\n",
               status.luo.outgoing_sessions, status.luo.outgoing_files, status.luo.incoming_sessions,
               status.luo.incoming_files);
  }
  for (const auto& [bdf, engine] : status.engines) {
    fmt::print("{:<10} {} records, {:.1f} MB; lost {}, corrupted {}, refused {}, replayed {}, dropped {}{}\n", bdf,
               engine.records, static_cast<double>(engine.bytes) / 1e6, engine.lost, engine.corrupted,
               engine.refused, engine.replayed, engine.device_dropped, engine.adopted ? "; adopted" : "");
  }
  for (const auto& [bdf, engine] : kernel.ephemeral)
    fmt::print("{:<10} {} records; not handed over to the next kernel\n", bdf, engine.records);
  if (kernel.iommu.told) {
    fmt::print("iommu      {} units, {} devices; {} devices and {} domains from the kernel before\n", kernel.iommu.units,
               kernel.iommu.devices, kernel.iommu.restored_devices, kernel.iommu.restored_domains);
    for (const std::string& damage : kernel.iommu.damage_texts) fmt::print("damage     {}\n", damage);
  }
  for (const std::string& error : status.driver_errors) fmt::print("driver     {}\n", error);
  for (const std::string& problem : status.problems) fmt::print("problem    {}\n", problem);
}

int run(const CLI::App& command, const Settings& settings) {
  auto machine = MachineClient::connect(server::machine_socket_name(settings.name));
  if (!machine) {
    return complain(command, settings.json,
                    fmt::format("no machine '{}' is up: start it with 'causeway up --name {}'", settings.name,
                                settings.name));
  }
  auto machine_lines = machine->status();
  if (!machine_lines) {
    return complain(command, settings.json,
                    fmt::format("the machine does not tell its status ({}): end it with 'kill {}'",
                                brief(machine_lines.error()), machine->pid()));
  }
  auto reply = server::ask(server::kernel_socket_name(settings.name), "status");
  if (!reply || !reply->ok()) {
    std::string why = !reply ? brief(reply.error()) : reply->text("reason");
    return complain(command, settings.json,
                    fmt::format("machine '{}' and its devices run (pid {}) but no kernel answers ({}): start one with "
                                "'causeway up --name {}'",
                                settings.name, machine->pid(), why, settings.name));
  }
  if (settings.json) {
    print_json({{"ok", true},
                {"name", settings.name},
                {"machine", {{"pid", machine->pid()}, {"status", machine_json(*machine_lines)}}},
                {"kernel", status_json(*reply)}});
    return kOk;
  }
  fmt::print("machine    '{}' (pid {})\n", settings.name, machine->pid());
  print_kernel(parse_snapshot(*reply));
  return kOk;
}

}  // namespace

Verb add_status(CLI::App& app) {
  auto settings = std::make_shared<Settings>();
  CLI::App* command = app.add_subcommand("status", "what a machine and its kernel are doing");
  add_name_option(*command, settings->name);
  add_json_flag(*command, settings->json);
  command->footer("Example: causeway status --json");
  return {command, [command, settings] { return run(*command, *settings); }};
}

}  // namespace causeway::cli
