// Who holds a lock: remembered and checked in debug builds (CW_DEBUG), an empty class in others.
//
//   owner_.check_not_me("mutex", name_, where);   // before blocking
//   owner_.set();                                 // once held
//   owner_.check_me("mutex", name_, where);       // before releasing
//   owner_.clear();
//
// A broken rule is a bug of the caller that would become a deadlock or silent corruption later, so
// it ends the process with one line that says which lock, which thread, and where.
#pragma once

#include <atomic>

#include "base/source_location.h"

namespace causeway::sync {

// The calling thread's kernel id, read once per thread.
int current_thread_id();

namespace detail {

// Writes "sync: mutex 'mm.zone' <what> (file.cc:12)" to stderr and aborts. `owner` > 0 is named.
[[noreturn]] void die(const char* kind, const char* name, const char* what, int owner, SourceLocation where);

#if CW_DEBUG
inline constexpr bool kChecks = true;

class Owner {
 public:
  void set() { thread_.store(current_thread_id(), std::memory_order_relaxed); }
  void clear() { thread_.store(0, std::memory_order_relaxed); }
  bool is_me() const { return thread_.load(std::memory_order_relaxed) == current_thread_id(); }

  void check_me(const char* kind, const char* name, const char* what, SourceLocation where) const {
    if (!is_me()) [[unlikely]] die(kind, name, what, thread_.load(std::memory_order_relaxed), where);
  }
  void check_not_me(const char* kind, const char* name, SourceLocation where) const {
    if (is_me()) [[unlikely]] die(kind, name, "locked again by its owner", 0, where);
  }
  void check_free(const char* kind, const char* name, SourceLocation where) const {
    int thread = thread_.load(std::memory_order_relaxed);
    if (thread != 0) [[unlikely]] die(kind, name, "destroyed while it is held", thread, where);
  }

 private:
  std::atomic<int> thread_{0};
};
#else
inline constexpr bool kChecks = false;

class Owner {
 public:
  void set() {}
  void clear() {}
  void check_me(const char*, const char*, const char*, SourceLocation) const {}
  void check_not_me(const char*, const char*, SourceLocation) const {}
  void check_free(const char*, const char*, SourceLocation) const {}
};
#endif

}  // namespace detail
}  // namespace causeway::sync
