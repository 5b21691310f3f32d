#include "dma/iommu/restored_ranges.h"

#include <algorithm>
#include <bit>
#include <iterator>

namespace causeway::dma {

using iommu::IoPageTable;
using iommu::IovaDomain;

namespace {

// An allocation below this length lies in one block of it.
constexpr uint64_t kRoundedBlock = uint64_t{1} << (IovaDomain::kClasses - 1);

// The entry that holds `pfn`, or the first above it.
template <typename Map, typename Last>
typename Map::iterator at_or_above(Map& map, uint64_t pfn, Last last) {
  auto above = map.upper_bound(pfn);
  if (above == map.begin()) return above;
  auto below = std::prev(above);
  return last(below->second) >= pfn ? below : above;
}

}  // namespace

void RestoredRanges::add(const IoPageTable::Leaf& leaf) {
  const uint64_t first = leaf.iova.value() >> iovas_.shift();
  const uint64_t last = first + (leaf.size >> iovas_.shift()) - 1;
  sync::MutexLock lock(mutex_);
  if (first == last && !mapped_.empty()) {
    Mapped& before = mapped_.rbegin()->second;
    if (!before.leaf && before.last + 1 == first && before.prot == leaf.prot) {
      before.last = last;
      return;
    }
  }
  mapped_.emplace(first, Mapped{last, leaf.prot, first != last});
}

void RestoredRanges::hold() {
  sync::MutexLock lock(mutex_);
  for (auto at = mapped_.begin(); at != mapped_.end();) {
    const uint64_t first = at->first;
    uint64_t last = at->second.last;
    for (++at; at != mapped_.end() && at->first == last + 1; ++at) last = at->second.last;
    last = align_up(last + 1, kRoundedBlock) - 1;
    if (at != mapped_.end()) last = std::min(last, at->first - 1);
    for (const IovaDomain::Range& range : iovas_.take(first, last)) held_.emplace(range.first, range.last);
  }
  clip_to_held();
}

void RestoredRanges::clip_to_held() {
  Runs clipped;
  auto held = held_.begin();
  for (const auto& [first, run] : mapped_) {
    while (held != held_.end() && held->second < first) ++held;
    for (auto at = held; at != held_.end() && at->first <= run.last; ++at) {
      const uint64_t from = std::max(first, at->first);
      const uint64_t to = std::min(run.last, at->second);
      // A leaf that a reserved region cuts is the region's.
      if (!run.leaf || (from == first && to == run.last)) clipped.emplace(from, Mapped{to, run.prot, run.leaf});
    }
  }
  mapped_ = std::move(clipped);
}

// [first, last] against what is mapped; up to `end` the addresses are the allocation's, too.
Status RestoredRanges::check(Runs::iterator at, uint64_t first, uint64_t last, uint64_t end, uint32_t access) {
  for (uint64_t pfn = first;; ++at) {
    if (at == mapped_.end() || at->first > pfn) return fail(ENOENT, "the predecessor has not mapped that, or it is claimed");
    const Mapped& run = at->second;
    if (run.leaf && (at->first < first || run.last > last)) return fail(EINVAL, "the range ends inside a page of the table");
    // A format may not tell.
    if (run.prot != 0 && (run.prot & access) != access) return fail(EINVAL, "the device was not given this access");
    if (run.last >= last) break;
    pfn = run.last + 1;
  }
  const bool goes_on = at->second.last > last;
  auto next = std::next(at);
  if (end > last && (goes_on || (next != mapped_.end() && next->first <= end)))
    return fail(EINVAL, "the range shares an allocation with another");
  return {};
}

Status RestoredRanges::claim(uint64_t pfn, uint64_t granules, uint32_t access) {
  if (granules == 0 || granules > ~uint64_t{0} >> iovas_.shift() || pfn % std::bit_ceil(granules) != 0)
    return fail(EINVAL, "no allocation of this length begins there");
  const uint64_t last = pfn + granules - 1;
  const uint64_t end = pfn + IovaDomain::rounded(granules) - 1;
  sync::MutexLock lock(mutex_);
  auto last_of_run = [](const Mapped& run) { return run.last; };
  CW_TRY(check(at_or_above(mapped_, pfn, last_of_run), pfn, last, end, access));
  auto held = at_or_above(held_, pfn, [](uint64_t held_last) { return held_last; });
  if (held == held_.end() || held->first > pfn || held->second < end)
    return fail(EINVAL, "the range shares an allocation with another");
  CW_TRY(iovas_.cut(pfn, end));
  const auto [held_first, held_last] = *held;
  held_.erase(held);
  if (held_first != pfn) held_.emplace(held_first, pfn - 1);
  if (held_last != end) held_.emplace(end + 1, held_last);
  forget(pfn, last);
  return {};
}

// Whole leaves, or parts of runs.
void RestoredRanges::forget(uint64_t first, uint64_t last) {
  auto at = at_or_above(mapped_, first, [](const Mapped& run) { return run.last; });
  while (at != mapped_.end() && at->first <= last) {
    const uint64_t begin = at->first;
    const Mapped run = at->second;
    at = mapped_.erase(at);
    if (begin < first) mapped_.emplace(begin, Mapped{first - 1, run.prot, run.leaf});
    if (run.last > last) mapped_.emplace(last + 1, run);
  }
}

uint64_t RestoredRanges::release(const std::function<void(uint64_t pfn, uint64_t granules)>& unmap) {
  Runs left;
  Held held;
  {
    sync::MutexLock lock(mutex_);
    left.swap(mapped_);
    held.swap(held_);
  }
  uint64_t released = 0;
  for (const auto& [first, run] : left) {
    const uint64_t granules = run.last - first + 1;
    unmap(first, granules);
    released += granules;
  }
  for (const auto& [first, last] : held) (void)iovas_.free(first);
  return released;
}

uint64_t RestoredRanges::unclaimed() const {
  sync::MutexLock lock(mutex_);
  uint64_t granules = 0;
  for (const auto& [first, run] : mapped_) granules += run.last - first + 1;
  return granules;
}

}  // namespace causeway::dma
