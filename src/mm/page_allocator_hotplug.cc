// Memory that comes and goes while the system runs, and what a frame is.
#include <sys/mman.h>

#include <algorithm>
#include <array>

#include "base/log.h"
#include "base/point.h"
#include "mm/page_allocator.h"
#include "mm/page_allocator_state.h"

namespace causeway::mm {

using sync::SpinLockGuard;

namespace {

// All zero again: "never used". Whole pages of the array go back to the host.
void forget_pages(MemMap& map, PfnRange range) {
  constexpr uint64_t kEntries = kPageSize / sizeof(Page);
  Pfn first(align_up(range.begin.value(), kEntries));
  Pfn last(align_down(range.end.value(), kEntries));
  if (first >= last || ::madvise(map.page(first), (last - first) * sizeof(Page), MADV_DONTNEED) != 0) {
    first = last = range.end;
  }
  for (Pfn pfn = range.begin; pfn < first; ++pfn) map.page(pfn)->reset();
  for (Pfn pfn = last; pfn < range.end; ++pfn) map.page(pfn)->reset();
}

// Whether every struct page of the range has refcount 0. Entries that were never touched are not looked at: a client's
// file may have very many.
bool all_unused(MemMap& map, PfnRange range) {
  constexpr uint64_t kEntries = kPageSize / sizeof(Page);
  constexpr uint64_t kChunk = 4096;  // pages of the array at a time
  std::array<unsigned char, kChunk> resident;
  for (Pfn chunk(align_down(range.begin.value(), kEntries)); chunk < range.end; chunk += kChunk * kEntries) {
    const uint64_t entries = std::min(kChunk * kEntries, align_up(range.end - chunk, kEntries));
    if (::mincore(map.page(chunk), entries * sizeof(Page), resident.data()) != 0) resident.fill(1);
    for (uint64_t i = 0; i < entries / kEntries; ++i) {
      if ((resident[i] & 1) == 0) continue;
      const Pfn first = std::max(range.begin, chunk + i * kEntries);
      const Pfn last = std::min(range.end, chunk + (i + 1) * kEntries);
      for (Pfn pfn = first; pfn < last; ++pfn)
        if (map.page(pfn)->count() != 0) return false;
    }
  }
  return true;
}

}  // namespace

Status PageAllocator::hot_add(PfnRange range, HotMemory kind) {
  CW_FAIL_POINT("mm.hot_add.begin");
  State& state = *state_;
  if (!state.in_map(range)) return fail(EINVAL, "hot-added range is empty or outside the memory map");
  State::BothLocks locks(state);
  bool overlap = false;
  state.for_each_zone(range, [&](Zone& zone, PfnRange part)
                                 CW_REQUIRES(zone.lock) { overlap = overlap || zone.overlaps_ram(part); });
  if (overlap) return fail(EEXIST, "hot-added range overlaps RAM");
  state.for_each_zone(range, [&](Zone& zone, PfnRange part) CW_REQUIRES(zone.lock) {
    zone.add_ram(part);
    if (kind == HotMemory::kReserved) {
      zone.reserve(part);
      return;
    }
    // A reservation at boot of what was not RAM then.
    zone.forget_reserved(part);
    if (part.begin == Pfn(0)) {
      zone.reserve({part.begin, part.begin + 1});
      ++part.begin;
    }
    if (!part.empty()) zone.add_virgin(part);
  });
  return {};
}

Status PageAllocator::State::withdraw(PfnRange range, HotMemory kind) {
  BothLocks locks(*this);
  bool ram = true;
  bool unused = true;
  for_each_zone(range, [&](Zone& where, PfnRange part) CW_REQUIRES(where.lock) {
    ram = ram && where.is_ram(part);
    if (kind == HotMemory::kFree) {
      unused = unused && where.first_busy(part, UseCma::kYes) == part.end;
      return;
    }
    unused = unused && where.all_reserved(part);
  });
  if (!ram) return fail(ENOENT, "hot-removed range is not all RAM");
  if (!unused) return fail(EBUSY, "a frame of the hot-removed range is in use");
  if (kind == HotMemory::kFree) {
    for_each_zone(range, [](Zone& where, PfnRange part) CW_REQUIRES(where.lock) { where.carve(part); });
  }
  return {};
}

Status PageAllocator::hot_remove(PfnRange range, HotMemory kind) {
  CW_FAIL_POINT("mm.hot_remove.begin");
  State& state = *state_;
  if (!state.in_map(range)) return fail(EINVAL, "hot-removed range is empty or outside the memory map");
  if (kind == HotMemory::kFree) {
    state.drain_all();
  } else if (!all_unused(*map_, range)) {
    // Their owner counts them, and it is the owner who removes them: nobody counts up meanwhile.
    return fail(EBUSY, "a frame of the hot-removed range is in use");
  }
  CW_TRY(state.withdraw(range, kind));
  CW_POINT("mm.hot_remove.withdrawn");
  // The frames are in no list now, so that nobody reads their entries while they are wiped.
  forget_pages(*map_, range);
  State::BothLocks locks(state);
  state.for_each_zone(range, [](Zone& zone, PfnRange part) CW_REQUIRES(zone.lock) { zone.remove_ram(part); });
  return {};
}

bool PageAllocator::is_managed(Pfn pfn) const {
  Zone& zone = state_->zone(pfn);
  SpinLockGuard guard(zone.lock);
  return zone.is_ram({pfn, pfn + 1});
}

bool PageAllocator::is_managed(PfnRange range) const {
  if (!state_->in_map(range)) return false;
  bool ram = true;
  State::BothLocks locks(*state_);
  state_->for_each_zone(range, [&](Zone& zone, PfnRange part) CW_REQUIRES(zone.lock) { ram = ram && zone.is_ram(part); });
  return ram;
}

std::vector<PfnRange> PageAllocator::ram() const {
  std::vector<PfnRange> all;
  State::BothLocks locks(*state_);
  state_->for_each_zone({Pfn(0), Pfn(map_->end_pfn())}, [&](Zone& zone, PfnRange) CW_REQUIRES(zone.lock) {
    for (const RangeSet::Range& range : zone.ram()) all.push_back({Pfn(range.begin), Pfn(range.end)});
  });
  return all;
}

FrameState PageAllocator::state(Pfn pfn) const {
  Zone& zone = state_->zone(pfn);
  SpinLockGuard guard(zone.lock);
  return zone.state(pfn);
}

}  // namespace causeway::mm
