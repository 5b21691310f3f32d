#include <fmt/format.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>
#include <cstdlib>
#include <memory>

#include "cli/brief.h"
#include "cli/child.h"
#include "cli/client_program.h"
#include "cli/launch.h"
#include "cli/preload.h"
#include "cli/programs.h"
#include "cli/supervisor.h"
#include "cli/verb.h"
#include "server/control.h"
#include "server/wire.h"

namespace causeway::cli {
namespace {

struct Settings {
  std::string name;
  MachineSpec machine;
  KernelSpec kernel;
  bool supervise = false;
  std::vector<std::string> program;
};

// What the shells return.
constexpr int kNotFound = 127;

Result<Served> ask_devices(const std::string& name, std::string* reason) {
  auto reply = server::ask(server::kernel_socket_name(name), "devices");
  if (!reply) {
    *reason = fmt::format("no kernel answers on machine '{}' ({}): start one with 'causeway up --name {}', or leave "
                          "--name out for a private one",
                          name, brief(reply.error()), name);
    return fail(reply.error());
  }
  Served devices{server::client_socket_name(name), reply->all("device"), {}};
  for (const std::string& type : reply->all("ioctl_type"))
    devices.ioctl_types.push_back(static_cast<unsigned>(std::strtoul(type.c_str(), nullptr, 0)));
  return devices;
}

void add_to_environment(const char* name, const std::string& value) { ::setenv(name, value.c_str(), 1); }

// Runs it as the shell would, and returns what the shell would.
int run_and_wait(const ClientProgram& program, std::vector<std::string> words, std::string* reason) {
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  // The terminal's signals go to the program; this one waits for it.
  struct sigaction ignore{}, interrupt, quit;
  ignore.sa_handler = SIG_IGN;
  ::sigaction(SIGINT, &ignore, &interrupt);
  ::sigaction(SIGQUIT, &ignore, &quit);
  pid_t child = ::fork();
  if (child == 0) {
    ::sigaction(SIGINT, &interrupt, nullptr);
    ::sigaction(SIGQUIT, &quit, nullptr);
    ::execv(program.path.c_str(), argv.data());
    ::_exit(kCannotExecute);
  }
  if (child < 0) {
    *reason = fmt::format("cannot start '{}': {}", program.path, std::strerror(errno));
    return kFailed;
  }
  static volatile sig_atomic_t forward_to;
  forward_to = child;
  struct sigaction forward{};
  forward.sa_handler = [](int signal) { ::kill(static_cast<pid_t>(forward_to), signal); };
  ::sigaction(SIGTERM, &forward, nullptr);
  ::sigaction(SIGHUP, &forward, nullptr);
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  return shell_status(status);
}

int run(const CLI::App& command, const Settings& settings) {
  std::string reason;
  auto failed = [&](int status) {
    complain(command, false, reason);
    return status;
  };
  auto program = ClientProgram::find(settings.program.front(), &reason);
  if (!program) return failed(program.error().code == Errno{ENOENT} ? kNotFound : kCannotExecute);
  const std::string& what = program->interpreted.empty() ? program->path : program->interpreted;
  if (program->linking == Linking::kForeign) {
    reason = fmt::format("'{}' is a program of another architecture or word size: only 64-bit programs of this machine's "
                         "own can be served", what);
    return failed(kCannotExecute);
  }
  if (program->linking == Linking::kSetuid) {
    reason = fmt::format("'{}' is set-user-id: nothing can be loaded into it. Run it as its owner, or a copy without the "
                         "bit", what);
    return failed(kCannotExecute);
  }
  bool supervise = settings.supervise || program->linking == Linking::kStatic || program->makes_own_system_calls;

  std::string name = settings.name;
  Child machine, kernel;
  if (name.empty()) {
    name = private_name();
    auto started = launch_machine(name, settings.machine, Child::Options{}, &reason);
    if (!started) return failed(kFailed);
    machine = std::move(*started);
    auto booted = launch_kernel(name, settings.kernel, Child::Options{}, &reason);
    if (!booted) return failed(kFailed);
    kernel = std::move(*booted);
  } else if (!settings.machine.ram.empty() || !settings.kernel.program.empty()) {
    reason = fmt::format("--ram and --kernel are for a private machine: leave them out, or leave out --name {}", name);
    return failed(kUsage);
  }
  auto devices = ask_devices(name, &reason);
  if (!devices) return failed(kFailed);

  if (supervise) {
    auto status = run_supervised(program->path, settings.program, *devices, &reason);
    return status ? *status : failed(kFailed);
  }
  if (!preload(kShimLibrary, "or use --supervise", &reason)) return failed(kFailed);
  add_to_environment(wire::kSocketVariable, devices->socket);
  add_to_environment(wire::kPathsVariable, fmt::format("{}", fmt::join(devices->paths, ":")));
  int status = run_and_wait(*program, settings.program, &reason);
  if (!reason.empty()) return failed(status);
  return status;
}

}  // namespace

Verb add_run(CLI::App& app) {
  auto settings = std::make_shared<Settings>();
  settings->machine.devices = {"none"};
  CLI::App* command = app.add_subcommand("run", "run an unmodified program with the kernel's devices");
  command->add_option("--name", settings->name, "a running machine; default: a private one, which ends with the program")
      ->type_name("NAME")->check(check_name);
  command->add_option("--ram", settings->machine.ram, "RAM of the private machine, e.g. 1G")->type_name("SIZE")
      ->check([](const std::string& text) { return is_size(text) ? "" : "want a number with K, M, G or T"; });
  command->add_option("--kernel", settings->kernel.program, "the kernel of the private machine")
      ->type_name("BIN")->check(CLI::ExistingFile);
  command->add_flag("--supervise", settings->supervise,
                    "trap the program's system calls instead of preloading a library; the default for static programs "
                    "and those of Go");
  command->add_option("program", settings->program, "the program and its arguments")->required();
  command->footer(
      "The program sees /dev/liveupdate. Its exit status is returned; 126: it cannot be run here, 127: there is none.\n\n"
      "Example: causeway up --name vm && causeway run --name vm -- ./stage1 && causeway kexec --name vm &&\n"
      "         causeway run --name vm -- ./stage2");
  return {command, [command, settings] { return run(*command, *settings); }};
}

}  // namespace causeway::cli
