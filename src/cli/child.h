// A process this program started: a machine or a kernel.
//
//   Child kernel = CW_TRY(Child::start(path, {"--machine", name}, {.life = Child::Life::kWithParent}));
//   if (!kernel.running()) return fail_with(kernel.how_it_ended(), kernel.last_log_line());
//   kernel.release();   // from here on it lives its own life
//
// The destructor kills and reaps it. So does a SIGINT, SIGTERM or SIGHUP once stop_children_on_signals() was
// called, after which the signal has its ordinary effect. A child of Life::kWithParent ends in any case with
// the thread that started it, even on SIGKILL.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

#include "base/result.h"
#include "base/unique_fd.h"

namespace causeway::cli {

class Child {
 public:
  enum class Life : uint8_t { kWithParent, kDetached };
  struct Options {
    Life life = Life::kWithParent;
    bool share_stderr = false;   // the child's log goes to this program's stderr
    std::string log_file;        // or is appended to this file; else its first 64 KiB are kept in memory
  };

  Child() = default;
  Child(Child&& other) noexcept;
  Child& operator=(Child&& other) noexcept;
  ~Child() { stop(); }

  // It runs in a session of its own, so that the terminal's signals do not reach it. Errors: those of
  // open() for the log file, and of fork(). A program that cannot be executed ends with status 127.
  static Result<Child> start(const std::string& program, const std::vector<std::string>& arguments,
                             const Options& options);

  pid_t pid() const { return pid_; }
  explicit operator bool() const { return pid_ > 0; }
  bool running();
  // "exit status 1", "killed by SIGKILL"; "" while it runs.
  std::string how_it_ended();
  // Of what it logged, if that was kept in memory: everything, or the last line.
  std::string log() const;
  std::string last_log_line() const;

  // Waits at most `timeout_ms` for it to end by itself; false if it still runs.
  bool wait(unsigned timeout_ms);
  void stop();     // SIGKILL, and reaped
  void release();  // nobody's child any more

 private:
  pid_t pid_ = 0;
  bool ended_ = false;
  int status_ = 0;
  UniqueFd log_;
};

// A wait status as a shell gives it: the exit status, or 128 + signal.
int shell_status(int wait_status);
// What a shell returns for a program that is there and cannot be executed.
inline constexpr int kCannotExecute = 126;

void stop_children_on_signals();

}  // namespace causeway::cli
