// Waits for the end of a process that is nobody's child of ours: the one behind a socket.
//
//   auto watch = CW_TRY(ProcessWatch::of_peer(socket.get()));
//   ... ask it to end ...
//   if (!watch.wait(10000)) complain("process {} still runs", watch.pid());
#pragma once

#include "base/result.h"
#include "base/unique_fd.h"

namespace causeway::cli {

class ProcessWatch {
 public:
  // The process that listens on, or made, the other end of a connected unix socket. ESRCH: it has ended.
  static Result<ProcessWatch> of_peer(int socket);

  int pid() const { return pid_; }
  // True once it has ended; false if it still runs after `timeout_ms`.
  bool wait(unsigned timeout_ms) const;

 private:
  ProcessWatch(UniqueFd pidfd, int pid) : pidfd_(std::move(pidfd)), pid_(pid) {}
  UniqueFd pidfd_;
  int pid_;
};

}  // namespace causeway::cli
