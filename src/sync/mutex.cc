#include "sync/mutex.h"

#include "sync/futex.h"

namespace causeway::sync {
namespace {

// About as long as a short critical section; longer only burns the processor the owner may need.
constexpr int kSpins = 100;

}  // namespace

void Mutex::lock_slow() {
  for (int spin = 0; spin < kSpins; ++spin) {
    uint32_t state = state_.load(std::memory_order_relaxed);
    // Somebody already sleeps: join the queue instead of overtaking it for longer.
    if (state == kContended) break;
    if (state == kFree &&
        state_.compare_exchange_weak(state, kLocked, std::memory_order_acquire, std::memory_order_relaxed)) {
      return;
    }
    cpu_pause();
  }
  // From here on we cannot know whether others sleep, so we take the lock as contended: at worst our
  // unlock wakes nobody.
  while (state_.exchange(kContended, std::memory_order_acquire) != kFree) futex_wait(&state_, kContended);
}

void Mutex::wake_one() { futex_wake(&state_, 1); }

}  // namespace causeway::sync
