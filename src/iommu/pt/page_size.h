// Which leaf size comes next when a range is mapped. Sizes are sets: a bit for each power of two.
//
//   best_pgsize(KiB(4) | MiB(2), 0x200000, 0x5fffff, 0x800000)         // 2 MiB
//   pgsz_count(KiB(4) | MiB(2), 0x1000, GiB(1) - 1, 0x1000, 12)        // 511: then a 2 MiB leaf fits
//
// Addresses are inclusive ends, so that the last page of a 64-bit space is not special.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>

namespace causeway::iommu::pt {

// The largest size that divides both addresses and ends no later than `last`. 0: none.
constexpr uint64_t best_pgsize(uint64_t sizes, uint64_t va, uint64_t last, uint64_t oa) {
  if (uint64_t both = va | oa; both != 0) sizes &= both ^ (both - 1);
  if (uint64_t room = last - va; room != ~uint64_t{0}) {
    uint64_t largest = std::bit_floor(room + 1);
    sizes &= largest | (largest - 1);
  }
  return std::bit_floor(sizes);
}

// Leaves of 2^lg2 bytes before a larger size could be used, or the range ends. `va` and `oa` are aligned to that size,
// and one fits.
constexpr uint64_t pgsz_count(uint64_t sizes, uint64_t va, uint64_t last, uint64_t oa, unsigned lg2) {
  const uint64_t size = uint64_t{1} << lg2;
  const uint64_t in_range = (last - va - (size - 1)) / size + 1;
  const uint64_t larger = sizes & ~(size | (size - 1));
  if (larger == 0) return in_range;
  const uint64_t next = larger & (~larger + 1);
  if (((va ^ oa) & (next - 1)) != 0) return in_range;
  const uint64_t to_next = (next - (va & (next - 1))) >> lg2;
  return std::min(in_range, to_next);
}

}  // namespace causeway::iommu::pt
