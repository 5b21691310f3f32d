#include "cli/supervisor.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <iterator>
#include <memory>
#include <mutex>
#include <thread>

#include "base/unique_fd.h"
#include "cli/child.h"
#include "cli/syscall_filter.h"
#include "cli/trapped_call.h"
#include "hw/packet.h"

namespace causeway::cli {
namespace {

// Carries out trapped calls, as many at a time as there are: a call that blocks must not keep others waiting. But a caller
// that was killed or interrupted goes on at once here, where the kernel would have ended its call first: calls that came
// later wait for those.
class Workers {
 public:
  Workers(int listener, const Served& served) : listener_(listener), served_(served) {}
  ~Workers() {
    {
      std::lock_guard lock(mutex_);
      ending_ = true;
    }
    wake_.notify_all();
    for (std::thread& thread : threads_) thread.join();
  }

  void hand_over(const seccomp_notif& call) {
    std::lock_guard lock(mutex_);
    calls_.push_back(call);
    unfinished_.push_back(call.id);
    if (idle_ < calls_.size()) threads_.emplace_back([this] { work(); });
    wake_.notify_one();
  }

 private:
  void work() {
    client::Channel channel;
    std::unique_lock lock(mutex_);
    while (true) {
      ++idle_;
      wake_.wait(lock, [&] { return ending_ || !calls_.empty(); });
      --idle_;
      if (calls_.empty()) break;
      seccomp_notif call = calls_.front();
      calls_.pop_front();
      ended_.wait(lock, [&] { return !follows_one_left_behind(call.id); });
      lock.unlock();
      seccomp_notif_resp answer = TrappedCall(listener_, call, served_).carry_out(channel);
      ::ioctl(listener_, SECCOMP_IOCTL_NOTIF_SEND, &answer);  // ENOENT: a signal or its end took the caller away
      lock.lock();
      unfinished_.erase(std::find(unfinished_.begin(), unfinished_.end(), call.id));
      ended_.notify_all();
    }
    lock.unlock();
    channel.close();
  }

  bool follows_one_left_behind(uint64_t call) {
    auto is_left_behind = [&](uint64_t id) { return ::ioctl(listener_, SECCOMP_IOCTL_NOTIF_ID_VALID, &id) != 0; };
    return std::any_of(unfinished_.begin(), std::find(unfinished_.begin(), unfinished_.end(), call), is_left_behind);
  }

