// What all condition variables have in common, however they are called: POSIX's and C11's.
//
//   return condition::wait(cond, mutex, CW_SITE, condition::Limit::kNone, pthread_results, [=] { return CW_REAL(...)(cond, mutex); });
//
// A cancelled wait: the C library has taken the mutex again before the first cleanup handler runs, and ours is the first.
#pragma once

#include <errno.h>
#include <pthread.h>

#include "dept/known_wakes.h"
#include "interpose/bootstrap.h"
#include "interpose/sleeping.h"

namespace causeway::interpose {

// How a family of functions says what happened.
struct Results {
  int ok;
  int timed_out;
};
inline constexpr Results pthread_results{0, ETIMEDOUT};

namespace condition {

enum class Limit : uint8_t { kNone, kTimed };

struct Wait {
  sleeping::Slot* slot = nullptr;
  dept::ObjectId cond = dept::ObjectId::kNone;
};

void born(const void* cond, dept::Site site);
void wake_slowly(const void* cond, dept::Site site, dept::sleeps::Wakes who);
inline void wake(const void* cond, dept::Site site, dept::sleeps::Wakes who) {
  const dept::CachedObject* known = dept::sleeps::known_wake(cond);
  // Whoever waits without having been seen to sleep is counted all the same.
  if (known == nullptr || known->object->value.load(std::memory_order_relaxed) != 0) wake_slowly(cond, site, who);
}

void begin(Wait& wait, const void* cond, const void* mutex, dept::Site site, Limit limit);
void end(Wait& wait, dept::sleeps::Outcome outcome);
void cancelled(void* wait);
// With waiters, which the C library then waits for: both a misuse and a wait.
void begin_destroy(Wait& wait, const void* cond, dept::Site site);
void end_destroy(Wait& wait, const void* cond, bool destroyed);

template <typename Real>
[[gnu::noinline]] int wait(const void* cond, const void* mutex, dept::Site site, Limit limit, Results results, Real real) {
  Wait wait;
  begin(wait, cond, mutex, site, limit);
  volatile int result = 0;
  pthread_cleanup_push(cancelled, &wait);
  result = real();
  pthread_cleanup_pop(0);
  const int answer = result;
  end(wait, answer == results.ok          ? dept::sleeps::Outcome::kWoken
            : answer == results.timed_out ? dept::sleeps::Outcome::kTimedOut
                                          : dept::sleeps::Outcome::kDidNotSleep);
  return answer;
}

template <typename Real>
int destroy(const void* cond, dept::Site site, Real real) {
  Wait wait;
  begin_destroy(wait, cond, site);
  const int result = real();
  end_destroy(wait, cond, result == 0);
  return result;
}

}  // namespace condition
}  // namespace causeway::interpose
