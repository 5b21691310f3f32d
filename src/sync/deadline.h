// Deadline: an absolute time on the clock of base/clock.h (CLOCK_MONOTONIC), or never.
//
//   Deadline deadline = Deadline::after(std::chrono::milliseconds(50));
//   while (!ready) {
//     if (!condition.wait_until(mutex, deadline)) return fail(ETIMEDOUT, "no answer");
//   }
#pragma once

#include <chrono>
#include <compare>
#include <cstdint>

#include "base/clock.h"

namespace causeway::sync {

class Deadline {
 public:
  static constexpr Deadline never() { return Deadline(UINT64_MAX); }
  // `ns` as returned by monotonic_ns(); UINT64_MAX is never.
  static constexpr Deadline at_ns(uint64_t ns) { return Deadline(ns); }
  // From now on; a span of zero or less has passed at once, one that overflows is never.
  static Deadline after(std::chrono::nanoseconds span) {
    uint64_t now = monotonic_ns();
    if (span.count() <= 0) return Deadline(now);
    uint64_t ns;
    if (__builtin_add_overflow(now, static_cast<uint64_t>(span.count()), &ns)) return never();
    return Deadline(ns);
  }

  constexpr bool is_never() const { return ns_ == UINT64_MAX; }
  bool has_passed() const { return !is_never() && monotonic_ns() >= ns_; }
  constexpr uint64_t ns() const { return ns_; }
  constexpr auto operator<=>(const Deadline&) const = default;

 private:
  constexpr explicit Deadline(uint64_t ns) : ns_(ns) {}
  uint64_t ns_;
};

}  // namespace causeway::sync
