// Takes the dismantling of this process's memory off the path of an execve().
//
//   OldMemory keeper = OldMemory::keep();   // just before the jump
//   ::execve(...);                          // returns only on failure; then `keeper` ends by itself
//
// execve() frees the caller's address space before the new program starts, and that takes time for every page
// that was mapped: milliseconds of blackout for thousands of preserved allocations. A kexec does not
// free the old kernel's memory either. So a second process shares the address space for a moment
// (CLONE_VM); it ends as soon as the jump has happened, or this process has died, and the memory goes with it on
// another CPU. It uses no memory but its own small stack, holds no descriptor but one end of a pipe,
// and is reaped without anybody waiting for it, because the kernel's main() ignores SIGCHLD.
#pragma once

#include "base/unique_fd.h"

namespace causeway::server {

class OldMemory {
 public:
  // Never fails: without a keeper the jump is slower.
  static OldMemory keep();
  // Tells main() to have keepers reaped.
  static void reap_without_waiting();

 private:
  // Closed by the jump, by death, or by the destructor: the keeper ends.
  UniqueFd alive_;
};

}  // namespace causeway::server
