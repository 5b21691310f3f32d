// Runs a program whose system calls are trapped (seccomp user notification), for programs that nothing can be preloaded
// into: static ones, those of Go, those that make system calls themselves, VMMs with a filter of their own.
//
//   auto status = run_supervised("/usr/bin/vmm", {"vmm", "--api"}, {socket, {"/dev/liveupdate"}, {0xba}}, &reason);
//
// Only open, stat and access calls, and ioctls of the kernel's types, are trapped; those that are not about the
// kernel's devices go on at once. Nothing runs inside the program: its memory is read and written by the supervisor, its
// descriptors are installed by the host's kernel. The filter is inherited, so everything the program starts is served
// too; the supervisor, a process of its own between this one and the program, ends when the last of them has.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"

namespace causeway::cli {

struct Served {
  std::string socket;                 // the kernel's client socket
  std::vector<std::string> paths;
  std::vector<unsigned> ioctl_types;  // _IOC_TYPE of the devices' ioctls
};

// The program's exit status as a shell gives it (128 + signal). ENOSYS and EPERM: the host has no user notification.
Result<int> run_supervised(const std::string& path, const std::vector<std::string>& words, const Served& served,
                           std::string* reason);

}  // namespace causeway::cli
