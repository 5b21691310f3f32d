#include "cli/watched_program.h"

#include <poll.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>

#include "cli/child.h"

namespace causeway::cli {
namespace {

volatile sig_atomic_t forward_to = 0;
volatile sig_atomic_t interruptions = 0;

constexpr std::array kForwarded = {SIGTERM, SIGHUP, SIGUSR1, SIGUSR2, SIGINT, SIGQUIT};

void forward(int signal, siginfo_t* info, void*) {
  const int saved = errno;
  // The kernel's own came from the terminal, and went to the whole group.
  const bool from_terminal = (signal == SIGINT || signal == SIGQUIT) && info->si_code == SI_KERNEL;
  if (!from_terminal && forward_to > 0) ::kill(static_cast<pid_t>(forward_to), signal);
  if (signal == SIGINT || signal == SIGQUIT) interruptions = interruptions + 1;
  errno = saved;
}

}  // namespace

Result<WatchedProgram> WatchedProgram::start(const std::string& path, std::vector<std::string> words) {
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  std::array<struct sigaction, kForwarded.size()> before;
  struct sigaction catching{};
  catching.sa_sigaction = forward;
  catching.sa_flags = SA_SIGINFO;
  // Before it is there, so that none is lost; what was ignored (nohup) stays so, for it and for us.
  forward_to = 0;
  for (size_t i = 0; i < kForwarded.size(); ++i) {
    ::sigaction(kForwarded[i], nullptr, &before[i]);
    if (before[i].sa_handler != SIG_IGN) ::sigaction(kForwarded[i], &catching, nullptr);
  }
  // Who reads what we say may stop reading; the program and the files at the end do not depend on that.
  struct sigaction pipe_before{}, ignoring{};
  ignoring.sa_handler = SIG_IGN;
  ::sigaction(SIGPIPE, &ignoring, &pipe_before);
  const pid_t child = ::fork();
  if (child == 0) {
    for (size_t i = 0; i < kForwarded.size(); ++i) ::sigaction(kForwarded[i], &before[i], nullptr);
    ::sigaction(SIGPIPE, &pipe_before, nullptr);
    ::execv(path.c_str(), argv.data());
    ::_exit(kCannotExecute);
  }
  if (child < 0) return fail_with_errno("cannot start the program");
  forward_to = child;
  UniqueFd pidfd(static_cast<int>(::syscall(SYS_pidfd_open, child, 0)));
  return WatchedProgram(child, std::move(pidfd));
}

bool WatchedProgram::wait(int timeout_ms) {
  if (ended_) return true;
  pollfd ready{pidfd_.get(), POLLIN, 0};
  ::poll(&ready, pidfd_ ? 1 : 0, timeout_ms);
  int status = 0;
  if (::waitpid(pid_, &status, WNOHANG) != pid_) return false;
  forward_to = 0;
  ended_ = true;
  if (WIFSIGNALED(status)) signal_ = WTERMSIG(status);
  status_ = shell_status(status);
  return true;
}

bool WatchedProgram::interrupted() {
  static sig_atomic_t seen = 0;
  if (interruptions == seen) return false;
  seen = interruptions;
  return true;
}

}  // namespace causeway::cli
