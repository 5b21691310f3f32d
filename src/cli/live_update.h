// One live update, seen from outside: ask the running kernel, wait for the next one, look at its first work.
//
//   LiveUpdate update = CW_TRY(live_update(kernel_socket, "/usr/libexec/causeway-kernel-next", &reason));
//   update.after.total().blackout_ns;
#pragma once

#include <string>

#include "base/result.h"
#include "cli/snapshot.h"
#include "server/control.h"

namespace causeway::cli {

struct LiveUpdate {
  Snapshot before;
  Snapshot after;          // taken at the new kernel's first work, or when that did not come in time
  uint64_t request_ns = 0;  // from the request to the new kernel's first answer
  server::Reply last_words; // of the old kernel; empty if they were lost in the jump
};

// `target`: absolute path, and whatever else the kernel's `kexec` request takes; `dump`: descriptor of the file that the
// handover is written into first, -1: none. On an error `reason` is a sentence for people. Errors:
//   ENOTCONN      no kernel answered in the first place
//   ECANCELED     refused; the old kernel goes on
//   ECONNREFUSED  the new kernel died at boot; machine and devices run on
//   ETIMEDOUT     it neither answers nor dies
Result<LiveUpdate> live_update(const std::string& kernel_socket, const std::string& target, std::string* reason,
                               int dump = -1);

}  // namespace causeway::cli
