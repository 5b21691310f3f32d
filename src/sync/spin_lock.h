// SpinLock: a lock for sections of a few instructions, and SpinLockGuard, its guard.
//
//   SpinLock lock_{"mm.zone"};
//   SpinLockGuard guard(lock_);
//   page = free_list_.pop_front();
//
// Uncontended it costs one atomic exchange and one store, and never enters the kernel. A waiter spins
// for a moment, then gives its processor away, so that a preempted holder gets to run. A holder must
// not sleep. Not recursive; debug builds abort on misuse, as Mutex does.
#pragma once

#include <atomic>
#include <cstdint>
#include <type_traits>

#include "sync/owner.h"
#include "sync/thread_annotations.h"
#include "sync/track.h"

namespace causeway::sync {

class CW_CAPABILITY("spinlock") SpinLock {
 public:
  constexpr SpinLock(SourceLocation where = SourceLocation::current()) : SpinLock(nullptr, where) {}
  // `name` is a string literal: the class of the lock, "room.what".
  constexpr explicit SpinLock(const char* name, SourceLocation where = SourceLocation::current())
      : name_(name) {
    if (!std::is_constant_evaluated()) track::created(object(), where);
  }
  ~SpinLock() {
    owner_.check_free("spinlock", name_, SourceLocation::current());
    track::destroyed(object());
  }
  SpinLock(const SpinLock&) = delete;
  SpinLock& operator=(const SpinLock&) = delete;

  void lock(SourceLocation where = SourceLocation::current()) CW_ACQUIRE() {
    owner_.check_not_me("spinlock", name_, where);
    track::acquiring(object(), track::Mode::kExclusive, where);
    if (held_.exchange(1, std::memory_order_acquire) != 0) [[unlikely]] lock_slow();
    owner_.set();
    track::acquired(object(), track::Mode::kExclusive, track::Attempt::kBlocking, where);
  }
  // False if somebody holds it, the caller included.
  [[nodiscard]] bool try_lock(SourceLocation where = SourceLocation::current()) CW_TRY_ACQUIRE(true) {
    if (held_.load(std::memory_order_relaxed) != 0 || held_.exchange(1, std::memory_order_acquire) != 0)
      return false;
    owner_.set();
    track::acquired(object(), track::Mode::kExclusive, track::Attempt::kTry, where);
    return true;
  }
  void unlock(SourceLocation where = SourceLocation::current()) CW_RELEASE() {
    owner_.check_me("spinlock", name_, "unlocked without being held", where);
    track::releasing(object(), track::Mode::kExclusive, where);
    owner_.clear();
    held_.store(0, std::memory_order_release);
  }
  // Debug builds abort unless the caller is the owner.
  void assert_held(SourceLocation where = SourceLocation::current()) const CW_ASSERT_CAPABILITY(this) {
    owner_.check_me("spinlock", name_, "not held where it must be", where);
  }

  const char* name() const { return name_; }

 private:
  constexpr track::Object object() const { return {this, name_, track::Kind::kSpinLock}; }
  void lock_slow();

  std::atomic<uint32_t> held_{0};
  [[no_unique_address]] detail::Owner owner_;
  const char* name_;
};

class CW_SCOPED_CAPABILITY SpinLockGuard {
 public:
  explicit SpinLockGuard(SpinLock& lock, SourceLocation where = SourceLocation::current()) CW_ACQUIRE(lock)
      : lock_(lock) {
    lock_.lock(where);
  }
  ~SpinLockGuard() CW_RELEASE() { lock_.unlock(); }
  SpinLockGuard(const SpinLockGuard&) = delete;
  SpinLockGuard& operator=(const SpinLockGuard&) = delete;

 private:
  SpinLock& lock_;
};

}  // namespace causeway::sync
