#include "dept/engine_lock.h"

#include "dept/futex.h"

namespace causeway::dept {

void EngineLock::lock_slow() {
  // The holder stores a few words, or searches a graph: mostly it is gone soon.
  for (int i = 0; i < 64; ++i) {
    uint32_t free = 0;
    if (state_.compare_exchange_weak(free, 1, std::memory_order_acquire)) return;
#if defined(__x86_64__)
    __builtin_ia32_pause();
#endif
  }
  // From here on somebody may sleep, and only who unlocks 2 wakes.
  while (state_.exchange(2, std::memory_order_acquire) != 0) futex_wait(state_, 2, FutexScope::kProcess);
}

void EngineLock::wake() { futex_wake(state_, 1, FutexScope::kProcess); }

}  // namespace causeway::dept
