#include "mm/sparse_bitmap.h"

#include <algorithm>
#include <bit>

namespace causeway::mm {
namespace {

// Calls function(word index, mask of the range's bits in that word).
template <typename Function>
void for_each_word(PfnRange range, Function function) {
  for (uint64_t bit = range.begin.value(); bit < range.end.value();) {
    uint64_t next = std::min(align_down(bit, 64) + 64, range.end.value());
    uint64_t mask = (next - bit == 64 ? ~uint64_t{0} : (uint64_t{1} << (next - bit)) - 1) << bit % 64;
    function(bit / 64, mask);
    bit = next;
  }
}

}  // namespace

Result<SparseBitmap> SparseBitmap::create(uint64_t bits) {
  return SparseBitmap(CW_TRY(Mapping::sparse(align_up(bits, 64) / 8)));
}

uint64_t SparseBitmap::set(PfnRange range) {
  uint64_t changed = 0;
  for_each_word(range, [&](uint64_t word, uint64_t mask) {
    changed += static_cast<uint64_t>(std::popcount(mask & ~words_[word]));
    words_[word] |= mask;
  });
  return changed;
}

uint64_t SparseBitmap::clear(PfnRange range) {
  uint64_t changed = 0;
  for_each_word(range, [&](uint64_t word, uint64_t mask) {
    uint64_t hit = mask & words_[word];
    if (hit == 0) return;  // a word that was never written stays unwritten
    changed += static_cast<uint64_t>(std::popcount(hit));
    words_[word] &= ~mask;
  });
  return changed;
}

Pfn SparseBitmap::next(Pfn from, Pfn end, uint64_t invert) const {
  for (uint64_t bit = from.value(); bit < end.value(); bit = align_down(bit, 64) + 64) {
    uint64_t word = (words_[bit / 64] ^ invert) >> bit % 64;
    if (word != 0) return std::min(Pfn(bit + static_cast<uint64_t>(std::countr_zero(word))), end);
  }
  return end;
}

}  // namespace causeway::mm
