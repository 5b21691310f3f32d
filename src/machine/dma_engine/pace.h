// When the records of a stream are due: record i at t0 + i / rate.
//
//   Pace pace;
//   pace.start(now, 10'000);                  // per second
//   if (pace.due() <= now) { ...; pace.advance(1); }
//
// Times are CLOCK_MONOTONIC in nanoseconds.
#pragma once

#include <cstdint>

namespace causeway::machine {

class Pace {
 public:
  // The next record is due at `now`; rate 0 stops the source.
  void start(uint64_t now, uint32_t rate);
  uint32_t rate() const { return rate_; }

  uint64_t due() const { return t0_ + index_ * 1'000'000'000 / rate_; }  // rate > 0
  // How many records are due at `now`, the next one included.
  uint64_t count_due(uint64_t now) const;
  void advance(uint64_t records);
  // Shifts the schedule so that at most `records` are due at `now`.
  void limit_backlog(uint64_t now, uint64_t records);
  // Shifts the rest of the schedule: the source stood still so long.
  void delay(uint64_t nanoseconds) { t0_ += nanoseconds; }

 private:
  uint64_t t0_ = 0;
  uint64_t index_ = 0;  // < rate_: whole seconds go into t0_, so that no product overflows
  uint32_t rate_ = 0;
};

}  // namespace causeway::machine
