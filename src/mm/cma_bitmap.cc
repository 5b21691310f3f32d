#include "mm/cma_bitmap.h"

#include <algorithm>
#include <bit>

namespace causeway::mm {

namespace {

constexpr unsigned kWordBits = 64;

}  // namespace

CmaBitmap::CmaBitmap(PfnRange range, unsigned order_per_bit)
    : range_(range),
      order_per_bit_(order_per_bit),
      bits_(range.pages() >> order_per_bit),
      words_(static_cast<size_t>((bits_ + kWordBits - 1) / kWordBits)) {}

uint64_t CmaBitmap::next(uint64_t from, uint64_t end, bool value) const {
  while (from < end) {
    uint64_t word = words_[from / kWordBits];
    if (!value) word = ~word;
    word &= ~uint64_t{0} << (from % kWordBits);
    from = align_down(from, kWordBits);
    if (word != 0) return std::min(end, from + static_cast<uint64_t>(std::countr_zero(word)));
    from += kWordBits;
  }
  return end;
}

uint64_t CmaBitmap::step(Order alignment) const {
  return std::max(alignment.pages(), pages_per_bit());
}

std::optional<Pfn> CmaBitmap::find(Pfn from, uint64_t pages, Order alignment) const {
  if (pages == 0 || pages > range_.pages()) return std::nullopt;
  const uint64_t unit = step(alignment) >> order_per_bit_;
  // Bits below the range's first whole unit belong to a unit that began before the range did.
  const uint64_t before = (range_.begin.value() & (step(alignment) - 1)) >> order_per_bit_;
  const uint64_t wanted = bits_for(pages);
  uint64_t at = from <= range_.begin ? 0 : bits_for(from - range_.begin);
  for (;;) {
    at = align_up(at + before, unit) - before;
    if (at > bits_ || wanted > bits_ - at) return std::nullopt;
    uint64_t taken = next(at, at + wanted, true);
    if (taken == at + wanted) return range_.begin + (at << order_per_bit_);
    at = next(taken, bits_, false);
  }
}

void CmaBitmap::set(Pfn first, uint64_t pages) {
  const uint64_t begin = bit_of(first);
  for (uint64_t bit = begin; bit < begin + bits_for(pages); ++bit)
    words_[bit / kWordBits] |= uint64_t{1} << (bit % kWordBits);
}

void CmaBitmap::clear(Pfn first, uint64_t pages) {
  const uint64_t begin = bit_of(first);
  for (uint64_t bit = begin; bit < begin + bits_for(pages); ++bit)
    words_[bit / kWordBits] &= ~(uint64_t{1} << (bit % kWordBits));
}

bool CmaBitmap::fits(Pfn first, uint64_t pages) const {
  return pages != 0 && pages <= range_.pages() && range_.contains(first) && pages <= range_.end - first &&
         is_aligned(first - range_.begin, pages_per_bit());
}

bool CmaBitmap::all_set(Pfn first, uint64_t pages) const {
  const uint64_t begin = bit_of(first);
  const uint64_t end = begin + bits_for(pages);
  return next(begin, end, false) == end;
}

uint64_t CmaBitmap::clear_bits() const {
  uint64_t clear = bits_;
  for (uint64_t word : words_) clear -= static_cast<uint64_t>(std::popcount(word));
  return clear;
}

}  // namespace causeway::mm
