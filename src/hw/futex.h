// Sleeping on a 32-bit word that two processes share, each through its own mapping.
//
//   sleeps.store(1);                                       // seq_cst: before the last look at the word
//   if (word.load() == seen) futex_wait(word, seen, 50'000'000);
//   sleeps.store(0);
//
//   word.store(next);                                      // seq_cst: before the look at the sleeper
//   if (sleeps.load() != 0) futex_wake(word);
//
// Returns may be spurious: the caller looks at the word again.
#pragma once

#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <climits>
#include <cstdint>

namespace causeway::hw {

// While `word` is `expected`, until woken or CLOCK_MONOTONIC reaches `deadline_ns`.
inline void futex_wait_until(const std::atomic<uint32_t>& word, uint32_t expected, uint64_t deadline_ns) {
  timespec deadline{static_cast<time_t>(deadline_ns / 1'000'000'000),
                    static_cast<long>(deadline_ns % 1'000'000'000)};
  ::syscall(SYS_futex, &word, FUTEX_WAIT_BITSET, expected, &deadline, nullptr, FUTEX_BITSET_MATCH_ANY);
}

// While `word` is `expected`, for at most `timeout_ns`.
inline void futex_wait(const std::atomic<uint32_t>& word, uint32_t expected, uint64_t timeout_ns) {
  timespec timeout{static_cast<time_t>(timeout_ns / 1'000'000'000),
                   static_cast<long>(timeout_ns % 1'000'000'000)};
  ::syscall(SYS_futex, &word, FUTEX_WAIT, expected, &timeout, nullptr, 0);
}

// Wakes everybody who sleeps on `word`, in any process.
inline void futex_wake(const std::atomic<uint32_t>& word) {
  ::syscall(SYS_futex, &word, FUTEX_WAKE, INT_MAX, nullptr, nullptr, 0);
}

// One turn of a busy-wait loop.
inline void cpu_relax() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

}  // namespace causeway::hw
