#include "sync/spin_lock.h"

#include <sched.h>
#include <time.h>

#include "sync/futex.h"

namespace causeway::sync {
namespace {

constexpr int kSpins = 100;
// Yielding is enough among threads of one priority; a short sleep also lets a lower one run.
constexpr int kYields = 32;
constexpr long kSleepNs = 50'000;

}  // namespace

void SpinLock::lock_slow() {
  int yields = 0;
  while (true) {
    for (int spin = 0; spin < kSpins; ++spin) {
      // Reads alone keep the cache line shared; the exchange is tried only when it can succeed.
      if (held_.load(std::memory_order_relaxed) == 0 && held_.exchange(1, std::memory_order_acquire) == 0) return;
      cpu_pause();
    }
    if (yields < kYields) {
      ++yields;
      ::sched_yield();
    } else {
      timespec nap{0, kSleepNs};
      ::nanosleep(&nap, nullptr);
    }
  }
}

}  // namespace causeway::sync
