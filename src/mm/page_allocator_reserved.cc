// Boot and reserved memory: what the allocator takes over, and what it is given later.
#include <vector>

#include "base/log.h"
#include "base/point.h"
#include "mm/page_allocator.h"
#include "mm/page_allocator_state.h"

namespace causeway::mm {

using sync::SpinLockGuard;

namespace {

PfnRange inner_frames(MemRange range) {
  return {Pfn(align_up(range.base.value(), kPageSize) >> kPageShift), Pfn::containing(range.end())};
}
PfnRange outer_frames(MemRange range) {
  return {Pfn::containing(range.base), Pfn(align_up(range.end().value(), kPageSize) >> kPageShift)};
}

PfnRange clip(PfnRange range, PfnRange to) {
  return {std::max(range.begin, to.begin), std::min(range.end, to.end)};
}

}  // namespace

void PageAllocator::State::mark_reserved(PfnRange frames, const BootMemory& boot) {
  // What is reserved but not RAM has no struct page worth marking; and memory that is reserved both
  // ways counts as preserved, whose struct pages nobody writes to.
  RangeSet marked;
  for (const MemRange& ram : boot.memory()) {
    PfnRange part = clip(frames, inner_frames(ram));
    if (!part.empty()) marked.add({part.begin.address().value(), part.end.address().value()});
  }
  std::span<const RangeSet::Range> no_init = boot.reserved_ranges(Reservation::kNoInit);
  auto overlap =
      std::upper_bound(no_init.begin(), no_init.end(), frames.begin.address().value(),
                       [](uint64_t value, const RangeSet::Range& range) { return value < range.end; });
  for (; overlap != no_init.end() && overlap->begin < frames.end.address().value(); ++overlap) {
    marked.remove({align_down(overlap->begin, kPageSize), align_up(overlap->end, kPageSize)});
  }
  for (const RangeSet::Range& range : marked.ranges()) {
    for (PhysAddr address(range.begin); address < PhysAddr(range.end); address += kPageSize) {
      map.page(address)->set(kPageReserved);
    }
  }
}

void PageAllocator::take_over(const BootMemory& boot) CW_NO_THREAD_SAFETY_ANALYSIS {
  State& state = *state_;
  PfnRange everything{Pfn(0), Pfn(map_->end_pfn())};
  // Nothing else runs yet; the locks are held for the sake of the rule.
  State::BothLocks locks(state);
  auto reserve = [&](PfnRange range) {
    state.for_each_zone(clip(range, everything),
                        [](Zone& zone, PfnRange part) CW_REQUIRES(zone.lock) { zone.reserve(part); });
  };
  std::vector<MemRange> memory = boot.memory();
  for (const MemRange& range : memory) {
    state.for_each_zone(clip(inner_frames(range), everything),
                        [](Zone& zone, PfnRange part) CW_REQUIRES(zone.lock) { zone.add_ram(part); });
  }
  std::array<size_t, kZones> expected = {};
  for (const RangeSet::Range& range : boot.reserved_ranges(Reservation::kNoInit)) {
    ++expected[static_cast<unsigned>(zone_of(Pfn::containing(PhysAddr(range.begin))))];
  }
  for (unsigned id = 0; id < kZones; ++id) state.zones[id].expect_reserved(expected[id]);
  for (const RangeSet::Range& range : boot.reserved_ranges(Reservation::kNoInit)) {
    reserve(outer_frames({PhysAddr(range.begin), range.end - range.begin}));
  }
  CW_POINT("mm.take_over.no_init_reserved");
  for (const RangeSet::Range& range : boot.reserved_ranges(Reservation::kNormal)) {
    PfnRange frames = clip(outer_frames({PhysAddr(range.begin), range.end - range.begin}), everything);
    state.mark_reserved(frames, boot);
    reserve(frames);
  }

  expected = {};
  boot.for_each_free(
      [&](MemRange range) { ++expected[static_cast<unsigned>(zone_of(inner_frames(range).begin))]; });
  for (unsigned id = 0; id < kZones; ++id) state.zones[id].expect_virgin(expected[id] + 1);
  boot.for_each_free([&](MemRange range) {
    PfnRange frames = clip(inner_frames(range), everything);
    // Frame 0 means "none" in free lists, and as an address to most drivers.
    if (frames.begin == Pfn(0)) {
      reserve({Pfn(0), Pfn(1)});
      ++frames.begin;
    }
    state.for_each_zone(frames,
                        [](Zone& zone, PfnRange part) CW_REQUIRES(zone.lock) { zone.append_virgin(part); });
  });
  for (Zone& zone : state.zones) zone.seal_virgin();
}

void PageAllocator::release_reserved(PfnRange range, MigrateType type) {
  State& state = *state_;
  PfnRange usable = clip(range, {Pfn(1), Pfn(map_->end_pfn())});
  if (usable.begin != range.begin || usable.end != range.end) {
    log::warn("mm", "release of reserved memory {}..{} ends outside the memory map, or takes frame 0",
              range.begin, range.end);
  }
  state.for_each_zone(usable, [&](Zone& zone, PfnRange part) {
    for (Pfn pfn = part.begin; pfn < part.end;) {
      PfnRange run{pfn, pfn};
      {
        SpinLockGuard guard(zone.lock);
        while (run.end < part.end && zone.state(run.end) == FrameState::kReserved) ++run.end;
      }
      if (run.empty()) {
        state.report_stranger(state.reason_not_allocated(pfn), pfn, "released as reserved memory");
        ++pfn;
        continue;
      }
      // While they are still reserved nobody else touches these pages. Untouched ones stay untouched.
      for (Pfn frame = run.begin; frame < run.end; ++frame) map_->page(frame)->reset();
      SpinLockGuard guard(zone.lock);
      zone.adopt(run);
      zone.set_type(run, type);
      zone.give_range(run);
      pfn = run.end;
    }
  });
}

void PageAllocator::adopt_reserved(Page* page, Order order) {
  PfnRange block;
  if (!state_->block_of(page, order.pages(), &block)) {
    log::warn("mm", "adopted order-{} block at {} ends outside the memory map", order, map_->pfn(page));
    return;
  }
  uint64_t adopted = 0;
  state_->for_each_zone(block, [&](Zone& zone, PfnRange part) {
    SpinLockGuard guard(zone.lock);
    adopted += zone.adopt(part);
  });
  if (adopted != order.pages()) {
    log::warn("mm", "adopted order-{} block at {}: {} pages were reserved, want {}", order, block.begin,
              adopted, order.pages());
  }
}

}  // namespace causeway::mm
