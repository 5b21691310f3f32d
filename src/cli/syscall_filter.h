// The seccomp filter of a supervised program: which of its system calls are put before the supervisor.
//
//   std::vector<sock_filter> filter = make_filter({0xba});
//   int listener = install_filter(filter);    // in the program, before execve()
#pragma once

#include <linux/filter.h>

#include <vector>

#include "base/result.h"
#include "base/unique_fd.h"

namespace causeway::cli {

// `ioctl_types`: _IOC_TYPE of the ioctls to trap.
std::vector<sock_filter> make_filter(const std::vector<unsigned>& ioctl_types);

// For the calling thread and what it becomes. The listener is close-on-exec.
Result<UniqueFd> install_filter(std::vector<sock_filter>& filter);

}  // namespace causeway::cli
