#include "mm/virgin_ranges.h"

#include <algorithm>
#include <bit>
#include <cassert>

namespace causeway::mm {

unsigned VirginRanges::order_of(Part part) {
  return std::min(static_cast<unsigned>(std::bit_width(part.size())) - 1, kMaxPageOrder.value());
}

uint32_t VirginRanges::block_of(Part part) {
  uint32_t size = uint32_t{1} << order_of(part);
  return is_aligned(part.begin, size) ? part.begin : part.end - size;
}

void VirginRanges::split_into_parts(PfnRange range, std::vector<Part>& out) {
  auto begin = static_cast<uint32_t>(range.begin.value());
  auto end = static_cast<uint32_t>(range.end.value());
  uint64_t pivot = align_up(begin, kMaxPageOrder.pages());
  if (pivot > end) {
    // No pageblock boundary inside: the most aligned number in (begin, end] is `end` with all bits
    // below the highest one in which the two differ cleared.
    unsigned bit = static_cast<unsigned>(std::bit_width(begin ^ end)) - 1;
    pivot = end >> bit << bit;
  }
  auto middle = static_cast<uint32_t>(pivot);
  if (begin < middle) out.push_back({begin, middle});
  if (middle < end) out.push_back({middle, end});
}

void VirginRanges::push(Part part) {
  stacks_[order_of(part)].push_back(block_of(part));
}

void VirginRanges::assign(std::span<const PfnRange> ranges) {
  *this = VirginRanges();
  expect(ranges.size());
  for (const PfnRange& range : ranges) append(range);
  seal();
}

void VirginRanges::append(PfnRange range) {
  if (range.empty()) return;
  assert(parts_.empty() || parts_.back().end <= range.begin.value());
  split_into_parts(range, parts_);
  pages_ += range.pages();
}

void VirginRanges::seal() {
  // Highest first, so that the lowest is on top.
  for (auto part = parts_.rbegin(); part != parts_.rend(); ++part) push(*part);
}

size_t VirginRanges::index_after(uint64_t pfn) const {
  auto it = std::upper_bound(parts_.begin(), parts_.end(), pfn,
                             [](uint64_t value, const Part& part) { return value < part.begin; });
  return static_cast<size_t>(it - parts_.begin());
}

std::optional<Pfn> VirginRanges::end_of_part(Pfn pfn) const {
  size_t index = index_after(pfn.value());
  if (index == 0 || pfn.value() >= parts_[index - 1].end) return std::nullopt;
  return Pfn(parts_[index - 1].end);
}

Pfn VirginRanges::next(Pfn pfn, Pfn limit) const {
  if (end_of_part(pfn)) return std::min(pfn, limit);
  for (size_t index = index_after(pfn.value()); index < parts_.size(); ++index) {
    if (parts_[index].size() != 0) return std::min(Pfn(parts_[index].begin), limit);
  }
  return limit;
}

void VirginRanges::replace(size_t first, size_t last, std::span<const Part> parts) {
  auto at = [&](size_t index) { return parts_.begin() + static_cast<std::ptrdiff_t>(index); };
  size_t overwritten = std::min(last - first, parts.size());
  std::copy_n(parts.begin(), overwritten, at(first));
  if (overwritten < last - first) {
    parts_.erase(at(first + overwritten), at(last));
  } else {
    parts_.insert(at(last), parts.begin() + static_cast<std::ptrdiff_t>(overwritten), parts.end());
  }
  for (Part part : parts) push(part);
  if (used_up_ > 64 && used_up_ > parts_.size() / 2) {
    std::erase_if(parts_, [](Part part) { return part.size() == 0; });
    used_up_ = 0;
  }
}

void VirginRanges::add(PfnRange range) {
  if (range.empty()) return;
  assert(!overlaps(range));
  // A used-up part may lie inside the new one, where it would hide it from a search.
  std::erase_if(parts_, [](Part part) { return part.size() == 0; });
  used_up_ = 0;
  std::vector<Part> fresh;
  split_into_parts(range, fresh);
  size_t index = index_after(range.begin.value());
  replace(index, index, fresh);
  pages_ += range.pages();
}

void VirginRanges::carve(PfnRange range) {
  size_t first = index_after(range.begin.value());
  assert(first > 0);
  --first;
  size_t last = first;
  std::vector<Part> rest;
  for (; last < parts_.size() && parts_[last].begin < range.end.value(); ++last) {
    Part part = parts_[last];
    if (part.size() == 0) {
      --used_up_;
      continue;
    }
    if (part.begin < range.begin.value()) split_into_parts({Pfn(part.begin), range.begin}, rest);
    if (range.end.value() < part.end) split_into_parts({range.end, Pfn(part.end)}, rest);
  }
  replace(first, last, rest);
  pages_ -= range.pages();
}

std::optional<VirginRanges::Block> VirginRanges::cut_largest(Order at_least) {
  for (unsigned order = kMaxPageOrder.value() + 1; order-- > at_least.value();) {
    auto& stack = stacks_[order];
    while (!stack.empty()) {
      uint32_t pfn = stack.back();
      stack.pop_back();
      size_t index = index_after(pfn);
      if (index == 0 || pfn >= parts_[index - 1].end) continue;  // cut or carved since
      Part& part = parts_[index - 1];
      if (order_of(part) != order) {
        push(part);  // it has shrunk since: now where it belongs, below this order
        continue;
      }
      uint32_t block = block_of(part);
      uint32_t size = uint32_t{1} << order;
      if (block == part.begin) {
        part.begin += size;
      } else {
        part.end -= size;
      }
      pages_ -= size;
      if (part.size() != 0) {
        push(part);
      } else {
        ++used_up_;
      }
      return Block{Pfn(block), Order(order)};
    }
  }
  return std::nullopt;
}

std::optional<Pfn> VirginRanges::cut_below(Order order, Pfn limit) {
  for (Part part : parts_) {
    if (part.begin + order.pages() > limit.value()) break;
    uint64_t start = align_up(part.begin, order.pages());
    if (start + order.pages() > std::min<uint64_t>(part.end, limit.value())) continue;
    carve({Pfn(start), Pfn(start + order.pages())});
    return Pfn(start);
  }
  return std::nullopt;
}

std::optional<Pfn> VirginRanges::find_run(uint64_t pages, uint64_t alignment) const {
  for (size_t i = parts_.size(); i-- > 0;) {
    uint64_t end = parts_[i].end;
    uint64_t begin = parts_[i].begin;
    // Parts that touch are one run; an empty one between them changes nothing.
    for (; i > 0 && parts_[i - 1].end == begin; --i) begin = parts_[i - 1].begin;
    if (end - begin < pages) continue;
    uint64_t start = align_down(end - pages, alignment);
    if (start >= begin) return Pfn(start);
  }
  return std::nullopt;
}

}  // namespace causeway::mm
