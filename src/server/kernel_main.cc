// causeway-kernel: one generation of the stack as a process. A live update replaces it by execve().
#include <fcntl.h>
#include <fmt/core.h>
#include <getopt.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <charconv>
#include <cstdio>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "base/log.h"
#include "base/point.h"
#include "kernel/kernel.h"
#include "kernel/version.h"
#include "server/client_server.h"
#include "server/control.h"
#include "server/control_server.h"
#include "server/old_memory.h"

namespace causeway::server {
namespace {

constexpr char kHelp[] = R"(usage: causeway-kernel --machine NAME --control NAME [OPTION]...

One generation of the stack, on a running machine. Usually started by `causeway up`.

  --machine NAME      abstract socket of the machine
  --control NAME      abstract socket to answer control requests on
  --control-fd N      the same, a listening descriptor that is open already
  --clients NAME      abstract socket to serve client programs on
  --clients-fd N      the same, a listening descriptor that is open already
  --cmdline WORDS     kernel command line, e.g. "kho=on dma_engine.rate=2000"
  --point NAME=ACTION[:N]  kill, fail or pause at the Nth hit of a named point (not in release builds)
  --list-points       print the named points of this build, one a line
  --log-level LEVEL   debug, info, warning or error
  --die-with-parent   end when the parent process ends
  --version           print the release of this kernel
  --help

example: causeway-machine --listen demo & causeway-kernel --machine demo --control demo-kernel
)";

struct Options {
  std::string machine;
  std::string control;
  int control_fd = -1;
  std::string clients;
  int clients_fd = -1;
  std::string command_line;
  std::vector<std::string> points;
  std::string log_level;
  bool die_with_parent = false;
};

[[noreturn]] void usage_error(const std::string& message) {
  fmt::print(stderr, "causeway-kernel: {}; see causeway-kernel --help\n", message);
  std::exit(2);
}

int parse_descriptor(const char* option, const char* text) {
  int fd = -1;
  auto [end, error] = std::from_chars(text, text + std::strlen(text), fd);
  if (error != std::errc{} || *end != '\0' || fd < 0) usage_error(fmt::format("{}: '{}' is no descriptor", option, text));
  return fd;
}

Options parse(int argc, char** argv) {
  enum : int { kMachine = 1000, kControl, kControlFd, kClients, kClientsFd, kCmdline, kPoint, kListPoints, kLogLevel, kDie, kVersion, kHelpFlag };
  const option table[] = {{"machine", required_argument, nullptr, kMachine},
                          {"control", required_argument, nullptr, kControl},
                          {"control-fd", required_argument, nullptr, kControlFd},
                          {"clients", required_argument, nullptr, kClients},
                          {"clients-fd", required_argument, nullptr, kClientsFd},
                          {"cmdline", required_argument, nullptr, kCmdline},
                          {"point", required_argument, nullptr, kPoint},
                          {"list-points", no_argument, nullptr, kListPoints},
                          {"log-level", required_argument, nullptr, kLogLevel},
                          {"die-with-parent", no_argument, nullptr, kDie},
                          {"version", no_argument, nullptr, kVersion},
                          {"help", no_argument, nullptr, kHelpFlag},
                          {nullptr, 0, nullptr, 0}};
  Options options;
  opterr = 0;
  for (int which; (which = ::getopt_long(argc, argv, "", table, nullptr)) != -1;) {
    switch (which) {
      case kMachine: options.machine = optarg; break;
      case kControl: options.control = optarg; break;
      case kControlFd: options.control_fd = parse_descriptor("--control-fd", optarg); break;
      case kClients: options.clients = optarg; break;
      case kClientsFd: options.clients_fd = parse_descriptor("--clients-fd", optarg); break;
      case kCmdline: options.command_line = optarg; break;
      case kPoint: options.points.emplace_back(optarg); break;
      case kListPoints:
        for (const point::Point* point : point::list()) fmt::print("{}\n", point->name);
        std::exit(0);
      case kLogLevel: options.log_level = optarg; break;
      case kDie: options.die_with_parent = true; break;
      case kVersion: fmt::print("{}\n", kernel::release()); std::exit(0);
      case kHelpFlag: fmt::print("{}", kHelp); std::exit(0);
      default: usage_error(fmt::format("unknown or incomplete option '{}'", argv[optind - 1]));
    }
  }
  if (optind != argc) usage_error(fmt::format("unexpected word '{}'", argv[optind]));
  if (options.machine.empty()) usage_error("--machine is missing");
  if (options.control.empty() && options.control_fd < 0) usage_error("--control is missing");
  return options;
}

bool set_log_level(const std::string& name) {
  for (log::Level level : {log::Level::kDebug, log::Level::kInfo, log::Level::kWarn, log::Level::kError}) {
    if (name == log::name_of(level)) return log::set_level(level), true;
  }
  return name.empty();
}

// The sockets that outlive the jump: what comes in the blackout waits in their backlogs.
struct Listeners {
  UniqueFd control;
  UniqueFd clients;  // empty: no client programs

