#include "server/old_memory.h"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <climits>
#include <cstddef>

namespace causeway::server {

#if !CW_SANITIZED
namespace {

constexpr size_t kStackSize = 16 * 1024;
alignas(16) std::byte keeper_stack[kStackSize];

// Runs beside the thread that made it, in the same memory: raw system calls only, no lock, no allocation.
int keep_until_closed(void* read_end) {
  ::syscall(SYS_dup3, static_cast<int>(reinterpret_cast<intptr_t>(read_end)), 0, 0);
  ::syscall(SYS_close_range, 1U, UINT_MAX, 0U);
  char byte;
  ::syscall(SYS_read, 0, &byte, sizeof byte);  // until the other end is gone
  ::syscall(SYS_exit_group, 0);
  return 0;
}

}  // namespace

OldMemory OldMemory::keep() {
  OldMemory keeper;
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return keeper;
  UniqueFd read_end(ends[0]);
  keeper.alive_.reset(ends[1]);
  ::clone(keep_until_closed, keeper_stack + kStackSize, CLONE_VM | SIGCHLD,
          reinterpret_cast<void*>(static_cast<intptr_t>(read_end.get())));
  return keeper;
}
#else
// The sanitizers' own bookkeeping lives in the memory that would be shared.
OldMemory OldMemory::keep() { return {}; }
#endif

void OldMemory::reap_without_waiting() { ::signal(SIGCHLD, SIG_IGN); }

}  // namespace causeway::server
