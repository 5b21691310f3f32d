#include <fmt/format.h>

#include <memory>
#include <nlohmann/json.hpp>
#include <optional>

#include "cli/brief.h"
#include "cli/dump_file.h"
#include "cli/live_update.h"
#include "cli/machine_client.h"
#include "cli/programs.h"
#include "cli/progress.h"
#include "cli/verb.h"
#include "inspect/render.h"

namespace causeway::cli {
namespace {

struct Settings {
  std::string name = "default";
  std::string kernel;
  std::string dump;
  bool check = false;
  bool json = false;
};

double ms(uint64_t ns) { return static_cast<double>(ns) / 1e6; }

int check(const CLI::App& command, const Settings& settings, const std::string& socket, const std::string& target) {
  auto reply = server::ask(socket, "check " + target);
  if (!reply) return complain(command, settings.json, fmt::format("no answer: {}", brief(reply.error())));
  if (!reply->ok()) return complain(command, settings.json, reply->text("reason"));
  if (settings.json) {
    print_json({{"ok", true},
                {"path", reply->text("path")},
                {"release", reply->text("release")},
                {"build_id", reply->text("build_id")},
                {"formats", reply->all("format")}});
  } else {
    fmt::print("{} can be the next kernel: release {}, build id {}, reads {}\n", reply->text("path"),
               reply->text("release"), reply->text("build_id"), fmt::join(reply->all("format"), " and "));
  }
  return kOk;
}

void report(const Settings& settings, const LiveUpdate& update) {
  drivers::DmaEngineStats total = update.after.total();
  const kernel::KernelStatus& status = update.after.status;
  const server::Reply& words = update.last_words;
  const bool dumped = !words.text("dump.file_bytes").empty();
  if (settings.json) {
    nlohmann::json dump;
    if (!settings.dump.empty()) dump["file"] = settings.dump;
    if (dumped) {
      dump["ms"] = ms(words.number("dump.ns"));
      for (const char* name : {"segments", "file_bytes", "written_bytes", "preserved_bytes", "problems"})
        dump[name] = words.number(fmt::format("dump.{}", name));
    }
    print_json({{"ok", true},
                {"dump", dump},
                {"from", update.before.status.release},
                {"to", status.release},
                {"generation", status.generation},
                {"boot", kernel::name_of(status.boot)},
                {"boot_ms", ms(status.boot_ns)},
                {"request_ms", ms(update.request_ns)},
                {"blackout_ms", ms(total.blackout_ns)},
                {"completed_during", total.completed_during},
                {"pages_restored", status.kho.restored_pages},
                {"pages_leaked", update.after.leaked_pages()},
                {"driver_errors", status.driver_errors},
                {"problems", status.problems}});
    return;
  }
  fmt::print("{} -> {}: blackout {:.2f} ms, {} transfers completed in it, {} pages restored, {} leaked\n",
             update.before.status.release, status.release, ms(total.blackout_ns), total.completed_during,
             status.kho.restored_pages, update.after.leaked_pages());
  if (!dumped) return;
  fmt::print("{}: {} preserved, {} not zero, written in {:.2f} ms of the blackout\n", settings.dump,
             inspect::human_size(words.number("dump.preserved_bytes")),
             inspect::human_size(words.number("dump.written_bytes")), ms(words.number("dump.ns")));
  if (uint64_t problems = words.number("dump.problems"); problems > 0)
    fmt::print("it has {} problem{}: causeway inspect {}\n", problems, problems == 1 ? "" : "s", settings.dump);
}

int run(const CLI::App& command, const Settings& settings) {
  const std::string socket = server::kernel_socket_name(settings.name);
  auto running = take_snapshot(socket);
  if (!running) {
    return complain(command, settings.json,
                    fmt::format("no kernel answers on machine '{}' ({}): start one with 'causeway up --name {}'",
                                settings.name, brief(running.error()), settings.name));
  }
  std::string target = settings.kernel;
  if (target.empty()) {
    auto program = program_of_process(running->pid);
    auto path = program_path(other_kernel(program ? *program : ""));
    if (!path) return complain(command, settings.json, "no other kernel beside the causeway program: give --kernel BIN");
    target = *path;
  }
  target = absolute_path(target);
  if (target.find('\n') != std::string::npos)
    return complain(command, settings.json, "the path has a line break in it: make a link without one");
  if (settings.check) return check(command, settings, socket, target);

  std::string reason;
  std::optional<DumpFile> dump;
  if (!settings.dump.empty()) {
    auto file = DumpFile::create(settings.dump, &reason);
    if (!file) return complain(command, settings.json, reason);
    dump.emplace(std::move(*file));
  }
  Progress progress(settings.json ? Progress::Show::kNever : Progress::Show::kIfTerminal);
  progress.show(fmt::format("live update of '{}'", settings.name));
  auto update = live_update(socket, target, &reason, dump ? dump->fd() : -1);
  progress.clear();
  // A kernel that has died leaves a dump that tells why, perhaps.
  if (dump && (update || update.error().code == Errno{ECONNREFUSED})) dump->keep();
  if (!update) {
    bool died = update.error().code == Errno{ECONNREFUSED};
    bool machine_runs = MachineClient::connect(server::machine_socket_name(settings.name)).has_value();
    if (died && machine_runs) {
      reason += fmt::format("; machine '{}' and its devices still run: start a kernel again with 'causeway up --name "
                            "{} --kernel {}'",
                            settings.name, settings.name, program_path(kKernelProgram).value_or("BIN"));
    }
    return complain(command, settings.json, reason);
  }
  report(settings, *update);
  if (!update->after.status.driver_errors.empty() || !update->after.status.problems.empty()) {
    const auto& errors = update->after.status.driver_errors;
    const auto& what = errors.empty() ? update->after.status.problems.front() : errors.front();
    fmt::print(stderr, "causeway kexec: the new kernel runs, but: {}\n", what);
    return kFailed;
  }
  return kOk;
}

}  // namespace

Verb add_kexec(CLI::App& app) {
  auto settings = std::make_shared<Settings>();
  CLI::App* command = app.add_subcommand("kexec", "live update: replace the kernel under the running devices");
  add_name_option(*command, settings->name);
  command->add_option("--kernel", settings->kernel,
                      "the next kernel; default: of this installation's two, the one that does not run")
      ->type_name("BIN");
  command->add_flag("--check", settings->check, "preflight only: could it be the next kernel?");
  command
      ->add_option("--dump", settings->dump,
                   "write the handover into an ELF core for 'causeway inspect': exactly what the next kernel reads, "
                   "because it is written when all is frozen; so the time it takes, which grows with the preserved memory "
                   "that is not zero, is added to the blackout, and reported")
      ->type_name("FILE")
      ->excludes("--check");
  add_json_flag(*command, settings->json);
  command->footer(
      "A target that is refused, or a dump that cannot be written, leaves the running kernel as it is.\n\n"
      "Example: causeway kexec --check && causeway kexec");
  return {command, [command, settings] { return run(*command, *settings); }};
}

}  // namespace causeway::cli
