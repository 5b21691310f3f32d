// One bit per page frame in sparse memory: all clear at first, and a page of bits costs nothing until
// a bit in it is set. Ranges are handled 64 frames at a time.
//
//   SparseBitmap reserved = CW_TRY(SparseBitmap::create(map.end_pfn()));
//   uint64_t fresh = reserved.set({begin, end});          // how many were clear before
//   Pfn next = reserved.next_clear(begin, end);
//
// Not thread-safe; but a word never holds bits of two zones, so each zone's lock covers its own part.
#pragma once

#include <utility>

#include "base/mapping.h"
#include "base/result.h"
#include "base/types.h"

namespace causeway::mm {

class SparseBitmap {
 public:
  static Result<SparseBitmap> create(uint64_t bits);  // ENOMEM (address space)

  bool test(Pfn pfn) const { return (words_[pfn.value() / 64] >> pfn.value() % 64 & 1) != 0; }
  // Both return how many bits they changed.
  uint64_t set(PfnRange range);
  uint64_t clear(PfnRange range);
  // The first bit that is set (clear) in [from, end), or `end`.
  Pfn next_set(Pfn from, Pfn end) const { return next(from, end, 0); }
  Pfn next_clear(Pfn from, Pfn end) const { return next(from, end, ~uint64_t{0}); }
  bool any(PfnRange range) const { return next_set(range.begin, range.end) < range.end; }
  bool all(PfnRange range) const { return next_clear(range.begin, range.end) >= range.end; }

 private:
  explicit SparseBitmap(Mapping mapping) : mapping_(std::move(mapping)), words_(mapping_.at<uint64_t>(0)) {}
  Pfn next(Pfn from, Pfn end, uint64_t invert) const;
  Mapping mapping_;
  uint64_t* words_;
};

}  // namespace causeway::mm
