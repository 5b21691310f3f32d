// The one clock: CLOCK_MONOTONIC in nanoseconds, the same in every process of the machine, so that
// a time stamp of the old generation can be compared with one of the new.
#pragma once

#include <time.h>

#include <cstdint>

namespace causeway {

inline uint64_t monotonic_ns() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(now.tv_nsec);
}

}  // namespace causeway
