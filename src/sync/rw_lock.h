// RwLock: many readers or one writer; ReadLock and WriteLock are its guards.
//
//   RwLock lock_{"iommu.groups"};
//   { ReadLock read(lock_); lookup(id); }
//   { WriteLock write(lock_); insert(id, group); }
//
// A waiting writer keeps new readers out, so that readers cannot starve it; therefore a reader that
// takes the lock again may wait for ever: do not. Sleeps on futexes when contended. Debug builds abort
// on: lock by the writer that holds it, unlock by anybody else, read unlock with no reader,
// destruction while held.
#pragma once

#include <atomic>
#include <cstdint>
#include <type_traits>

#include "sync/owner.h"
#include "sync/thread_annotations.h"
#include "sync/track.h"

namespace causeway::sync {

class CW_CAPABILITY("rwlock") RwLock {
 public:
  constexpr RwLock(SourceLocation where = SourceLocation::current()) : RwLock(nullptr, where) {}
  // `name` is a string literal: the class of the lock, "room.what".
  constexpr explicit RwLock(const char* name, SourceLocation where = SourceLocation::current()) : name_(name) {
    if (!std::is_constant_evaluated()) track::created(object(), where);
  }
  ~RwLock();
  RwLock(const RwLock&) = delete;
  RwLock& operator=(const RwLock&) = delete;

  void lock(SourceLocation where = SourceLocation::current()) CW_ACQUIRE();
  [[nodiscard]] bool try_lock(SourceLocation where = SourceLocation::current()) CW_TRY_ACQUIRE(true);
  void unlock(SourceLocation where = SourceLocation::current()) CW_RELEASE();

  void lock_shared(SourceLocation where = SourceLocation::current()) CW_ACQUIRE_SHARED();
  [[nodiscard]] bool try_lock_shared(SourceLocation where = SourceLocation::current())
      CW_TRY_ACQUIRE_SHARED(true);
  void unlock_shared(SourceLocation where = SourceLocation::current()) CW_RELEASE_SHARED();

  // Debug builds abort unless the caller is the writer, or (shared) unless somebody holds the lock.
  void assert_held(SourceLocation where = SourceLocation::current()) const CW_ASSERT_CAPABILITY(this);
  void assert_held_shared(SourceLocation where = SourceLocation::current()) const
      CW_ASSERT_SHARED_CAPABILITY(this);

  const char* name() const { return name_; }

 private:
  // state_: the number of readers, or kWriter; and who sleeps.
  static constexpr uint32_t kHolders = (1u << 30) - 1;
  static constexpr uint32_t kWriter = kHolders;
  static constexpr uint32_t kReadersWait = 1u << 30;
  static constexpr uint32_t kWritersWait = 1u << 31;

  static bool can_read(uint32_t state) {
    return (state & kHolders) < kWriter - 1 && (state & (kReadersWait | kWritersWait)) == 0;
  }
  static bool is_free(uint32_t state) { return (state & kHolders) == 0; }
  constexpr track::Object object() const { return {this, name_, track::Kind::kRwLock}; }
  uint32_t spin_while_written();
  uint32_t spin_while_held();
  void lock_slow();
  void lock_shared_slow();
  void hand_on(uint32_t state);
  bool wake_writer();

  std::atomic<uint32_t> state_{0};          // readers sleep on it
  std::atomic<uint32_t> writer_signal_{0};  // writers sleep on it; advances at each wake
  [[no_unique_address]] detail::Owner writer_;
  const char* name_;
};

class CW_SCOPED_CAPABILITY ReadLock {
 public:
  explicit ReadLock(RwLock& lock, SourceLocation where = SourceLocation::current()) CW_ACQUIRE_SHARED(lock)
      : lock_(lock) {
    lock_.lock_shared(where);
  }
  ~ReadLock() CW_RELEASE_GENERIC() { lock_.unlock_shared(); }
  ReadLock(const ReadLock&) = delete;
  ReadLock& operator=(const ReadLock&) = delete;

 private:
  RwLock& lock_;
};

class CW_SCOPED_CAPABILITY WriteLock {
 public:
  explicit WriteLock(RwLock& lock, SourceLocation where = SourceLocation::current()) CW_ACQUIRE(lock)
      : lock_(lock) {
    lock_.lock(where);
  }
  ~WriteLock() CW_RELEASE() { lock_.unlock(); }
  WriteLock(const WriteLock&) = delete;
  WriteLock& operator=(const WriteLock&) = delete;

 private:
  RwLock& lock_;
};

}  // namespace causeway::sync
