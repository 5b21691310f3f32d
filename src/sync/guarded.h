// Guarded<T>: data that can be reached only with its lock held.
//
//   Guarded<std::map<int, Session>> sessions_{LockName{"luo.sessions"}};
//
//   size_t count = sessions_.with([&](auto& sessions) {
//     sessions.erase(id);
//     return sessions.size();
//   });
//
// with() returns what the function returns, by value: a reference into the data cannot leave. The lock
// is a Mutex unless told otherwise: Guarded<Stats, SpinLock>, Guarded<Table, RwLock>.
#pragma once

#include <type_traits>
#include <utility>

#include "sync/cond_var.h"
#include "sync/mutex.h"
#include "sync/rw_lock.h"
#include "sync/spin_lock.h"

namespace causeway::sync {

// The class of the lock, told apart from the data's own constructor arguments. A string literal.
struct LockName {
  explicit constexpr LockName(const char* name) : text(name) {}
  const char* text;
};

template <typename T, typename Lock = Mutex>
class Guarded {
 public:
  Guarded() = default;
  // The rest are the arguments of T's constructor.
  template <typename... Args>
  explicit Guarded(LockName name, Args&&... args) : lock_(name.text), data_(std::forward<Args>(args)...) {}
  Guarded(const Guarded&) = delete;
  Guarded& operator=(const Guarded&) = delete;

  template <typename Function>
  auto with(Function&& function, SourceLocation where = SourceLocation::current()) {
    Hold hold(lock_, where);
    return std::forward<Function>(function)(data_);
  }
  // const data: with a RwLock other readers may be inside at the same time.
  template <typename Function>
  auto with(Function&& function, SourceLocation where = SourceLocation::current()) const {
    HoldShared hold(lock_, where);
    return std::forward<Function>(function)(data_);
  }
  template <typename Function>
  auto with_shared(Function&& function, SourceLocation where = SourceLocation::current()) const {
    return with(std::forward<Function>(function), where);
  }

  // Sleeps on `condition` until predicate(const T&) is true, then runs function(T&), all under the
  // lock. Whoever changes the data notifies `condition`. For a Mutex only.
  template <typename Predicate, typename Function>
  auto with_when(CondVar& condition, Predicate predicate, Function&& function,
                 SourceLocation where = SourceLocation::current()) CW_NO_THREAD_SAFETY_ANALYSIS {
    static_assert(std::is_same_v<Lock, Mutex>, "a CondVar waits with a Mutex");
    Hold hold(lock_, where);
    while (!predicate(std::as_const(data_))) condition.wait(lock_, where);
    return std::forward<Function>(function)(data_);
  }

 private:
  // Guards that the clang analysis need not follow: this class is the discipline it would check.
  class Hold {
   public:
    Hold(Lock& lock, SourceLocation where) CW_NO_THREAD_SAFETY_ANALYSIS : lock_(lock) { lock_.lock(where); }
    ~Hold() CW_NO_THREAD_SAFETY_ANALYSIS { lock_.unlock(); }
    Hold(const Hold&) = delete;
    Hold& operator=(const Hold&) = delete;

   private:
    Lock& lock_;
  };
  class HoldShared {
   public:
    HoldShared(Lock& lock, SourceLocation where) CW_NO_THREAD_SAFETY_ANALYSIS : lock_(lock) {
      if constexpr (std::is_same_v<Lock, RwLock>) {
        lock_.lock_shared(where);
      } else {
        lock_.lock(where);
      }
    }
    ~HoldShared() CW_NO_THREAD_SAFETY_ANALYSIS {
      if constexpr (std::is_same_v<Lock, RwLock>) {
        lock_.unlock_shared();
      } else {
        lock_.unlock();
      }
    }
    HoldShared(const HoldShared&) = delete;
    HoldShared& operator=(const HoldShared&) = delete;

   private:
    Lock& lock_;
  };

  mutable Lock lock_;
  T data_{};
};

}  // namespace causeway::sync
