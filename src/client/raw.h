// System calls without libc's wrappers: no cancellation points, no interposers, errno untouched. What comes back is the
// kernel's own: a value, or a negative errno.
#pragma once

#include <sys/syscall.h>

namespace causeway::client {

#if defined(__x86_64__)
inline long raw_call(long number, long a, long b, long c, long d, long e, long f) {
  register long r10 asm("r10") = d;
  register long r8 asm("r8") = e;
  register long r9 asm("r9") = f;
  long result;
  asm volatile("syscall"
               : "=a"(result)
               : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
               : "rcx", "r11", "memory");
  return result;
}
#elif defined(__aarch64__)
inline long raw_call(long number, long a, long b, long c, long d, long e, long f) {
  register long x8 asm("x8") = number;
  register long x0 asm("x0") = a;
  register long x1 asm("x1") = b;
  register long x2 asm("x2") = c;
  register long x3 asm("x3") = d;
  register long x4 asm("x4") = e;
  register long x5 asm("x5") = f;
  asm volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5) : "memory");
  return x0;
}
#else
#error "no system calls for this architecture yet"
#endif

namespace detail {
template <typename T>
long word(T value) {
  if constexpr (__is_enum(T) || !__is_class(T)) return (long)value;  // pointers and integers alike
}
}  // namespace detail

template <typename... Args>
long raw(long number, Args... args) {
  static_assert(sizeof...(args) <= 6);
  long words[6] = {detail::word(args)...};
  return raw_call(number, words[0], words[1], words[2], words[3], words[4], words[5]);
}

}  // namespace causeway::client
