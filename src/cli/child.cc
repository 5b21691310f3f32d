#include "cli/child.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <atomic>

#include "base/clock.h"

namespace causeway::cli {
namespace {

constexpr off_t kLogSize = 64 << 10;
constexpr int kSignals[] = {SIGINT, SIGTERM, SIGHUP};

// What the signal handler has to stop; 0: a free entry.
constexpr unsigned kMaxChildren = 16;
std::atomic<pid_t> g_children[kMaxChildren];
static_assert(std::atomic<pid_t>::is_always_lock_free);

void enroll(pid_t pid) {
  for (auto& entry : g_children) {
    pid_t free = 0;
    if (entry.compare_exchange_strong(free, pid)) return;
  }
}
void strike_off(pid_t pid) {
  for (auto& entry : g_children) {
    pid_t own = pid;
    if (entry.compare_exchange_strong(own, 0)) return;
  }
}

void stop_children(int signal) {
  for (auto& entry : g_children) {
    pid_t pid = entry.load();
    if (pid > 0) ::kill(pid, SIGKILL);
  }
  for (auto& entry : g_children) {
    pid_t pid = entry.load();
    if (pid > 0) ::waitpid(pid, nullptr, 0);
  }
  ::signal(signal, SIG_DFL);
  ::raise(signal);
}

// No signal may come between fork() and the child being enrolled.
class SignalsBlocked {
 public:
  SignalsBlocked() {
    sigset_t set;
    sigemptyset(&set);
    for (int signal : kSignals) sigaddset(&set, signal);
    sigprocmask(SIG_BLOCK, &set, &old_);
  }
  ~SignalsBlocked() { restore(); }
  void restore() { sigprocmask(SIG_SETMASK, &old_, nullptr); }

 private:
  sigset_t old_;
};

// A log of bounded size with nobody reading it: a memfd that cannot grow, so that a line too many is an
// error for the writer to ignore, where a pipe without a reader would kill it.
Result<UniqueFd> bounded_log() {
  UniqueFd log(memfd_create("causeway-log", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!log) return fail_with_errno("memfd_create for a log");
  if (::ftruncate(log.get(), kLogSize) != 0) return fail_with_errno("ftruncate of a log");
  if (::fcntl(log.get(), F_ADD_SEALS, F_SEAL_GROW | F_SEAL_SHRINK) != 0)
    return fail_with_errno("sealing a log");
  return log;
}

[[noreturn]] void become(const std::string& program, const std::vector<char*>& argv, pid_t parent,
                         const Child::Options& options, int log) {
  if (options.life == Child::Life::kWithParent) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (::getppid() != parent) ::_exit(127);  // the parent was faster
  }
  ::setsid();
  int null = ::open("/dev/null", O_RDWR | O_CLOEXEC);
  ::dup2(null, STDIN_FILENO);
  ::dup2(null, STDOUT_FILENO);
  if (!options.share_stderr) ::dup2(log, STDERR_FILENO);
  ::execv(program.c_str(), argv.data());
  ::dprintf(STDERR_FILENO, "cannot execute %s: %s\n", program.c_str(), strerrordesc_np(errno));
  ::_exit(127);
}

void sleep_ms(unsigned ms) {
  timespec time{ms / 1000, static_cast<long>(ms % 1000) * 1'000'000};
  ::nanosleep(&time, nullptr);
}

}  // namespace

Child::Child(Child&& other) noexcept { *this = std::move(other); }

Child& Child::operator=(Child&& other) noexcept {
  if (this == &other) return *this;
  stop();
  pid_ = std::exchange(other.pid_, 0);
  ended_ = other.ended_;
  status_ = other.status_;
  log_ = std::move(other.log_);
  return *this;
}

Result<Child> Child::start(const std::string& program, const std::vector<std::string>& arguments,
                           const Options& options) {
  Child child;
  UniqueFd log;
  if (!options.log_file.empty()) {
    log.reset(::open(options.log_file.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644));
    if (!log) return fail_with_errno("cannot open the log file");
  } else if (!options.share_stderr) {
    log = CW_TRY(bounded_log());
    child.log_.reset(::fcntl(log.get(), F_DUPFD_CLOEXEC, 0));
  }
  std::vector<std::string> words{program};
  words.insert(words.end(), arguments.begin(), arguments.end());
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);

  SignalsBlocked blocked;
  pid_t parent = ::getpid();
  pid_t pid = ::fork();
  if (pid < 0) return fail_with_errno("fork");
  if (pid == 0) {
    for (int signal : kSignals) ::signal(signal, SIG_DFL);
    blocked.restore();
    become(program, argv, parent, options, log.get());
  }
  enroll(pid);
  child.pid_ = pid;
  return child;
}

bool Child::running() {
  if (pid_ <= 0) return false;
  if (!ended_ && ::waitpid(pid_, &status_, WNOHANG) == pid_) {
    strike_off(pid_);
    ended_ = true;
  }
  return !ended_;
}

std::string Child::how_it_ended() {
  if (running() || pid_ <= 0) return "";
  if (WIFSIGNALED(status_)) return fmt::format("killed by SIG{}", sigabbrev_np(WTERMSIG(status_)));
  return fmt::format("exit status {}", WEXITSTATUS(status_));
}

std::string Child::log() const {
  if (!log_) return "";
  std::string text(kLogSize, '\0');
  ssize_t bytes = ::pread(log_.get(), text.data(), text.size(), 0);
  text.resize(bytes > 0 ? strnlen(text.data(), static_cast<size_t>(bytes)) : 0);
  return text;
}

std::string Child::last_log_line() const {
  std::string text = log();
  while (!text.empty() && text.back() == '\n') text.pop_back();
  size_t newline = text.rfind('\n');
  return newline == std::string::npos ? text : text.substr(newline + 1);
}

bool Child::wait(unsigned timeout_ms) {
  for (uint64_t end = monotonic_ns() + uint64_t{timeout_ms} * 1'000'000; running();) {
    if (monotonic_ns() >= end) return false;
    sleep_ms(2);
  }
  return true;
}

void Child::stop() {
  if (running()) {
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, &status_, 0);
    strike_off(pid_);
  }
  pid_ = 0;
  ended_ = false;
}

void Child::release() {
  if (pid_ > 0 && !ended_) strike_off(pid_);
  pid_ = 0;
  ended_ = false;
}

int shell_status(int wait_status) {
  return WIFSIGNALED(wait_status) ? 128 + WTERMSIG(wait_status) : WEXITSTATUS(wait_status);
}

void stop_children_on_signals() {
  struct sigaction action {};
  action.sa_handler = stop_children;
  sigemptyset(&action.sa_mask);
  for (int signal : kSignals) sigaddset(&action.sa_mask, signal);
  for (int signal : kSignals) ::sigaction(signal, &action, nullptr);
}

}  // namespace causeway::cli
