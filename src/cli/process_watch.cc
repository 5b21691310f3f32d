#include "cli/process_watch.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/clock.h"

namespace causeway::cli {

Result<ProcessWatch> ProcessWatch::of_peer(int socket) {
  ucred peer{};
  socklen_t size = sizeof peer;
  if (::getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0)
    return fail_with_errno("cannot tell who is at the other end of a socket");
  UniqueFd pidfd(static_cast<int>(::syscall(SYS_pidfd_open, peer.pid, 0)));
  if (!pidfd) return fail_with_errno("cannot watch the process at the other end of a socket");
  return ProcessWatch(std::move(pidfd), peer.pid);
}

bool ProcessWatch::wait(unsigned timeout_ms) const {
  const uint64_t end = monotonic_ns() + uint64_t{timeout_ms} * 1'000'000;
  while (true) {
    pollfd ended{pidfd_.get(), POLLIN, 0};
    uint64_t now = monotonic_ns();
    int left_ms = now >= end ? 0 : static_cast<int>((end - now) / 1'000'000 + 1);
    int ready = ::poll(&ended, 1, left_ms);
    if (ready == 1) return true;
    if (ready == 0 && left_ms == 0) return false;
  }
}

}  // namespace causeway::cli