  Status open(const Options& options) {
    control.reset(options.control_fd);
    if (!control) control = CW_TRY(listen_on(options.control, SOCK_STREAM));
    clients.reset(options.clients_fd);
    if (!clients && !options.clients.empty()) clients = CW_TRY(listen_on(options.clients, SOCK_SEQPACKET));
    return {};
  }
  void set_close_on_exec(int flag) const {
    ::fcntl(control.get(), F_SETFD, flag);
    if (clients) ::fcntl(clients.get(), F_SETFD, flag);
  }
};

// execve() of the next kernel with our own options, the listening sockets and its points.
Error jump_to(const Options& options, const Listeners& listeners, memfd::FrozenFiles& frozen, const std::string& path,
              const std::vector<std::string>& points) {
  std::vector<std::string> words{path, "--machine", options.machine, "--control", options.control,
                                 "--control-fd", fmt::format("{}", listeners.control.get()), "--cmdline",
                                 options.command_line};
  if (listeners.clients) {
    words.insert(words.end(), {"--clients", options.clients, "--clients-fd",
                               fmt::format("{}", listeners.clients.get())});
  }
  for (const std::string& point : points) words.insert(words.end(), {"--point", point});
  if (!options.log_level.empty()) words.insert(words.end(), {"--log-level", options.log_level});
  if (options.die_with_parent) words.emplace_back("--die-with-parent");
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  CW_POINT("server.jump.before_exec");
  OldMemory keeper = OldMemory::keep();
  listeners.set_close_on_exec(0);
  frozen.retire();
  ::execve(path.c_str(), argv.data(), environ);
  Error error{Errno{errno}, "execve", SourceLocation::current()};
  frozen.unretire();
  listeners.set_close_on_exec(FD_CLOEXEC);
  return error;
}

// A preserved file of a client is a descriptor here.
void raise_descriptor_limit() {
  rlimit files;
  if (::getrlimit(RLIMIT_NOFILE, &files) != 0 || files.rlim_cur >= files.rlim_max) return;
  files.rlim_cur = files.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &files);
}

int run(const Options& options) {
  raise_descriptor_limit();
  if (options.die_with_parent) ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (!set_log_level(options.log_level)) usage_error(fmt::format("--log-level: '{}' is none", options.log_level));
  for (const std::string& spec : options.points)
    if (Status armed = point::arm(spec); !armed) usage_error(fmt::format("--point {}: {}", spec, armed.error().message));
  std::string problem;
  Result<kernel::BootParams> params = kernel::parse_command_line(options.command_line, &problem);
  if (!params) usage_error(problem);

  OldMemory::reap_without_waiting();
  // Signals are read, not handled; blocked before the first thread starts.
  sigset_t ending;
  sigemptyset(&ending);
  sigaddset(&ending, SIGTERM);
  sigaddset(&ending, SIGINT);
  ::sigprocmask(SIG_BLOCK, &ending, nullptr);
  // A dump that meets a limit on the size of files is a failed write, not the end of this kernel.
  ::signal(SIGXFSZ, SIG_IGN);
  UniqueFd signals(::signalfd(-1, &ending, SFD_CLOEXEC));

  auto failed = [](const char* what, const Error& error) {
    fmt::print(stderr, "causeway-kernel: {}: {}\n", what, to_string(error));
    return 1;
  };
  Listeners listeners;
  if (Status opened = listeners.open(options); !opened) return failed("sockets", opened.error());
  listeners.set_close_on_exec(FD_CLOEXEC);
  Result<UniqueFd> machine = connect_to(options.machine, SOCK_SEQPACKET);
  if (!machine) return failed("no machine; start one with `causeway up`", machine.error());
  Result<std::unique_ptr<kernel::Kernel>> booted = kernel::Kernel::boot(std::move(*machine), *params);
  if (!booted) return failed("cannot boot", booted.error());
  kernel::Kernel& kernel = **booted;
  std::unique_ptr<ClientServer> clients;
  if (listeners.clients) {
    auto started = ClientServer::start(listeners.clients.get(), kernel.devices(), options.clients + "/",
                                       &kernel.frozen_files());
    if (!started) return failed("client programs", started.error());
    clients = std::move(*started);
  }
  fmt::print("ready\n");
  std::fflush(stdout);

  ControlServer server(kernel, listeners.control.get(),
                       [&](const std::string& path, const std::vector<std::string>& points) {
                         return jump_to(options, listeners, kernel.frozen_files(), path, points);
                       });
  Status ended = server.run(signals.get());
  listeners.control.reset();
  clients.reset();
  kernel.shutdown();
  return ended ? 0 : failed("control socket", ended.error());
}

}  // namespace
}  // namespace causeway::server

int main(int argc, char** argv) { return causeway::server::run(causeway::server::parse(argc, argv)); }
