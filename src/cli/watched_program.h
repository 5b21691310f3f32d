// A stranger's program that is run while something is done beside it.
//
//   WatchedProgram program = CW_TRY(WatchedProgram::start(path, words));
//   while (!program.wait(20)) look_again();
//   return program.status();
//
// It has our standard streams and our process group: the terminal's signals reach it without us. SIGTERM, SIGHUP, SIGUSR1 and SIGUSR2,
// and a SIGINT or SIGQUIT that a process sent, are passed on. A SIGINT does not end us; `interrupted()` says there was one.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"
#include "base/unique_fd.h"

namespace causeway::cli {

class WatchedProgram {
 public:
  static Result<WatchedProgram> start(const std::string& path, std::vector<std::string> words);

  int pid() const { return pid_; }
  // True once it has ended; false if it still runs after `timeout_ms`.
  bool wait(int timeout_ms);
  // As a shell gives it.
  int status() const { return status_; }
  // That ended it; 0: none did.
  int signal() const { return signal_; }
  // Once for each time that the user asked.
  static bool interrupted();

 private:
  WatchedProgram(int pid, UniqueFd pidfd) : pid_(pid), pidfd_(std::move(pidfd)) {}
  int pid_;
  UniqueFd pidfd_;
  int status_ = 0;
  bool ended_ = false;
  int signal_ = 0;
};

}  // namespace causeway::cli
