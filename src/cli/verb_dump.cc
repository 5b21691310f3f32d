#include <fmt/format.h>

#include <memory>
#include <nlohmann/json.hpp>

#include "cli/brief.h"
#include "cli/dump_file.h"
#include "cli/machine_client.h"
#include "cli/observed_machine.h"
#include "cli/progress.h"
#include "cli/verb.h"
#include "inspect/core_writer.h"
#include "inspect/render.h"
#include "server/control.h"

namespace causeway::cli {
namespace {

struct Settings {
  std::string name = "default";
  std::string file;
  bool metadata = false;
  bool json = false;
};

int run(const CLI::App& command, const Settings& settings) {
  auto client = MachineClient::connect(server::machine_socket_name(settings.name));
  if (!client)
    return complain(command, settings.json,
                    fmt::format("no machine '{}' is up: start it with 'causeway up --name {}'", settings.name,
                                settings.name));
  auto machine = ObservedMachine::attach(*client);
  if (!machine)
    return complain(command, settings.json, fmt::format("cannot look into the machine ({})", brief(machine.error())));
  bool damaged = false;
  auto handover = machine->handover(&damaged);
  if (!handover)
    return complain(command, settings.json,
                    damaged ? "the machine's kexec mailbox is damaged: there is no handover to dump"
                            : "no handover stands: the kernel has not finished its boot, or was shut down");

  std::string reason;
  auto file = DumpFile::create(settings.file, &reason);
  if (!file) return complain(command, settings.json, reason);
  const auto contents = settings.metadata ? inspect::CoreContents::kMetadataOnly : inspect::CoreContents::kEverything;
  Progress progress(settings.json ? Progress::Show::kNever : Progress::Show::kIfTerminal);
  progress.show("writing");
  auto summary = inspect::write_core(machine->memory(), inspect::core_source(*handover, machine->ram()), file->fd(),
                                     contents);
  progress.clear();
  if (!summary) return complain(command, settings.json, fmt::format("{}: {}", settings.file, brief(summary.error())));
  file->keep();
  if (settings.json) {
    print_json({{"ok", true},
                {"file", settings.file},
                {"release", handover->release},
                {"generation", handover->generation},
                {"segments", summary->segments},
                {"file_bytes", summary->file_bytes},
                {"written_bytes", summary->written_bytes},
                {"preserved_bytes", summary->preserved_bytes},
                {"problems", summary->problems}});
    return kOk;
  }
  fmt::print("{}: handover of generation {} ({}), {} preserved, {} in {} segment{}, {} not zero\n", settings.file,
             handover->generation, handover->release, inspect::human_size(summary->preserved_bytes),
             inspect::human_size(summary->file_bytes), summary->segments, summary->segments == 1 ? "" : "s",
             inspect::human_size(summary->written_bytes));
  if (summary->problems > 0)
    fmt::print("it has {} problem{}: causeway inspect {}\n", summary->problems, summary->problems == 1 ? "" : "s",
               settings.file);
  return kOk;
}

}  // namespace

Verb add_dump(CLI::App& app) {
  auto settings = std::make_shared<Settings>();
  CLI::App* command = app.add_subcommand("dump", "write the standing handover of a machine into a file");
  add_name_option(*command, settings->name);
  command->add_option("-o,--output", settings->file, "an ELF core, made anew, for its owner alone")->type_name("FILE")->required();
  command->add_flag("--metadata", settings->metadata, "leave out the contents of preserved memory");
  add_json_flag(*command, settings->json);
  command->footer("Needs the machine alone: its kernel may be dead.\n\nExample: causeway dump -o handover.elf && causeway inspect handover.elf");
  return {command, [command, settings] { return run(*command, *settings); }};
}

}  // namespace causeway::cli
