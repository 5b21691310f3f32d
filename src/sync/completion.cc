#include "sync/completion.h"

#include <bit>

#include "sync/futex.h"
#include "sync/owner.h"

namespace causeway::sync {

static_assert(std::endian::native == std::endian::little, "sleepers wait on the first half of word_");

Completion::~Completion() {
  if (detail::kChecks && word_.load(std::memory_order_relaxed) >= kWaiter)
    detail::die("completion", name_, "destroyed while threads wait on it", 0, SourceLocation::current());
  track::destroyed(object());
}

void Completion::complete(SourceLocation where) { add(1, 1, where); }
void Completion::complete_all(SourceLocation where) { add(kAll, kFutexWakeAll, where); }

void Completion::add(uint32_t completions, int wake, SourceLocation where) {
  track::event(object(), wake == 1 ? track::Wakes::kOne : track::Wakes::kAll, where);
  const void* sleepers = &word_;
  uint64_t word = word_.load(std::memory_order_relaxed);
  uint64_t next;
  do {
    uint32_t now = count(word);
    uint32_t then = now > kAll - completions ? kAll : now + completions;
    next = (word & ~uint64_t{kAll}) | then;
  } while (!word_.compare_exchange_weak(word, next, std::memory_order_release, std::memory_order_relaxed));
  // A waiter may have returned and taken the object with it; its address is all that is used from here.
  if (word >= kWaiter) futex_wake(sleepers, wake);
}

bool Completion::try_wait() {
  uint64_t word = word_.load(std::memory_order_acquire);
  while (count(word) != 0) {
    if (count(word) == kAll) return true;
    if (word_.compare_exchange_weak(word, word - 1, std::memory_order_acquire)) return true;
  }
  return false;
}

bool Completion::wait_until(Deadline deadline, SourceLocation where) {
  if (try_wait()) {
    track::passed(object(), where);
    return true;
  }
  track::wait_begin(object(), nullptr, deadline.is_never() ? track::Timeout::kNone : track::Timeout::kSome, where);
  uint64_t word = word_.fetch_add(kWaiter, std::memory_order_acquire) + kWaiter;
  bool timed_out = false;
  bool taken = false;
  // One exchange both leaves and takes, if there is one to take: no access of ours may follow it.
  while (true) {
    taken = count(word) != 0;
    if (taken || timed_out) {
      uint64_t take = taken && count(word) != kAll ? 1 : 0;
      if (word_.compare_exchange_weak(word, word - kWaiter - take, std::memory_order_acquire)) break;
      continue;
    }
    timed_out = futex_wait(&word_, 0, deadline) == FutexWait::kTimedOut;
    word = word_.load(std::memory_order_acquire);
  }
  track::wait_end(object(), taken ? track::Outcome::kEvent : track::Outcome::kTimeout, where);
  return taken;
}

void Completion::reinit() { word_.fetch_and(~uint64_t{kAll}, std::memory_order_relaxed); }

}  // namespace causeway::sync
