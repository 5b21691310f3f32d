// Which pages of a contiguous range are handed out, 2^order_per_bit of them to a bit.
//
//   CmaBitmap bitmap({first, end}, 2);                       // four pages a bit
//   std::optional<Pfn> at = bitmap.find(first, 5, Order{8});  // five pages at a frame number aligned to 256
//   bitmap.set(*at, 5);                                       // two bits
//
// Alignment is that of the frame number itself, whatever the range begins with. Not thread-safe.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "base/types.h"

namespace causeway::mm {

class CmaBitmap {
 public:
  // `range` is a multiple of 2^order_per_bit pages.
  CmaBitmap(PfnRange range, unsigned order_per_bit);

  // The lowest place at or above `from` where all bits for `pages` are clear.
  std::optional<Pfn> find(Pfn from, uint64_t pages, Order alignment) const;
  void set(Pfn first, uint64_t pages);
  void clear(Pfn first, uint64_t pages);
  // [first, first + pages) lies inside and begins with a bit.
  bool fits(Pfn first, uint64_t pages) const;
  // Every bit of it is set. It fits.
  bool all_set(Pfn first, uint64_t pages) const;
  // How far apart two places are that find() tells from each other.
  uint64_t step(Order alignment) const;

  PfnRange range() const { return range_; }
  uint64_t clear_bits() const;

 private:
  uint64_t bit_of(Pfn pfn) const { return (pfn - range_.begin) >> order_per_bit_; }
  uint64_t bits_for(uint64_t pages) const { return (pages + pages_per_bit() - 1) >> order_per_bit_; }
  uint64_t pages_per_bit() const { return uint64_t{1} << order_per_bit_; }
  // The first bit in [from, end) that is `value`; end if none.
  uint64_t next(uint64_t from, uint64_t end, bool value) const;

  PfnRange range_;
  unsigned order_per_bit_;
  uint64_t bits_;
  std::vector<uint64_t> words_;
};

}  // namespace causeway::mm
