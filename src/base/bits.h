// Bit fields of registers and descriptors, in a manual's own order: Field<high bit, low bit>.
//
//   using Enable = Field<0, 0>;
//   using RingLog2 = Field<11, 8>;
//   uint32_t control = Enable::make(1) | RingLog2::make(10);
//   unsigned log2 = RingLog2::get(control);
//   control = Enable::set(control, 0);
#pragma once

#include <cassert>
#include <cstdint>

namespace causeway {

template <unsigned High, unsigned Low>
struct Field {
  static_assert(Low <= High && High < 64);
  static constexpr uint64_t kMax = High - Low == 63 ? ~uint64_t{0} : (uint64_t{1} << (High - Low + 1)) - 1;
  static constexpr uint64_t kMask = kMax << Low;

  static constexpr uint64_t get(uint64_t word) { return word >> Low & kMax; }
  static constexpr uint64_t make(uint64_t value) {
    assert(value <= kMax);
    return (value & kMax) << Low;
  }
  static constexpr uint64_t set(uint64_t word, uint64_t value) { return (word & ~kMask) | make(value); }
};

}  // namespace causeway
