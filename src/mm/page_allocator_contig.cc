// Contiguous memory of any size: gigantic pages, CMA, exact ranges.
#include <sys/mman.h>

#include <bit>
#include <cstring>

#include "base/log.h"
#include "base/point.h"
#include "mm/page_allocator.h"
#include "mm/page_allocator_state.h"

namespace causeway::mm {

using sync::SpinLockGuard;

namespace {

// From here on a hole in the host's file is cheaper than writing zeros.
constexpr uint64_t kPunchBytes = MiB(2);

void zero_range(const MemMap& map, PfnRange range) {
  std::byte* start = map.direct_map().to_virt(range.begin.address());
  if (range.bytes() >= kPunchBytes && ::madvise(start, range.bytes(), MADV_REMOVE) == 0) return;
  std::memset(start, 0, range.bytes());
}

}  // namespace

Page* PageAllocator::State::own_range(PfnRange range) {
  if (!may_hand_out(range, 0)) return nullptr;
  for (Pfn pfn = range.begin; pfn < range.end; ++pfn) hand_out(map.page(pfn), 0, Gfp::kNone);
  return map.page(range.begin);
}

std::optional<PfnRange> PageAllocator::State::carve_contig(Zone& where, uint64_t pages, uint64_t alignment,
                                                           UseCma cma) {
  SpinLockGuard guard(where.lock);
  auto start = where.find_contig(pages, alignment, cma);
  if (!start) return std::nullopt;
  PfnRange range{*start, *start + pages};
  where.carve(range);
  return range;
}

Result<Page*> PageAllocator::alloc_contig(uint64_t pages, uint64_t alignment, Gfp gfp) {
  CW_FAIL_POINT("mm.alloc_contig.begin");
  if (pages == 0) return fail(EINVAL, "contiguous allocation of no pages");
  if (!is_power_of_two(alignment)) return fail(EINVAL, "alignment is not a power of two");
  if (has(gfp, Gfp::kComp) && !is_power_of_two(pages)) return fail(EINVAL, "a compound page has 2^n pages");
  State& state = *state_;
  UseCma cma = has(gfp, Gfp::kMovable) ? UseCma::kYes : UseCma::kNo;
  for (int attempt = 0; attempt < 2; ++attempt) {
    for (ZoneId id : {ZoneId::kNormal, ZoneId::kDma32}) {
      if (id == ZoneId::kNormal && has(gfp, Gfp::kDma32)) continue;
      // A range with a bad page in it is leaked, and the next one tried.
      while (auto range = state.carve_contig(state.zone(id), pages, alignment, cma)) {
        Page* first = state.own_range(*range);
        if (first == nullptr) continue;
        if (has(gfp, Gfp::kZero)) zero_range(*map_, *range);
        if (has(gfp, Gfp::kComp)) prep_compound(first, Order(static_cast<unsigned>(std::countr_zero(pages))));
        return first;
      }
    }
    if (attempt == 0) state.drain_all();
  }
  if (!has(gfp, Gfp::kNoWarn)) log::warn("mm", "no {} contiguous free pages aligned to {}", pages, alignment);
  return fail(ENOMEM, "no contiguous free range of that size");
}

Status PageAllocator::State::carve_exactly(PfnRange range) {
  // Both zones at once: a range may cross 4 GiB.
  BothLocks locks(*this);
  bool ram = true;
  bool free = true;
  for_each_zone(range, [&](Zone& where, PfnRange part) CW_REQUIRES(where.lock) {
    ram = ram && where.is_ram(part);
    free = free && where.first_busy(part, UseCma::kYes) == part.end;
  });
  if (!ram) return fail(EINVAL, "range is not all RAM");
  if (!free) return fail(EBUSY, "a frame of the range is in use");
  for_each_zone(range, [](Zone& where, PfnRange part) CW_REQUIRES(where.lock) { where.carve(part); });
  return {};
}

Result<Page*> PageAllocator::alloc_contig_range(PfnRange range) {
  CW_FAIL_POINT("mm.alloc_contig_range.begin");
  State& state = *state_;
  if (!state.in_map(range)) return fail(EINVAL, "range is empty or outside the memory map");
  Status carved = state.carve_exactly(range);
  if (!carved && carved.error().code == Errno{EBUSY}) {
    state.drain_all();
    carved = state.carve_exactly(range);
  }
  CW_TRY(std::move(carved));
  Page* first = state.own_range(range);
  if (first == nullptr) return fail(EBUSY, "a frame of the range is bad");
  return first;
}

void PageAllocator::free_contig(Page* page, uint64_t pages) {
  State& state = *state_;
  PfnRange range;
  if (pages == 0) return;
  if (!state.block_of(page, pages, &range)) {
    Pfn pfn = map_->pfn(page);
    state.report_stranger(BadPage::kNotManaged, pfn, "freed as contiguous memory");
    return;
  }
  if (page->has(kPageHead) && uint64_t{1} << page->order == pages) return put_page(page);

  // Neighbours that are free together go back together.
  PfnRange run{range.begin, range.begin};
  for (Pfn pfn = range.begin; pfn < range.end; ++pfn) {
    Page* single = map_->page(pfn);
    bool free = false;
    if (single->has(kPageHead | kPageTail)) {
      state.report_stranger(BadPage::kCompound, pfn, "freed as contiguous memory");
    } else {
      free = state.drop_reference(single) && state.may_free({pfn, pfn + 1});
    }
    if (free) {
      single->reset();
      run.end = pfn + 1;
      continue;
    }
    if (!run.empty()) state.give_to_zones(run);
    run = {pfn + 1, pfn + 1};
  }
  if (!run.empty()) state.give_to_zones(run);
}

Status PageAllocator::set_pageblock_type(PfnRange range, MigrateType type) {
  State& state = *state_;
  if (!state.in_map(range) || !range.begin.is_aligned(kPageblockOrder) || !range.end.is_aligned(kPageblockOrder))
    return fail(EINVAL, "not whole pageblocks of the memory map");
  state.for_each_zone(range, [&](Zone& zone, PfnRange part) {
    SpinLockGuard guard(zone.lock);
    zone.set_type(part, type);
  });
  return {};
}

}  // namespace causeway::mm
