// Which page frames a preserved block covers: one bit per frame, in ordinary memory, for this kernel only.
// Private to this room.
//
//   Coverage coverage = CW_TRY(Coverage::create(end_pfn));
//   if (coverage.any(block.range())) return fail(EBUSY, "...");
//   coverage.set(block.range());
//
// The tree alone cannot tell cheaply whether a new block overlaps an old one of another order. Costs a
// word per 64 pages of a block, and memory only where something is preserved. The caller serialises.
#pragma once

#include <algorithm>
#include <cstdint>

#include "base/mapping.h"
#include "base/result.h"
#include "base/types.h"

namespace causeway::kho {

class Coverage {
 public:
  // ENOMEM: no address space.
  static Result<Coverage> create(uint64_t end_pfn) {
    return Coverage(CW_TRY(Mapping::sparse(kSkew + (end_pfn + 64) / 64 * sizeof(uint64_t))));
  }

  // The range lies below end_pfn.
  bool any(PfnRange range) const {
    bool found = false;
    each_word(range, [&](const uint64_t& word, uint64_t mask) { return found = (word & mask) != 0; });
    return found;
  }
  void set(PfnRange range) {
    each_word(range, [](uint64_t& word, uint64_t mask) { return word |= mask, false; });
  }
  void clear(PfnRange range) {
    each_word(range, [](uint64_t& word, uint64_t mask) { return word &= ~mask, false; });
  }

 private:
  // A frame's bit here and in its leaf of the tree would lie at the same offset of a page, and the processor
  // takes a load for dependent on a store with the same low 12 bits.
  static constexpr size_t kSkew = 1088;

  explicit Coverage(Mapping bits) : bits_(std::move(bits)) {}

  // visit(word, mask of the range's bits in it) until it returns true.
  template <typename Visit>
  void each_word(PfnRange range, Visit visit) const {
    auto* words = bits_.at<uint64_t>(kSkew);
    uint64_t begin = range.begin.value();
    const uint64_t end = range.end.value();
    if (end - begin == 1) {
      visit(words[begin / 64], uint64_t{1} << begin % 64);
      return;
    }
    while (begin < end) {
      const uint64_t bits = std::min(end - begin, 64 - begin % 64);
      const uint64_t mask = (bits == 64 ? ~uint64_t{0} : (uint64_t{1} << bits) - 1) << begin % 64;
      if (visit(words[begin / 64], mask)) return;
      begin += bits;
    }
  }

  Mapping bits_;
};

}  // namespace causeway::kho
