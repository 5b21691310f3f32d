// CondVar: sleep until data behind a Mutex changes.
//
//   MutexLock lock(mutex_);
//   while (queue_.empty()) ready_.wait(mutex_);            // in a loop: it may wake for no reason
//   ...
//   while (queue_.empty())
//     if (!ready_.wait_until(mutex_, deadline)) return fail(ETIMEDOUT, "the queue stayed empty");
//
//   { MutexLock lock(mutex_); queue_.push_back(item); }
//   ready_.notify_one();
//
// Time limits are absolute (sync/deadline.h). Debug builds abort when the waiter does not hold the
// mutex, and on destruction with waiters.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <type_traits>
#include <utility>

#include "sync/deadline.h"
#include "sync/mutex.h"

namespace causeway::sync {

class CondVar {
 public:
  constexpr CondVar(SourceLocation where = SourceLocation::current()) : CondVar(nullptr, where) {}
  // `name` is a string literal: the class of the event, "room.what".
  constexpr explicit CondVar(const char* name, SourceLocation where = SourceLocation::current()) : name_(name) {
    if (!std::is_constant_evaluated()) track::created(object(), where);
  }
  ~CondVar();
  CondVar(const CondVar&) = delete;
  CondVar& operator=(const CondVar&) = delete;

  // Releases the mutex, sleeps, takes the mutex again.
  void wait(Mutex& mutex, SourceLocation where = SourceLocation::current()) CW_REQUIRES(mutex) {
    (void)sleep(mutex, Deadline::never(), where);
  }
  // The same with a limit: false if the deadline passed. The mutex is held in either case.
  [[nodiscard]] bool wait_until(Mutex& mutex, Deadline deadline,
                                SourceLocation where = SourceLocation::current()) CW_REQUIRES(mutex) {
    return sleep(mutex, deadline, where);
  }
  [[nodiscard]] bool wait_for(Mutex& mutex, std::chrono::nanoseconds span,
                              SourceLocation where = SourceLocation::current()) CW_REQUIRES(mutex) {
    return sleep(mutex, Deadline::after(span), where);
  }

  // The same with the loop inside: returns once predicate() is true, called with the mutex held. The
  // clang analysis does not see that in a lambda; write the loop out where the data is CW_GUARDED_BY.
  template <typename Predicate>
  void wait(Mutex& mutex, Predicate predicate, SourceLocation where = SourceLocation::current())
      CW_REQUIRES(mutex) {
    while (!predicate()) wait(mutex, where);
  }
  // The predicate's last value: false if it was still false when the deadline passed.
  template <typename Predicate>
  [[nodiscard]] bool wait_until(Mutex& mutex, Deadline deadline, Predicate predicate,
                                SourceLocation where = SourceLocation::current()) CW_REQUIRES(mutex) {
    while (!predicate()) {
      if (!wait_until(mutex, deadline, where)) return predicate();
    }
    return true;
  }
  template <typename Predicate>
  [[nodiscard]] bool wait_for(Mutex& mutex, std::chrono::nanoseconds span, Predicate predicate,
                              SourceLocation where = SourceLocation::current()) CW_REQUIRES(mutex) {
    return wait_until(mutex, Deadline::after(span), std::move(predicate), where);
  }

  // Wakes one or all of those who wait now. With or without the mutex held; the data must have been
  // changed with it held.
  void notify_one(SourceLocation where = SourceLocation::current());
  void notify_all(SourceLocation where = SourceLocation::current());

  const char* name() const { return name_; }

 private:
  constexpr track::Object object() const { return {this, name_, track::Kind::kCondVar}; }
  bool sleep(Mutex& mutex, Deadline deadline, SourceLocation where) CW_REQUIRES(mutex);
  void notify(int count, SourceLocation where);

  std::atomic<uint32_t> signal_{0};   // advances at every notify with waiters; waiters sleep on it
  std::atomic<uint32_t> waiters_{0};  // changed with the waiter's mutex held
  const char* name_;
};

}  // namespace causeway::sync
