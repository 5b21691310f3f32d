// The futex system call: sleep while a 32-bit word has a value, wake who sleeps on it.
//
//   while (word.load(std::memory_order_acquire) == 0) futex_wait(&word, 0);
//   word.store(1, std::memory_order_release);
//   futex_wake(&word, 1);
//
// Words in memory that several processes map need FutexScope::kShared on both sides. The word is named
// by its address alone, so a std::atomic<uint32_t>* and a plain uint32_t* reached through
// std::atomic_ref both do. Waking touches no memory: the word may already be gone.
#pragma once

#include <atomic>
#include <climits>
#include <cstdint>

#include "sync/deadline.h"

namespace causeway::sync {

enum class FutexScope : uint8_t { kPrivate, kShared };
enum class FutexWait : uint8_t {
  kWoken,     // by futex_wake(), or for no reason
  kChanged,   // the word did not have the expected value
  kTimedOut,
};

inline constexpr int kFutexWakeAll = INT_MAX;

// Sleeps unless *word != expected. The caller re-checks its condition whatever is returned.
FutexWait futex_wait(const void* word, uint32_t expected, Deadline deadline = Deadline::never(),
                     FutexScope scope = FutexScope::kPrivate);
// Wakes up to `count` sleepers; how many it woke.
int futex_wake(const void* word, int count, FutexScope scope = FutexScope::kPrivate);

// One turn of a spin loop.
inline void cpu_pause() {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

static_assert(sizeof(std::atomic<uint32_t>) == sizeof(uint32_t));

}  // namespace causeway::sync
