#include "sync/futex.h"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>

namespace causeway::sync {
namespace {

int scope_flag(FutexScope scope) { return scope == FutexScope::kPrivate ? FUTEX_PRIVATE_FLAG : 0; }

}  // namespace

FutexWait futex_wait(const void* word, uint32_t expected, Deadline deadline, FutexScope scope) {
  // The bitset form takes an absolute CLOCK_MONOTONIC time; the plain one a relative one, which
  // would drift every time a wait is restarted.
  timespec limit{static_cast<time_t>(deadline.ns() / 1'000'000'000),
                 static_cast<long>(deadline.ns() % 1'000'000'000)};
  int saved_errno = errno;
  long result = ::syscall(SYS_futex, word, FUTEX_WAIT_BITSET | scope_flag(scope), expected,
                          deadline.is_never() ? nullptr : &limit, nullptr, FUTEX_BITSET_MATCH_ANY);
  int error = result == 0 ? 0 : errno;
  errno = saved_errno;
  if (error == EAGAIN) return FutexWait::kChanged;
  if (error == ETIMEDOUT) return FutexWait::kTimedOut;
  return FutexWait::kWoken;
}

int futex_wake(const void* word, int count, FutexScope scope) {
  int saved_errno = errno;
  long woken = ::syscall(SYS_futex, word, FUTEX_WAKE | scope_flag(scope), count, nullptr, nullptr, 0);
  errno = saved_errno;
  return woken > 0 ? static_cast<int>(woken) : 0;
}

}  // namespace causeway::sync
