// A set of disjoint half-open ranges of 64-bit numbers, kept sorted and merged in one flat vector.
//
//   RangeSet reserved;
//   reserved.add({0x1000, 0x3000});
//   reserved.add({0x2000, 0x5000});                       // now one range: 0x1000..0x5000
//   if (const auto* hit = reserved.first_overlap({0x4000, 0x6000})) ...
//
// add() is cheap: it appends, and what was appended is sorted and merged in by the next question. n adds
// followed by questions cost O(n log n), or O(n) if they came in a few ascending runs. Not thread-safe,
// not even between const members.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace causeway::mm {

class RangeSet {
 public:
  struct Range {
    uint64_t begin = 0;
    uint64_t end = 0;
    bool operator==(const Range&) const = default;
  };

  // Room for so many more, if they come in ascending order.
  void expect(size_t ranges) { ranges_.reserve(ranges_.size() + ranges); }
  // Empty ranges are ignored.
  void add(Range range);
  void remove(Range range);

  // The lowest range that shares a number with `range`, or null. Valid until the set changes.
  const Range* first_overlap(Range range) const;
  bool overlaps(Range range) const { return first_overlap(range) != nullptr; }
  bool contains(Range range) const;       // wholly; true for an empty range
  std::span<const Range> ranges() const;  // ascending, with gaps between them

 private:
  void settle() const;
  void insert_one(Range range) const;
  mutable std::vector<Range> ranges_;
  mutable std::vector<Range> pending_;
};

}  // namespace causeway::mm
