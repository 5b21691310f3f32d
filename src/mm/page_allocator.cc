#include "mm/page_allocator.h"

#include <cassert>
#include <cstring>
#include <utility>

#include "base/log.h"
#include "base/point.h"
#include "mm/page_allocator_state.h"

namespace causeway::mm {

using sync::SpinLockGuard;

namespace {

constexpr PhysAddr kAnywhere{~uint64_t{0}};

MigrateType type_for(Gfp gfp) {
  return has(gfp, Gfp::kMovable) ? MigrateType::kMovable : MigrateType::kUnmovable;
}

}  // namespace

Result<std::unique_ptr<PageAllocator>> PageAllocator::create(MemMap& map, bool check_pages) {
  auto state = std::make_unique<State>(map, CW_TRY(FrameBits::create(map.end_pfn())), check_pages);
  return std::unique_ptr<PageAllocator>(new PageAllocator(map, std::move(state)));
}

PageAllocator::PageAllocator(MemMap& map, std::unique_ptr<State> state)
    : map_(&map), state_(std::move(state)) {}
PageAllocator::~PageAllocator() = default;

// A single page from the calling thread's list, which is refilled from the zone.
Page* PageAllocator::State::take_single(MigrateType type, ZoneId id) {
  CpuSlot& slot = slots[cpu_slot()];
  while (true) {
    Pfn pfn;
    {
      SpinLockGuard guard(slot.lock);
      PcpList& list = slot.list(id, type);
      if (list.count == 0 && !refill(slot, list, type, id)) [[unlikely]]
        return nullptr;
      pfn = Pfn(list.frames[--list.count]);
    }
    Page* page = map.page(pfn);
    bool good = page->flags.load(std::memory_order_relaxed) == kPagePcp && page->count() == 0 &&
                page->mapcount_plus_one.load(std::memory_order_relaxed) == 0;
    if (good || may_hand_out({pfn, pfn + 1}, kPagePcp)) [[likely]]
      return page;
  }
}

// False if the page needs the long way: checks that fail, or a page that is not known to be one alone.
bool PageAllocator::State::free_single(Page* page, Pfn pfn) {
  if (page->owned == 0 || page->order != 0 || page->flags.load(std::memory_order_relaxed) != 0 ||
      page->mapcount_plus_one.load(std::memory_order_relaxed) != 0) [[unlikely]] {
    return false;
  }
  give_back_single(page, pfn);
  return true;
}

void PageAllocator::State::give_back_single(Page* page, Pfn pfn) {
  page->private_data = 0;
  page->owned = 0;
  MigrateType type = bits.type(pfn);
  if (type == MigrateType::kIsolate) [[unlikely]] {
    page->flags.store(0, std::memory_order_relaxed);
    return give_to_zones({pfn, pfn + 1});
  }
  CpuSlot& slot = slots[cpu_slot()];
  SpinLockGuard guard(slot.lock);
  PcpList& list = slot.list(zone_of(pfn), type);
  if (list.count == kPcpHigh) [[unlikely]]
    drain(slot, list, zone_of(pfn), kPcpHigh - kPcpBatch);
  page->flags.store(kPagePcp, std::memory_order_relaxed);
  list.frames[list.count++] = static_cast<uint32_t>(pfn.value());
}

void PageAllocator::State::hand_out(Page* page, unsigned order, Gfp gfp) {
  page->private_data = 0;
  page->order = static_cast<uint8_t>(order);
  page->owned = 1;
  page->flags.store(0, std::memory_order_relaxed);
  page->set_count(1);
  if (has(gfp, Gfp::kZero)) std::memset(map.address(page), 0, kPageSize << order);
}

Result<Page*> PageAllocator::alloc_pages(Order order, Gfp gfp) {
  CW_FAIL_POINT("mm.alloc_pages.begin");
  // By far the most common request, and the only one whose nanoseconds count.
  if (order == kOrder0 && !has(gfp, Gfp::kDma32) && state_->zone(ZoneId::kNormal).populated()) {
    if (Page* page = state_->take_single(type_for(gfp), ZoneId::kNormal)) {
      state_->hand_out(page, 0, gfp);
      return page;
    }
  }
  return alloc_from_zones(order, gfp, kAnywhere);
}

Result<Page*> PageAllocator::alloc_pages_below(Order order, Gfp gfp, PhysAddr limit) {
  CW_FAIL_POINT("mm.alloc_pages_below.begin");
  return alloc_from_zones(order, gfp, limit);
}

Result<Page*> PageAllocator::alloc_from_zones(Order order, Gfp gfp, PhysAddr limit) {
  if (order > kMaxPageOrder) return fail(EINVAL, "order above the maximum");
  State& state = *state_;
  MigrateType type = type_for(gfp);
  // `limit` is the last byte; the blocks lie below the first frame that is not wholly within it.
  Pfn end = limit == kAnywhere ? Pfn(UINT64_MAX) : Pfn::containing(limit + 1);
  for (int attempt = 0; attempt < 2; ++attempt) {
    for (ZoneId id : {ZoneId::kNormal, ZoneId::kDma32}) {
      if (id == ZoneId::kNormal && has(gfp, Gfp::kDma32)) continue;
      Page* page = state.take_block_below(order.value(), type, id, end);
      if (page == nullptr) continue;
      state.hand_out(page, order.value(), gfp);
      if (has(gfp, Gfp::kComp)) prep_compound(page, order);
      return page;
    }
    // What other threads keep for themselves may be all that is missing, or may merge into a block.
    if (attempt == 0) state.drain_all();
  }
  if (!has(gfp, Gfp::kNoWarn)) {
    PageStats now = stats();
    log::warn("mm", "page allocation failure: order {}, gfp {:#x}, limit {}; free: dma32 {}, normal {} pages",
              order, static_cast<uint32_t>(gfp), limit, now.zone[0].free_pages, now.zone[1].free_pages);
  }
  return fail(ENOMEM, "no free block of that order");
}

void PageAllocator::free_pages(Page* page, Order order) {
  State& state = *state_;
  PfnRange block;
  if (!state.block_of(page, order.pages(), &block)) [[unlikely]] {
    Pfn pfn = map_->pfn(page);
    state.report_stranger(BadPage::kNotManaged, pfn, "freed");
    return;
  }
  if (page->has(kPageTail)) [[unlikely]] {
    state.report_stranger(BadPage::kCompound, block.begin, "a tail freed by itself");
    return;
  }
  if (!state.drop_reference(page)) return;
  if (page->has(kPageHead) && page->order != order.value()) [[unlikely]] {
    PfnRange whole{block.begin, block.begin + (uint64_t{1} << page->order)};
    state.report(BadPage::kCompound, block.begin, whole, "freed with another order");
    state.leak(whole);
    return;
  }
  CW_POINT("mm.free_pages.last_reference");
  if (order == kOrder0 && state.free_single(page, block.begin)) [[likely]]
    return;
  state.free_block(block);
}

void PageAllocator::get_page(Page* page) {
  Page* head = map_->head(page);
  int32_t count = head->refcount.load(std::memory_order_relaxed);
  do {
    // A page without an owner cannot get one this way: it may be on a free list.
    if (count <= 0) [[unlikely]] {
      Pfn pfn = map_->pfn(head);
      state_->report_stranger(state_->reason_not_allocated(pfn), pfn, "a reference taken without having one");
      return;
    }
  } while (!head->refcount.compare_exchange_weak(count, count + 1, std::memory_order_acq_rel,
                                                 std::memory_order_relaxed));
}

void PageAllocator::put_page(Page* page) {
  State& state = *state_;
  PfnRange block;
  Page* head = state.block_of(page, 1, &block) ? map_->head(page) : nullptr;
  if (head == nullptr || !state.block_of(head, 1, &block)) [[unlikely]] {
    Pfn pfn = map_->pfn(page);
    state.report_stranger(BadPage::kNotManaged, pfn, "put");
    return;
  }
  if (!state.drop_reference(head)) return;
  // Only now: until the last reference is gone the order is somebody else's.
  if (head->has(kPageHead)) {
    if (!state.block_of(head, uint64_t{1} << head->order, &block)) [[unlikely]] {
      state.report(BadPage::kCompound, block.begin, block, "put");
      state.leak(block);
      return;
    }
  }
  if (block.pages() == 1 && state.free_single(head, block.begin)) [[likely]]
    return;
  state.free_block(block);
}

Status PageAllocator::split_page(Page* page, Order order) {
  if (page->has(kPageHead | kPageTail)) return fail(EINVAL, "a compound page cannot be split");
  if (page->has(kPageBuddy | kPagePcp) || page->count() <= 0)
    return fail(EINVAL, "a free page cannot be split");
  PfnRange block;
  if (!state_->block_of(page, order.pages(), &block))
    return fail(EINVAL, "block ends outside the memory map");
  int32_t count = page->count();
  // A block this allocator made is known to be whole; of restored memory the pieces stay unknown.
  uint8_t owned = page->owned != 0 && page->order == order.value();
  for (uint64_t i = 0; i < order.pages(); ++i) {
    page[i].order = 0;
    page[i].owned = owned;
    page[i].set_count(count);
  }
  return {};
}

void PageAllocator::prep_compound(Page* page, Order order) {
  if (order == kOrder0) return;
  for (uint64_t i = 1; i < order.pages(); ++i) {
    page[i].private_data = i;
    page[i].owned = 0;
    page[i].set_count(0);
    page[i].set(kPageTail);
  }
  page->order = static_cast<uint8_t>(order.value());
  page->set(kPageHead);
}

void PageAllocator::destroy_compound(Page* head) {
  if (!head->has(kPageHead)) return;
  uint64_t pages = uint64_t{1} << head->order;
  for (uint64_t i = 1; i < pages; ++i) {
    head[i].clear(kPageTail);
    head[i].private_data = 0;
  }
  head->clear(kPageHead);
}

PageStats PageAllocator::stats() const {
  PageStats stats;
  State& state = *state_;
  for (unsigned id = 0; id < kZones; ++id) {
    Zone& zone = state.zones[id];
    SpinLockGuard guard(zone.lock);
    stats.zone[id] = {zone.managed_pages(), zone.free_pages(), zone.free_cma_pages()};
  }
  for (CpuSlot& slot : state.slots) {
    SpinLockGuard guard(slot.lock);
    for (unsigned id = 0; id < kZones; ++id) {
      for (unsigned type = 0; type < kPcpTypes; ++type) {
        PcpList& list = slot.list(ZoneId(id), MigrateType(type));
        stats.zone[id].free_pages += list.count;
        for (uint32_t i = 0; i < list.count; ++i) {
          stats.zone[id].free_cma_pages += state.bits.type(Pfn(list.frames[i])) == MigrateType::kCma;
        }
      }
    }
  }
  stats.bad_pages = state.bad_pages.load(std::memory_order_relaxed);
  stats.leaked_pages = state.leaked_pages.load(std::memory_order_relaxed);
  stats.tainted = stats.bad_pages != 0;
  return stats;
}

void PageAllocator::drain_per_cpu_lists() {
  state_->drain_all();
}

}  // namespace causeway::mm
