#include "mm/page_allocator_state.h"

#include <bit>

#include "base/log.h"
#include "base/point.h"

namespace causeway::mm {

using sync::SpinLockGuard;

bool PageAllocator::State::block_of(const Page* page, uint64_t pages, PfnRange* block) const {
  uint64_t pfn = map.pfn(page).value();
  if (pfn >= map.end_pfn() || pages > map.end_pfn() - pfn) return false;
  *block = {Pfn(pfn), Pfn(pfn + pages)};
  return true;
}

void PageAllocator::State::report(BadPage reason, Pfn bad, PfnRange block, const char* moment) {
  bad_pages.fetch_add(1, std::memory_order_relaxed);
  log::warn("mm", "{}", describe_bad_page(map, reason, bad, block, moment, PageOwner::kCaller));
}

void PageAllocator::State::report_stranger(BadPage reason, Pfn bad, const char* moment) {
  bad_pages.fetch_add(1, std::memory_order_relaxed);
  log::warn("mm", "{}", describe_bad_page(map, reason, bad, {bad, bad + 1}, moment, PageOwner::kUnknown));
}

void PageAllocator::State::leak(PfnRange block) {
  uint64_t leaked = 0;
  for_each_zone(block, [&](Zone& where, PfnRange part) {
    SpinLockGuard guard(where.lock);
    leaked += where.leak(part);
  });
  // Whoever frees a page of it later must not find it marked as his.
  for (Pfn pfn = block.begin; pfn < block.end; ++pfn) {
    Page* page = map.page(pfn);
    if (page->owned != 0) page->owned = 0;
  }
  map.page(block.begin)->set(kPagePoison);
  leaked_pages.fetch_add(leaked, std::memory_order_relaxed);
  log::warn("mm", "bad page: {} pages at {} leaked", leaked, block.begin);
}

BadPage PageAllocator::State::reason_not_allocated(Pfn pfn) {
  Zone& where = zone(pfn);
  SpinLockGuard guard(where.lock);
  switch (where.state(pfn)) {
    case FrameState::kFree:
      return BadPage::kAlreadyFree;
    case FrameState::kHole:
    case FrameState::kReserved:
      return BadPage::kNotManaged;
    case FrameState::kLeaked:
      return BadPage::kFlags;  // kPagePoison
    case FrameState::kAllocated:
      return BadPage::kNonzeroRefcount;
  }
  return BadPage::kNotManaged;
}

void PageAllocator::State::report_missing_reference(Page* page) {
  Pfn pfn = map.pfn(page);
  report_stranger(reason_not_allocated(pfn), pfn, "a reference dropped that nobody had");
}

bool PageAllocator::State::may_free(PfnRange block) {
  Page* head = map.page(block.begin);
  // What was not handed out as this very block (restored memory, a part of a block, a stranger) is
  // looked up frame by frame, for it must not overlap anything that is free.
  if (head->owned == 0 || uint64_t{1} << head->order != block.pages()) [[unlikely]] {
    Pfn stranger = block.end;
    for_each_zone(block, [&](Zone& where, PfnRange part) {
      if (stranger < block.end) return;
      SpinLockGuard guard(where.lock);
      Pfn first = where.first_not_allocated(part);
      if (first < part.end) stranger = first;
    });
    if (stranger < block.end) {
      bad_pages.fetch_add(1, std::memory_order_relaxed);
      log::warn("mm", "{}",
                describe_bad_page(map, reason_not_allocated(stranger), stranger, block, "freed",
                                  PageOwner::kUnknown));
      leak(block);
      return false;
    }
  }
  if (!check_pages) return true;
  BlockCheck check = check_freed_block(map, block.begin, block.pages());
  if (check.reason == BadPage::kNone) [[likely]]
    return true;
  report(check.reason, block.begin + check.index, block, "freed");
  leak(block);
  return false;
}

void PageAllocator::State::give_back(PfnRange block) {
  Page* head = map.page(block.begin);
  if (head->has(kPageHead)) {
    for (uint64_t i = 1; i < block.pages(); ++i) {
      head[i].flags.store(0, std::memory_order_relaxed);
      head[i].private_data = 0;
    }
  }
  if (block.pages() == 1) return give_back_single(head, block.begin);
  head->private_data = 0;
  head->owned = 0;
  head->flags.store(0, std::memory_order_relaxed);
  give_to_zones(block);
}

void PageAllocator::State::give_to_zones(PfnRange range) {
  for_each_zone(range, [](Zone& where, PfnRange part) {
    SpinLockGuard guard(where.lock);
    where.give_range(part);
  });
}

void PageAllocator::State::free_block(PfnRange block) {
  if (may_free(block)) [[likely]]
    give_back(block);
}

void PageAllocator::State::drain(CpuSlot& slot, PcpList& list, ZoneId id, unsigned keep) {
  (void)slot;
  if (list.count <= keep) return;
  uint32_t moved = list.count - keep;
  Zone& where = zone(id);
  SpinLockGuard guard(where.lock);
  // The oldest go: the newest are the ones still in the processor's cache.
  for (uint32_t i = 0; i < moved; ++i) {
    Pfn pfn(list.frames[i]);
    map.page(pfn)->clear(kPagePcp);
    where.give(pfn, 0);
  }
  std::copy(list.frames.begin() + moved, list.frames.begin() + list.count, list.frames.begin());
  list.count = keep;
}

bool PageAllocator::State::refill(CpuSlot& slot, PcpList& list, MigrateType type, ZoneId id) {
  (void)slot;
  Zone& where = zone(id);
  SpinLockGuard guard(where.lock);
  while (list.count < kPcpBatch) {
    auto fresh = where.take(0, type);
    if (!fresh) break;
    map.page(*fresh)->set(kPagePcp);
    list.frames[list.count++] = static_cast<uint32_t>(fresh->value());
  }
  // Handed out from the end: ascending addresses.
  std::reverse(list.frames.begin(), list.frames.begin() + list.count);
  return list.count != 0;
}

void PageAllocator::State::drain_all() {
  for (CpuSlot& slot : slots) {
    SpinLockGuard guard(slot.lock);
    for (unsigned id = 0; id < kZones; ++id) {
      for (unsigned type = 0; type < kPcpTypes; ++type) {
        drain(slot, slot.list(ZoneId(id), MigrateType(type)), ZoneId(id), 0);
      }
    }
  }
}

bool PageAllocator::State::may_hand_out(PfnRange block, uint32_t list_flag) {
  if (!check_pages) return true;
  BlockCheck check = check_new_block(map, block.begin, block.pages(), list_flag);
  if (check.reason == BadPage::kNone) [[likely]]
    return true;
  report(check.reason, block.begin + check.index, block, "found on a free list");
  map.page(block.begin)->clear(list_flag);
  leak(block);
  return false;
}

Page* PageAllocator::State::take_block(unsigned order, MigrateType type, ZoneId id) {
  Zone& where = zone(id);
  if (!where.populated()) return nullptr;
  if (order == 0) return take_single(type, id);
  while (true) {
    std::optional<Pfn> pfn;
    {
      SpinLockGuard guard(where.lock);
      pfn = where.take(order, type);
    }
    if (!pfn) return nullptr;
    if (may_hand_out({*pfn, *pfn + (uint64_t{1} << order)}, 0)) [[likely]]
      return map.page(*pfn);
  }
}

Page* PageAllocator::State::take_block_below(unsigned order, MigrateType type, ZoneId id, Pfn limit) {
  Zone& where = zone(id);
  if (where.end() <= limit) return take_block(order, type, id);
  while (true) {
    std::optional<Pfn> pfn;
    {
      SpinLockGuard guard(where.lock);
      pfn = where.take_below(order, type, limit);
    }
    if (!pfn) return nullptr;
    if (may_hand_out({*pfn, *pfn + (uint64_t{1} << order)}, 0)) return map.page(*pfn);
  }
}

}  // namespace causeway::mm
