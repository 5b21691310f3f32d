// The engine's own lock: a futex reached without libc, so that nothing that is interposed runs. Whoever takes it is inside the
// engine (Inside in dept/context.h), so that a signal handler that arrives meanwhile does not come here.
//
//   EngineLockGuard hold(lock_);
#pragma once

#include <atomic>
#include <cstdint>

namespace causeway::dept {

class EngineLock {
 public:
  void lock() {
    uint32_t free = 0;
    if (!state_.compare_exchange_strong(free, 1, std::memory_order_acquire)) lock_slow();
  }
  void unlock() {
    if (state_.exchange(0, std::memory_order_release) == 2) wake();
  }
  // In the child of a fork, whose other threads are gone.
  void reset() { state_.store(0, std::memory_order_relaxed); }

 private:
  void lock_slow();
  void wake();
  std::atomic<uint32_t> state_{0};
};

class EngineLockGuard {
 public:
  explicit EngineLockGuard(EngineLock& lock) : lock_(lock) { lock_.lock(); }
  ~EngineLockGuard() { lock_.unlock(); }
  EngineLockGuard(const EngineLockGuard&) = delete;
  EngineLockGuard& operator=(const EngineLockGuard&) = delete;

 private:
  EngineLock& lock_;
};

}  // namespace causeway::dept
