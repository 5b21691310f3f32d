#include "sync/cond_var.h"

#include "sync/futex.h"

namespace causeway::sync {

CondVar::~CondVar() {
  if (detail::kChecks && waiters_.load(std::memory_order_relaxed) != 0)
    detail::die("condvar", name_, "destroyed while threads wait on it", 0, SourceLocation::current());
  track::destroyed(object());
}

bool CondVar::sleep(Mutex& mutex, Deadline deadline, SourceLocation where) {
  mutex.owner_.check_me("mutex", mutex.name_, "waited with, but not held,", where);
  // Before the mutex is released: whoever changes the data under it afterwards sees a waiter and the
  // signal we compare with.
  waiters_.fetch_add(1, std::memory_order_relaxed);
  uint32_t signal = signal_.load(std::memory_order_relaxed);
  const track::Object released = mutex.object();
  track::wait_begin(object(), &released, deadline.is_never() ? track::Timeout::kNone : track::Timeout::kSome, where);
  mutex.give_up();
  FutexWait result = futex_wait(&signal_, signal, deadline);
  track::wait_end(object(), result == FutexWait::kTimedOut ? track::Outcome::kTimeout : track::Outcome::kEvent, where);
  mutex.take_back();
  // With the mutex held, so that an owner who takes it may conclude from its data that we are gone.
  waiters_.fetch_sub(1, std::memory_order_relaxed);
  return result != FutexWait::kTimedOut;
}

void CondVar::notify_one(SourceLocation where) { notify(1, where); }
void CondVar::notify_all(SourceLocation where) { notify(kFutexWakeAll, where); }

void CondVar::notify(int count, SourceLocation where) {
  track::event(object(), count == 1 ? track::Wakes::kOne : track::Wakes::kAll, where);
  if (waiters_.load(std::memory_order_relaxed) == 0) return;
  signal_.fetch_add(1, std::memory_order_relaxed);
  futex_wake(&signal_, count);
}

}  // namespace causeway::sync