  const int listener_;
  const Served& served_;
  std::mutex mutex_;
  std::condition_variable wake_, ended_;
  std::deque<seccomp_notif> calls_;
  std::vector<uint64_t> unfinished_;  // ids of calls_ and of those being carried out, in the order they came
  size_t idle_ = 0;
  bool ending_ = false;
  std::vector<std::thread> threads_;
};

// Until nobody lives any more who could make a call.
void serve(int listener, const Served& served) {
  Workers workers(listener, served);
  while (true) {
    pollfd event{listener, POLLIN, 0};
    if (::poll(&event, 1, -1) < 0 && errno != EINTR) return;
    if ((event.revents & POLLIN) != 0) {
      seccomp_notif call{};
      if (::ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &call) == 0) workers.hand_over(call);
    } else if ((event.revents & (POLLHUP | POLLERR)) != 0) {
      return;
    }
  }
}

[[noreturn]] void become_program(int socket, const std::string& path, const std::vector<std::string>& words,
                                 const Served& served) {
  std::vector<char*> argv;
  for (const std::string& word : words) argv.push_back(const_cast<char*>(word.c_str()));
  argv.push_back(nullptr);
  std::vector<sock_filter> filter = make_filter(served.ioctl_types);
  Result<UniqueFd> listener = install_filter(filter);
  if (!listener) {
    int error = static_cast<int>(listener.error().code);
    [[maybe_unused]] ssize_t sent = ::send(socket, &error, sizeof error, MSG_NOSIGNAL);
    ::_exit(kCannotExecute);
  }
  int none = 0;
  if (!hw::send_packet(socket, &none, sizeof none, listener->get())) ::_exit(kCannotExecute);
  listener->reset();
  ::execv(path.c_str(), argv.data());
  ::_exit(kCannotExecute);
}

// This process may outlive the one that started it: a pipe it inherited would never come to its end.
void let_go_of_other_files(std::vector<int> kept) {
  UniqueFd null(::open("/dev/null", O_RDWR | O_CLOEXEC));
  for (int fd = 0; null && fd <= STDERR_FILENO; ++fd) ::dup2(null.get(), fd);
  null.reset();
  std::sort(kept.begin(), kept.end());
  unsigned next = STDERR_FILENO + 1;
  for (int fd : kept) {
    if (fd < static_cast<int>(next)) continue;
    if (static_cast<unsigned>(fd) > next) ::syscall(SYS_close_range, next, static_cast<unsigned>(fd) - 1, 0);
    next = static_cast<unsigned>(fd) + 1;
  }
  ::syscall(SYS_close_range, next, ~0u, 0);
}

// What the supervisor tells this process: the program's number, then its end.
struct Report {
  int error = 0;
  pid_t program = 0;
  int status = 0;
};

[[noreturn]] void supervise(int report_to, const std::string& path, const std::vector<std::string>& words,
                            const Served& served) {
  // The program gets these as they were (nohup); this process serves until the last of its programs has ended, whoever
  // reads its reports.
  constexpr int kIgnored[] = {SIGINT, SIGQUIT, SIGHUP, SIGTERM, SIGPIPE};
  sighandler_t before[std::size(kIgnored)];
  for (size_t i = 0; i < std::size(kIgnored); ++i) before[i] = ::signal(kIgnored[i], SIG_IGN);
  int ends[2];
  Report report;
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0) ::_exit(kCannotExecute);
  report.program = ::fork();
  if (report.program == 0) {
    for (size_t i = 0; i < std::size(kIgnored); ++i) ::signal(kIgnored[i], before[i]);
    become_program(ends[1], path, words, served);
  }
  ::close(ends[1]);
  // The program sends its listener, or the error that it has none because of.
  UniqueFd listener;
  if (auto packet = hw::receive_packet(ends[0], &report.error, sizeof report.error)) listener = std::move(packet->fd);
  if (listener) report.error = 0;
  let_go_of_other_files({report_to, listener.get(), ends[0]});
  [[maybe_unused]] ssize_t told = ::write(report_to, &report, sizeof report);
  if (!listener) ::_exit(kCannotExecute);
  std::thread waiter([&, program = report.program] {
    while (::waitpid(program, &report.status, 0) < 0 && errno == EINTR) {
    }
    [[maybe_unused]] ssize_t ended = ::write(report_to, &report, sizeof report);
    ::close(report_to);
  });
  serve(listener.get(), served);
  waiter.join();
  ::_exit(0);
}

}  // namespace

Result<int> run_supervised(const std::string& path, const std::vector<std::string>& words, const Served& served,
                           std::string* reason) {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return fail_with_errno("no pipe");
  UniqueFd reports(ends[0]);
  pid_t supervisor = ::fork();
  if (supervisor == 0) {
    reports.reset();
    supervise(ends[1], path, words, served);
  }
  ::close(ends[1]);
  Report report;
  bool started = supervisor > 0 && ::read(reports.get(), &report, sizeof report) == sizeof report && report.error == 0;
  if (!started) {
    int error = report.error != 0 ? report.error : EAGAIN;
    *reason = fmt::format("cannot trap the system calls of '{}': {}. The host needs seccomp user notification (Linux 5.9, "
                          "and no sandbox that forbids it)", path, std::strerror(error));
    return fail(error, "cannot supervise");
  }
  for (int signal : {SIGINT, SIGQUIT}) ::signal(signal, SIG_IGN);
  static volatile sig_atomic_t program;
  program = report.program;
  for (int signal : {SIGTERM, SIGHUP}) ::signal(signal, [](int number) { ::kill(static_cast<pid_t>(program), number); });
  ssize_t got;
  while ((got = ::read(reports.get(), &report, sizeof report)) < 0 && errno == EINTR) {
  }
  if (got != sizeof report) {
    *reason = fmt::format("the supervisor of '{}' died", path);
    return fail(ECHILD, "the supervisor died");
  }
  return shell_status(report.status);
}

}  // namespace causeway::cli
