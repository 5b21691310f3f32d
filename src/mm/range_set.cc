#include "mm/range_set.h"

#include <algorithm>
#include <iterator>

namespace causeway::mm {
namespace {

using Range = RangeSet::Range;

bool by_begin(const Range& a, const Range& b) {
  return a.begin < b.begin;
}

// Handed-over memory arrives as a few ascending runs, one per order: merging those is linear, where
// a sort of 200,000 ranges takes longer than the rest of the boot.
constexpr size_t kMaxRuns = 64;

void sort_runs(std::vector<Range>& ranges) {
  std::vector<size_t> starts;
  for (size_t i = 1; i < ranges.size(); ++i) {
    if (!by_begin(ranges[i], ranges[i - 1])) continue;
    starts.push_back(i);
    if (starts.size() > kMaxRuns) {
      std::sort(ranges.begin(), ranges.end(), by_begin);
      return;
    }
  }
  auto at = [&](size_t index) { return ranges.begin() + static_cast<std::ptrdiff_t>(index); };
  for (size_t i = 0; i < starts.size(); ++i) {
    size_t end = i + 1 < starts.size() ? starts[i + 1] : ranges.size();
    std::inplace_merge(ranges.begin(), at(starts[i]), at(end), by_begin);
  }
}

// Appends to a sorted list, merging with its last range if they touch.
void append(std::vector<Range>& list, Range range) {
  if (!list.empty() && range.begin <= list.back().end) {
    list.back().end = std::max(list.back().end, range.end);
  } else {
    list.push_back(range);
  }
}

}  // namespace

void RangeSet::add(Range range) {
  if (range.begin >= range.end) return;
  // Ascending order is the common case and needs no merge.
  if (pending_.empty() && (ranges_.empty() || range.begin >= ranges_.back().begin)) {
    append(ranges_, range);
  } else {
    pending_.push_back(range);
  }
}

void RangeSet::settle() const {
  if (pending_.empty()) return;
  if (pending_.size() == 1) {
    Range range = pending_.front();
    pending_.clear();
    insert_one(range);
    return;
  }
  sort_runs(pending_);
  std::vector<Range> merged;
  merged.reserve(ranges_.size() + pending_.size());
  auto old = ranges_.begin();
  for (const Range& range : pending_) {
    for (; old != ranges_.end() && old->begin <= range.begin; ++old) append(merged, *old);
    append(merged, range);
  }
  for (; old != ranges_.end(); ++old) append(merged, *old);
  ranges_ = std::move(merged);
  pending_.clear();
}

void RangeSet::insert_one(Range range) const {
  // Those that touch it, too: from the first that ends at or above its begin.
  auto first = std::lower_bound(ranges_.begin(), ranges_.end(), range.begin,
                                [](const Range& r, uint64_t value) { return r.end < value; });
  auto last = first;
  for (; last != ranges_.end() && last->begin <= range.end; ++last) {
    range.begin = std::min(range.begin, last->begin);
    range.end = std::max(range.end, last->end);
  }
  if (first == last) {
    ranges_.insert(first, range);
  } else {
    *first = range;
    ranges_.erase(first + 1, last);
  }
}

const Range* RangeSet::first_overlap(Range range) const {
  settle();
  auto it = std::upper_bound(ranges_.begin(), ranges_.end(), range.begin,
                             [](uint64_t value, const Range& r) { return value < r.end; });
  if (it == ranges_.end() || it->begin >= range.end || range.begin >= range.end) return nullptr;
  return &*it;
}

bool RangeSet::contains(Range range) const {
  if (range.begin >= range.end) return true;
  const Range* hit = first_overlap(range);
  return hit != nullptr && hit->begin <= range.begin && range.end <= hit->end;
}

void RangeSet::remove(Range range) {
  const Range* hit = first_overlap(range);
  if (hit == nullptr) return;
  auto first = ranges_.begin() + (hit - ranges_.data());
  auto last = first;
  Range head{first->begin, range.begin};
  Range tail;
  for (; last != ranges_.end() && last->begin < range.end; ++last) tail = {range.end, last->end};
  Range rest[2];
  size_t count = 0;
  if (head.begin < head.end) rest[count++] = head;
  if (tail.begin < tail.end) rest[count++] = tail;
  first = ranges_.erase(first, last);
  ranges_.insert(first, rest, rest + count);
}

std::span<const Range> RangeSet::ranges() const {
  settle();
  return ranges_;
}

}  // namespace causeway::mm
