// The futex system call, by hand: libc's syscall() is itself interposed.
//
//   futex_wake(header.reports, INT32_MAX, FutexScope::kShared);    // who reads the same file in another process
//
// errno is left alone.
#pragma once

#include <atomic>
#include <cstdint>

namespace causeway::dept {

enum class FutexScope : uint8_t { kProcess, kShared };

namespace detail {

inline long futex(std::atomic<uint32_t>& word, long operation, long value, FutexScope scope) {
  constexpr long kPrivate = 128;
  if (scope == FutexScope::kProcess) operation |= kPrivate;
#if defined(__x86_64__)
  long result;
  register long timeout asm("r10") = 0;
  asm volatile("syscall"
               : "=a"(result)
               : "a"(202L), "D"(&word), "S"(operation), "d"(value), "r"(timeout)
               : "rcx", "r11", "memory");
  return result;
#elif defined(__aarch64__)
  register long number asm("x8") = 98;
  register long x0 asm("x0") = reinterpret_cast<long>(&word);
  register long x1 asm("x1") = operation;
  register long x2 asm("x2") = value;
  register long x3 asm("x3") = 0;
  asm volatile("svc 0" : "+r"(x0) : "r"(number), "r"(x1), "r"(x2), "r"(x3) : "memory");
  return x0;
#else
#error "the futex system call of this machine is not known"
#endif
}

}  // namespace detail

// Returns when woken, interrupted, or at once if the word is not `expected`.
inline void futex_wait(std::atomic<uint32_t>& word, uint32_t expected, FutexScope scope) {
  detail::futex(word, 0, expected, scope);
}
inline void futex_wake(std::atomic<uint32_t>& word, int32_t how_many, FutexScope scope) {
  detail::futex(word, 1, how_many, scope);
}

}  // namespace causeway::dept
