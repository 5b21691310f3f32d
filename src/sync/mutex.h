// Mutex: a sleeping lock with one owner, and MutexLock, its guard.
//
//   Mutex mutex_{"luo.session"};
//   std::map<int, Session> sessions_ CW_GUARDED_BY(mutex_);
//
//   MutexLock lock(mutex_);
//   sessions_.erase(id);
//
// Not recursive, not fair. Debug builds abort with a message on: lock by the owner, unlock by
// anybody else, destruction while held. A contended lock spins for a moment, then sleeps on a futex.
#pragma once

#include <atomic>
#include <cstdint>
#include <type_traits>

#include "sync/owner.h"
#include "sync/thread_annotations.h"
#include "sync/track.h"

namespace causeway::sync {

class CW_CAPABILITY("mutex") Mutex {
 public:
  // Without a name the place of construction is the class of the lock.
  constexpr Mutex(SourceLocation where = SourceLocation::current()) : Mutex(nullptr, where) {}
  // `name` is a string literal: the class of the lock, "room.what".
  constexpr explicit Mutex(const char* name, SourceLocation where = SourceLocation::current()) : name_(name) {
    if (!std::is_constant_evaluated()) track::created(object(), where);
  }
  ~Mutex() {
    owner_.check_free("mutex", name_, SourceLocation::current());
    track::destroyed(object());
  }
  Mutex(const Mutex&) = delete;
  Mutex& operator=(const Mutex&) = delete;

  void lock(SourceLocation where = SourceLocation::current()) CW_ACQUIRE() {
    owner_.check_not_me("mutex", name_, where);
    track::acquiring(object(), track::Mode::kExclusive, where);
    take_back();
    track::acquired(object(), track::Mode::kExclusive, track::Attempt::kBlocking, where);
  }
  // False if somebody holds it, the caller included.
  [[nodiscard]] bool try_lock(SourceLocation where = SourceLocation::current()) CW_TRY_ACQUIRE(true) {
    uint32_t free = kFree;
    if (!state_.compare_exchange_strong(free, kLocked, std::memory_order_acquire, std::memory_order_relaxed))
      return false;
    owner_.set();
    track::acquired(object(), track::Mode::kExclusive, track::Attempt::kTry, where);
    return true;
  }
  void unlock(SourceLocation where = SourceLocation::current()) CW_RELEASE() {
    owner_.check_me("mutex", name_, "unlocked without being held", where);
    track::releasing(object(), track::Mode::kExclusive, where);
    give_up();
  }
  // Debug builds abort unless the caller is the owner.
  void assert_held(SourceLocation where = SourceLocation::current()) const CW_ASSERT_CAPABILITY(this) {
    owner_.check_me("mutex", name_, "not held where it must be", where);
  }

  const char* name() const { return name_; }

 private:
  friend class CondVar;
  static constexpr uint32_t kFree = 0;
  static constexpr uint32_t kLocked = 1;
  static constexpr uint32_t kContended = 2;  // held, and somebody may sleep

  constexpr track::Object object() const { return {this, name_, track::Kind::kMutex}; }
  // unlock() and lock() without hooks: the wait of a CondVar tells of both.
  void give_up() {
    owner_.clear();
    if (state_.exchange(kFree, std::memory_order_release) == kContended) [[unlikely]] wake_one();
  }
  void take_back() {
    uint32_t free = kFree;
    if (!state_.compare_exchange_strong(free, kLocked, std::memory_order_acquire, std::memory_order_relaxed))
        [[unlikely]] {
      lock_slow();
    }
    owner_.set();
  }
  void lock_slow();
  void wake_one();

  std::atomic<uint32_t> state_{kFree};
  [[no_unique_address]] detail::Owner owner_;
  const char* name_;
};

// Holds a Mutex while it lives. unlock() and lock() open a gap in between.
class CW_SCOPED_CAPABILITY MutexLock {
 public:
  explicit MutexLock(Mutex& mutex, SourceLocation where = SourceLocation::current()) CW_ACQUIRE(mutex)
      : mutex_(mutex) {
    mutex_.lock(where);
  }
  ~MutexLock() CW_RELEASE() {
    if (held_) mutex_.unlock();
  }
  MutexLock(const MutexLock&) = delete;
  MutexLock& operator=(const MutexLock&) = delete;

  void unlock(SourceLocation where = SourceLocation::current()) CW_RELEASE() {
    held_ = false;
    mutex_.unlock(where);
  }
  void lock(SourceLocation where = SourceLocation::current()) CW_ACQUIRE() {
    mutex_.lock(where);
    held_ = true;
  }

 private:
  Mutex& mutex_;
  bool held_ = true;
};

}  // namespace causeway::sync
