#include "iommu/iova.h"

#include <algorithm>
#include <bit>
#include <cassert>
#include <new>

#include "base/log.h"
#include "iommu/delayed_work.h"

namespace causeway::iommu {

using sync::SpinLockGuard;

// Fills a kilobyte. In a depot all are full, and the count is known.
struct IovaMagazine {
  union {
    uint64_t count;
    IovaMagazine* next;
  };
  std::array<uint64_t, IovaDomain::kMagazine> pfns;

  bool full() const { return count == IovaDomain::kMagazine; }
  void push(uint64_t pfn) { pfns[count++] = pfn; }
  // The one freed last that does not end beyond `limit`.
  std::optional<uint64_t> pop(uint64_t length, uint64_t limit) {
    for (uint64_t i = count; i-- > 0;) {
      uint64_t pfn = pfns[i];
      if (pfn + length - 1 > limit) continue;
      pfns[i] = pfns[--count];
      return pfn;
    }
    return std::nullopt;
  }
};
static_assert(sizeof(IovaMagazine) == 1024);

namespace {

// The class of a length; kClasses and above: not cached.
unsigned order_of(uint64_t length) { return static_cast<unsigned>(std::bit_width(length - 1)); }

IovaMagazine* make_magazine() {
  auto* made = new (std::nothrow) IovaMagazine;
  if (made != nullptr) made->count = 0;
  return made;
}

constexpr uint64_t kMaxLength = uint64_t{1} << 62;

}  // namespace

IovaDomain::IovaDomain(const Options& options)
    : shift_(static_cast<unsigned>(std::countr_zero(options.granule))),
      start_(std::max<uint64_t>(options.start, 1)),
      low_end_(uint64_t{1} << (32 - shift_)),
      low_failed_(low_end_),
      trimmer_(std::make_unique<DelayedWork>("iommu.iova.trim", std::chrono::milliseconds(kDepotTrimMs),
                                             [this] {
                                               if (trim_depots()) trimmer_->arm();
                                             })) {
  assert(is_power_of_two(options.granule) && shift_ < 32);
}

IovaDomain::~IovaDomain() {
  // Not reset(): the function that is waited for uses the pointer.
  trimmer_->stop();
  for (Cpu& cpu : cpus_) {
    for (Cache& cache : cpu.classes) {
      SpinLockGuard guard(cache.lock);
      delete cache.loaded;
      delete cache.previous;
    }
  }
  for (Depot& depot : depots_) {
    SpinLockGuard guard(depot.lock);
    while (depot.top != nullptr) delete std::exchange(depot.top, depot.top->next);
  }
}

// Top down from `at`, the highest range that may matter: the first aligned place below `end` that is free and not below
// `floor`.
static std::optional<uint64_t> first_fit(const IovaRange* at, uint64_t end, uint64_t floor, uint64_t length) {
  const uint64_t alignment = std::bit_ceil(length);
  for (;; at = at->below) {
    if (end < length) return std::nullopt;
    uint64_t pfn = align_down(end - length, alignment);
    if (pfn < floor) return std::nullopt;
    if (at == nullptr || at->last < pfn) return pfn;
    end = std::min(end, at->first);
  }
}

Result<uint64_t> IovaDomain::alloc(uint64_t length, uint64_t limit) {
  if (length == 0) return fail(EINVAL, "addresses of no length");
  if (length > kMaxLength) return fail(ENOMEM, "more than there are addresses");
  limit = std::min(limit, kMaxLength);
  SpinLockGuard guard(lock_);
  const bool low = limit < low_end_;
  if (low && length >= low_failed_) return fail(ENOMEM, "no addresses below 4 GiB");

  ++walks_;
  const uint64_t end = limit + 1;
  const IovaRange* resume = low ? resume_low_ : resume_;
  std::optional<uint64_t> pfn;
  if (resume != nullptr) pfn = first_fit(resume->below, std::min(end, resume->first), start_, length);
  if (!pfn && (resume == nullptr || resume->last < limit))
    pfn = first_fit(tree_.at_or_below(limit), end, resume == nullptr ? start_ : std::max(start_, resume->last + 1),
                    length);
  if (!pfn) {
    // Only a search of everything below 4 GiB tells what others can expect there.
    if (end >= low_end_) low_failed_ = std::min(low_failed_, length);
    return fail(ENOMEM, "no addresses left");
  }
  IovaRange* made = tree_.insert(*pfn, *pfn + length - 1, false);
  (made->last < low_end_ ? resume_low_ : resume_) = made;
  return *pfn;
}

void IovaDomain::remove(IovaRange* range) {
  // The freed place is above where searches begin, or just there: begin above it.
  if (resume_low_ != nullptr &&
      (range == resume_low_ || (range->last < low_end_ && range->first >= resume_low_->first)))
    resume_low_ = range->above;
  if (resume_ != nullptr && range->first >= resume_->first) resume_ = range->above;
  if (range->first < low_end_) low_failed_ = low_end_;
  if (range->reserved) --reserved_;
  tree_.erase(range);
}

Status IovaDomain::free(uint64_t pfn) {
  SpinLockGuard guard(lock_);
  IovaRange* range = tree_.find(pfn);
  if (range == nullptr || range->reserved) return fail(EINVAL, "addresses that nobody has");
  remove(range);
  return {};
}

std::optional<IovaDomain::Range> IovaDomain::find(uint64_t pfn) const {
  SpinLockGuard guard(lock_);
  const IovaRange* range = tree_.find(pfn);
  if (range == nullptr) return std::nullopt;
  return Range{range->first, range->last, range->reserved};
}

Status IovaDomain::reserve(uint64_t first, uint64_t last) {
  if (first > last || last > ~uint64_t{0} >> shift_) return fail(EINVAL, "no addresses to reserve");
  SpinLockGuard guard(lock_);
  for (const IovaRange* range = tree_.at_or_below(last); range != nullptr && range->last >= first; range = range->below)
    if (!range->reserved) return fail(EBUSY, "addresses to reserve are in use");
  for (;;) {
    IovaRange* range = tree_.at_or_below(last);
    if (range == nullptr || range->last < first) break;
    first = std::min(first, range->first);
    last = std::max(last, range->last);
    remove(range);
  }
  tree_.insert(first, last, true);
  ++reserved_;
  return {};
}

std::vector<IovaDomain::Range> IovaDomain::take(uint64_t first, uint64_t last) {
  std::vector<Range> taken;
  SpinLockGuard guard(lock_);
  // Top down, as the tree is threaded.
  const IovaRange* at = tree_.at_or_below(last);
  for (uint64_t end = last;; at = at->below) {
    const bool free_to_first = at == nullptr || at->last < first;
    if (free_to_first || at->last < end) taken.push_back({free_to_first ? first : at->last + 1, end, false});
    if (free_to_first || at->first <= first) break;
    end = at->first - 1;
  }
  std::reverse(taken.begin(), taken.end());
  for (const Range& range : taken) tree_.insert(range.first, range.last, false);
  return taken;
}

Status IovaDomain::cut(uint64_t first, uint64_t last) {
  SpinLockGuard guard(lock_);
  IovaRange* range = tree_.find(first);
  if (range == nullptr || range->reserved || last < first || last > range->last)
    return fail(EINVAL, "addresses that are not one range somebody has");
  const uint64_t end = range->last;
  // Its place in the tree is that of its first pfn, which stays.
  if (range->first == first) {
    range->last = last;
  } else {
    range->last = first - 1;
    tree_.insert(first, last, false);
  }
  if (end != last) tree_.insert(last + 1, end, false);
  return {};
}

std::optional<uint64_t> IovaDomain::take_cached(unsigned order, uint64_t length, uint64_t limit) {
  Cache& cache = cpus_[mm::cpu_slot()].classes[order];
  SpinLockGuard guard(cache.lock);
  if (cache.loaded == nullptr || cache.loaded->count == 0) {
    if (cache.previous != nullptr && cache.previous->count != 0) {
      std::swap(cache.loaded, cache.previous);
    } else {
      Depot& depot = depots_[order];
      SpinLockGuard depot_guard(depot.lock);
      if (depot.top == nullptr) return std::nullopt;
      delete cache.loaded;
      cache.loaded = std::exchange(depot.top, depot.top->next);
      cache.loaded->count = kMagazine;
      --depot.count;
    }
  }
  return cache.loaded->pop(length, limit);
}

bool IovaDomain::put_cached(unsigned order, uint64_t pfn) {
  bool crowded = false;
  {
    Cache& cache = cpus_[mm::cpu_slot()].classes[order];
    SpinLockGuard guard(cache.lock);
    if (cache.loaded == nullptr || cache.loaded->full()) {
      if (cache.previous != nullptr && !cache.previous->full()) {
        std::swap(cache.loaded, cache.previous);
      } else {
        IovaMagazine* empty = make_magazine();
        if (empty == nullptr) return false;
        if (cache.previous == nullptr) {
          cache.previous = cache.loaded;
        } else {
          Depot& depot = depots_[order];
          SpinLockGuard depot_guard(depot.lock);
          cache.loaded->next = depot.top;
          depot.top = cache.loaded;
          crowded = ++depot.count > mm::kCpuSlots;
        }
        cache.loaded = empty;
      }
    }
    cache.loaded->push(pfn);
  }
  if (crowded) trimmer_->arm();
  return true;
}

Result<uint64_t> IovaDomain::alloc_fast(uint64_t length, uint64_t limit, Flush flush) {
  if (length == 0) return fail(EINVAL, "addresses of no length");
  length = rounded(length);
  if (unsigned order = order_of(length); order < kClasses)
    if (auto pfn = take_cached(order, length, limit)) return *pfn;
  Result<uint64_t> pfn = alloc(length, limit);
  if (pfn || flush == Flush::kNo) return pfn;
  drain();
  return alloc(length, limit);
}

void IovaDomain::free_fast(uint64_t pfn, uint64_t length) {
  if (unsigned order = order_of(length); order < kClasses && put_cached(order, pfn)) return;
  if (Status freed = free(pfn); !freed) log::warn("iommu", "pfn {:#x}: {}", pfn, freed.error().message);
}

void IovaDomain::give_back(IovaMagazine* magazine) {
  if (magazine == nullptr) return;
  {
    SpinLockGuard guard(lock_);
    for (uint64_t i = 0; i < magazine->count; ++i) {
      IovaRange* range = tree_.find(magazine->pfns[i]);
      if (range == nullptr || range->reserved)
        log::warn("iommu", "pfn {:#x} was freed, and nobody has it", magazine->pfns[i]);
      else
        remove(range);
    }
  }
  delete magazine;
}

void IovaDomain::drain_cpu(unsigned cpu) {
  for (Cache& cache : cpus_[cpu].classes) {
    IovaMagazine *loaded, *previous;
    {
      SpinLockGuard guard(cache.lock);
      loaded = std::exchange(cache.loaded, nullptr);
      previous = std::exchange(cache.previous, nullptr);
    }
    give_back(loaded);
    give_back(previous);
  }
}

void IovaDomain::drain_depots() {
  for (Depot& depot : depots_) {
    for (;;) {
      IovaMagazine* full;
      {
        SpinLockGuard guard(depot.lock);
        full = depot.top;
        if (full == nullptr) break;
        depot.top = full->next;
        --depot.count;
      }
      full->count = kMagazine;
      give_back(full);
    }
  }
}

void IovaDomain::drain() {
  for (unsigned cpu = 0; cpu < mm::kCpuSlots; ++cpu) drain_cpu(cpu);
  drain_depots();
}

bool IovaDomain::trim_depots() {
  bool more = false;
  for (Depot& depot : depots_) {
    IovaMagazine* full = nullptr;
    {
      SpinLockGuard guard(depot.lock);
      if (depot.count <= mm::kCpuSlots) continue;
      full = std::exchange(depot.top, depot.top->next);
      more = --depot.count > mm::kCpuSlots || more;
    }
    full->count = kMagazine;
    give_back(full);
  }
  return more;
}

IovaDomain::Stats IovaDomain::stats() const {
  Stats stats;
  for (const Cpu& cpu : cpus_) {
    for (const Cache& cache : cpu.classes) {
      SpinLockGuard guard(cache.lock);
      for (const IovaMagazine* magazine : {cache.loaded, cache.previous})
        if (magazine != nullptr) stats.cached += magazine->count;
    }
  }
  for (const Depot& depot : depots_) {
    SpinLockGuard guard(depot.lock);
    stats.depot += depot.count;
  }
  stats.cached += stats.depot * kMagazine;
  SpinLockGuard guard(lock_);
  stats.live = tree_.size() - reserved_ - stats.cached;
  stats.walks = walks_;
  stats.reserved = reserved_;
  return stats;
}

}  // namespace causeway::iommu
