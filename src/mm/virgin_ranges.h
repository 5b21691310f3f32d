// Free memory that was never handed out, as plain ranges: nothing is known or written per page.
//
//   VirginRanges virgin;
//   virgin.assign(free_ranges);                       // ascending; O(number of ranges)
//   if (auto block = virgin.cut_largest(Order{0})) ... // an aligned buddy block of order 0..10
//
// A range is stored as one or two *parts*, split where its frame numbers are most aligned. A part then
// always has its largest aligned block at one of its ends, so cutting blocks only moves ends: no part
// is inserted or erased, however fragmented the memory is. Stacks by block order find a part to cut.
// They hold frame numbers, not positions, and are checked against the parts when popped.
//
// Not thread-safe.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "base/types.h"
#include "mm/migrate_type.h"

namespace causeway::mm {

class VirginRanges {
 public:
  struct Block {
    Pfn pfn;
    Order order;
  };

  // The first ranges of all: append them in ascending order, then seal. The lowest is cut first.
  void expect(size_t ranges) { parts_.reserve(parts_.size() + 2 * ranges); }
  void append(PfnRange range);
  void seal();
  // The same in one call, replacing everything.
  void assign(std::span<const PfnRange> ranges);
  // `range` overlaps nothing that is here.
  void add(PfnRange range);
  // Takes `range`, all of which is here, out.
  void carve(PfnRange range);

  // Takes out the largest block there is, if it has at least order `at_least`.
  std::optional<Block> cut_largest(Order at_least);
  // Takes out a block of exactly `order` that ends at or below `limit`.
  std::optional<Pfn> cut_below(Order order, Pfn limit);
  // The highest run of `pages` frames whose first is a multiple of `alignment`. Takes nothing.
  std::optional<Pfn> find_run(uint64_t pages, uint64_t alignment) const;

  // One past the last virgin frame of the part that contains `pfn`; nullopt if it is not virgin.
  std::optional<Pfn> end_of_part(Pfn pfn) const;
  // The first virgin frame at or above `pfn`, or `limit`.
  Pfn next(Pfn pfn, Pfn limit) const;
  bool overlaps(PfnRange range) const { return next(range.begin, range.end) < range.end; }
  uint64_t pages() const { return pages_; }

 private:
  struct Part {
    uint32_t begin;
    uint32_t end;
    uint32_t size() const { return end - begin; }
  };
  // Largest block of a part that has frames: it lies at one of the ends.
  static unsigned order_of(Part part);
  static uint32_t block_of(Part part);
  static void split_into_parts(PfnRange range, std::vector<Part>& out);
  size_t index_after(uint64_t pfn) const;  // of the first part that begins above pfn
  void replace(size_t first, size_t last, std::span<const Part> parts);
  void push(Part part);

  std::vector<Part> parts_;  // ascending; those used up stay as empty parts until the next insertion
  std::vector<uint32_t> stacks_[kOrders];
  size_t used_up_ = 0;
  uint64_t pages_ = 0;
};

}  // namespace causeway::mm
