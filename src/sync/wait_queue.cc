#include "sync/wait_queue.h"

#include "sync/futex.h"
#include "sync/owner.h"

namespace causeway::sync {

WaitQueue::~WaitQueue() {
  if (detail::kChecks && waiters_.load(std::memory_order_relaxed) != 0)
    detail::die("waitqueue", name_, "destroyed while threads wait on it", 0, SourceLocation::current());
  track::destroyed(object());
}

void WaitQueue::sleep(uint32_t signal, Deadline deadline, SourceLocation where) {
  track::wait_begin(object(), nullptr, deadline.is_never() ? track::Timeout::kNone : track::Timeout::kSome, where);
  FutexWait result = futex_wait(&signal_, signal, deadline);
  track::wait_end(object(), result == FutexWait::kTimedOut ? track::Outcome::kTimeout : track::Outcome::kEvent, where);
}

void WaitQueue::wake_one(SourceLocation where) { wake(1, where); }
void WaitQueue::wake_all(SourceLocation where) { wake(kFutexWakeAll, where); }

void WaitQueue::wake(int count, SourceLocation where) {
  track::event(object(), count == 1 ? track::Wakes::kOne : track::Wakes::kAll, where);
  // A read that cannot move before the caller's change of the condition: an addition of nothing.
  if (waiters_.fetch_add(0, std::memory_order_acq_rel) == 0) return;
  signal_.fetch_add(1, std::memory_order_release);
  futex_wake(&signal_, count);
}

}  // namespace causeway::sync
