#include "mm/zone.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cassert>

namespace causeway::mm {
namespace {

constexpr unsigned kTop = kMaxPageOrder.value();

RangeSet::Range as_range(PfnRange range) {
  return {range.begin.value(), range.end.value()};
}

// Whose lists an allocation turns to when its own and all untouched memory are used up.
constexpr std::array<MigrateType, 2> victims(MigrateType type) {
  switch (type) {
    case MigrateType::kUnmovable:
      return {MigrateType::kReclaimable, MigrateType::kMovable};
    case MigrateType::kReclaimable:
      return {MigrateType::kUnmovable, MigrateType::kMovable};
    default:
      return {MigrateType::kReclaimable, MigrateType::kUnmovable};
  }
}

}  // namespace

Result<FrameBits> FrameBits::create(uint64_t frames) {
  return FrameBits{CW_TRY(SparseBitmap::create(frames)), CW_TRY(SparseBitmap::create(frames)),
                   CW_TRY(Mapping::sparse((frames >> kPageblockOrder.value()) + 1))};
}

Zone::Zone(ZoneId id, MemMap& map, FrameBits& bits)
    : lock(id == ZoneId::kDma32 ? "mm.zone.dma32" : "mm.zone.normal"),
      id_(id),
      map_(&map),
      bits_(&bits),
      buddy_(map) {}

void Zone::add_ram(PfnRange range) {
  ram_.add(as_range(range));
  if (range.end > end()) end_.store(range.end.value(), std::memory_order_relaxed);
}

void Zone::remove_ram(PfnRange range) {
  ram_.remove(as_range(range));
  uint64_t reserved = 0;
  for (Pfn pfn = next_reserved(range.begin, range.end); pfn < range.end;) {
    Pfn end = next_unreserved(pfn, range.end);
    reserved += end - pfn;
    pfn = next_reserved(end, range.end);
  }
  managed_ -= range.pages() - reserved;
  forget_reserved(range);
  set_type(range, MigrateType::kMovable);
}

bool Zone::is_ram(PfnRange range) const {
  return ram_.contains(as_range(range));
}
bool Zone::overlaps_ram(PfnRange range) const {
  return ram_.overlaps(as_range(range));
}

void Zone::append_virgin(PfnRange range) {
  virgin_.append(range);
  managed_ += range.pages();
}

void Zone::add_virgin(PfnRange range) {
  virgin_.add(range);
  managed_ += range.pages();
}

Pfn Zone::keep_front(Pfn pfn, unsigned from, unsigned to, MigrateType type) {
  while (from > to) {
    --from;
    buddy_.insert(pfn + (uint64_t{1} << from), from, type);
  }
  return pfn;
}

std::optional<Pfn> Zone::take_listed(unsigned order, MigrateType type) {
  auto from = buddy_.smallest(order, type);
  if (!from) return std::nullopt;
  Pfn pfn = *buddy_.front(*from, type);
  buddy_.remove(pfn);
  return keep_front(pfn, *from, order, type);
}

std::optional<Pfn> Zone::take_virgin(unsigned order, MigrateType type) {
  auto block = virgin_.cut_largest(Order(order));
  if (!block) return std::nullopt;
  // A whole pageblock becomes the requester's; of a smaller piece only the rest of it does.
  if (block->order == kPageblockOrder) bits_->set_type(block->pfn, type);
  return keep_front(block->pfn, block->order.value(), order, type);
}

void Zone::claim_pageblock(Pfn pfn, MigrateType type) {
  Pfn block(align_down(pfn.value(), kPageblockOrder.pages()));
  Pfn end = block + kPageblockOrder.pages();
  bits_->set_type(block, type);
  while (block < end) {
    const Page* page = map_->page(block);
    if (!page->has(kPageBuddy)) {
      ++block;
      continue;
    }
    uint64_t pages = uint64_t{1} << page->order;
    buddy_.move(block, type);
    block += pages;
  }
}

std::optional<Pfn> Zone::steal(unsigned order, MigrateType type) {
  // The largest block first: the fewer pageblocks end up mixed.
  for (unsigned from = kTop + 1; from-- > order;) {
    for (MigrateType victim : victims(type)) {
      auto pfn = buddy_.front(from, victim);
      if (!pfn) continue;
      // Memory that cannot move is kept together at any price; movable allocations leave the
      // pageblock to its kind unless they get half of it.
      bool claim = type != MigrateType::kMovable || from >= kTop / 2;
      if (claim) claim_pageblock(*pfn, type);
      buddy_.remove(*pfn);
      return keep_front(*pfn, from, order, claim ? type : victim);
    }
  }
  return std::nullopt;
}

std::optional<Pfn> Zone::take(unsigned order, MigrateType type) {
  // Only movable allocations can use CMA memory, so they use it while it is most of what is left.
  bool movable = type == MigrateType::kMovable;
  if (movable && free_cma_pages() > free_pages() / 2) {
    if (auto pfn = take_listed(order, MigrateType::kCma)) return pfn;
  }
  if (auto pfn = take_listed(order, type)) return pfn;
  if (auto pfn = take_virgin(order, type)) return pfn;
  if (movable) {
    if (auto pfn = take_listed(order, MigrateType::kCma)) return pfn;
  }
  return steal(order, type);
}

std::optional<Pfn> Zone::take_below(unsigned order, MigrateType type, Pfn limit) {
  auto rivals = victims(type);
  std::array<MigrateType, 4> types = {type, rivals[0], rivals[1], MigrateType::kCma};
  size_t usable = type == MigrateType::kMovable ? 4 : 3;
  uint64_t pages = uint64_t{1} << order;
  for (size_t i = 0; i < usable; ++i) {
    for (unsigned from = order; from < kOrders; ++from) {
      for (auto pfn = buddy_.front(from, types[i]); pfn; pfn = buddy_.after(*pfn)) {
        if (*pfn + pages > limit) continue;
        buddy_.remove(*pfn);
        return keep_front(*pfn, from, order, types[i]);
      }
    }
    if (i == 0) {
      if (auto pfn = virgin_.cut_below(Order(order), limit)) {
        list_virgin_around({*pfn, *pfn + pages});
        return pfn;
      }
    }
  }
  return std::nullopt;
}

void Zone::give(Pfn pfn, unsigned order) {
  MigrateType type = bits_->type(pfn);
  // Buddies of at most the maximum order share a pageblock, hence also a zone.
  for (; order < kTop; ++order) {
    Pfn buddy(pfn.value() ^ uint64_t{1} << order);
    if (!buddy_.is_block(buddy, order)) break;
    buddy_.remove(buddy);
    pfn = std::min(pfn, buddy);
  }
  buddy_.insert(pfn, order, type);
}

void Zone::give_range(PfnRange range) {
  while (!range.empty()) {
    unsigned order = std::min({kTop, static_cast<unsigned>(std::countr_zero(range.begin.value())),
                               static_cast<unsigned>(std::bit_width(range.pages())) - 1});
    give(range.begin, order);
    range.begin += uint64_t{1} << order;
  }
}

Pfn Zone::first_busy(PfnRange range, UseCma cma) const {
  Pfn pfn = range.begin;
  while (pfn < range.end) {
    if (auto end = virgin_.end_of_part(pfn)) {
      pfn = *end;
      continue;
    }
    auto block = buddy_.enclosing(pfn);
    if (!block) return pfn;
    if (cma == UseCma::kNo && bits_->type(pfn) == MigrateType::kCma) return pfn;
    pfn = block->end;
  }
  return range.end;
}

void Zone::carve(PfnRange range) {
  Pfn pfn = range.begin;
  while (pfn < range.end) {
    if (auto end = virgin_.end_of_part(pfn)) {
      Pfn stop = std::min(*end, range.end);
      virgin_.carve({pfn, stop});
      pfn = stop;
      continue;
    }
    auto block = buddy_.enclosing(pfn);
    assert(block);
    buddy_.remove(block->begin);
    if (block->begin < pfn) give_range({block->begin, pfn});
    if (range.end < block->end) give_range({range.end, block->end});
    pfn = block->end;
  }
  list_virgin_around(range);
}

void Zone::list_virgin_around(PfnRange range) {
  PfnRange sides[] = {{Pfn(align_down(range.begin.value(), kPageblockOrder.pages())), range.begin},
                      {range.end, Pfn(align_up(range.end.value(), kPageblockOrder.pages()))}};
  for (PfnRange side : sides) {
    Pfn pfn = virgin_.next(side.begin, side.end);
    while (pfn < side.end) {
      Pfn stop = std::min(*virgin_.end_of_part(pfn), side.end);
      virgin_.carve({pfn, stop});
      give_range({pfn, stop});
      pfn = virgin_.next(stop, side.end);
    }
  }
}

Pfn Zone::next_maybe_free(Pfn pfn, Pfn end) const {
  end = virgin_.next(pfn, end);
  while (pfn < end) {
    Pfn unreserved = next_unreserved(pfn, end);
    if (unreserved != pfn) {
      pfn = unreserved;
      continue;
    }
    if (map_->page(pfn)->has(kPageBuddy)) return pfn;
    ++pfn;
  }
  return end;
}

std::optional<Pfn> Zone::find_contig(uint64_t pages, uint64_t alignment, UseCma cma) const {
  // Untouched memory first, from the top: small allocations eat it from the bottom.
  if (auto pfn = virgin_.find_run(pages, alignment)) return pfn;
  for (const RangeSet::Range& ram : ram_.ranges()) {
    Pfn start(align_up(ram.begin, alignment));
    while (start.value() < ram.end && ram.end - start.value() >= pages) {
      Pfn busy = first_busy({start, start + pages}, cma);
      if (busy == start + pages) return start;
      start = Pfn(align_up(next_maybe_free(busy + 1, Pfn(ram.end)).value(), alignment));
    }
  }
  return std::nullopt;
}

void Zone::reserve(PfnRange range) {
  reserved_.add(as_range(range));
}

void Zone::forget_reserved(PfnRange range) {
  reserved_.remove(as_range(range));
  bits_->unreserved.clear(range);
}

uint64_t Zone::adopt(PfnRange range) {
  uint64_t adopted = 0;
  for (Pfn pfn = next_reserved(range.begin, range.end); pfn < range.end;) {
    Pfn end = next_unreserved(pfn, range.end);
    adopted += bits_->unreserved.set({pfn, end});
    pfn = next_reserved(end, range.end);
  }
  managed_ += adopted;
  return adopted;
}

Pfn Zone::next_reserved(Pfn pfn, Pfn end) const {
  while (pfn < end) {
    const RangeSet::Range* range = reserved_.first_overlap(as_range({pfn, end}));
    if (range == nullptr) return end;
    Pfn stop = std::min(Pfn(range->end), end);
    Pfn hit = bits_->unreserved.next_clear(std::max(pfn, Pfn(range->begin)), stop);
    if (hit < stop) return hit;
    pfn = stop;
  }
  return end;
}

Pfn Zone::next_unreserved(Pfn pfn, Pfn end) const {
  while (pfn < end) {
    const RangeSet::Range* range = reserved_.first_overlap(as_range({pfn, pfn + 1}));
    if (range == nullptr) return pfn;
    Pfn stop = std::min(Pfn(range->end), end);
    Pfn hit = bits_->unreserved.next_set(pfn, stop);
    if (hit < stop) return hit;
    pfn = stop;
  }
  return end;
}

void Zone::set_type(PfnRange range, MigrateType type) {
  Pfn block(align_up(range.begin.value(), kPageblockOrder.pages()));
  for (; block + kPageblockOrder.pages() <= range.end; block += kPageblockOrder.pages()) {
    bits_->set_type(block, type);
  }
}

uint64_t Zone::leak(PfnRange range) {
  uint64_t leaked = 0;
  for (Pfn pfn = range.begin; pfn < range.end; ++pfn) {
    if (state(pfn) == FrameState::kAllocated) leaked += bits_->leaked.set({pfn, pfn + 1});
  }
  return leaked;
}

FrameState Zone::state(Pfn pfn) const {
  if (!is_ram({pfn, pfn + 1})) return FrameState::kHole;
  if (is_reserved(pfn)) return FrameState::kReserved;
  if (bits_->leaked.test(pfn)) return FrameState::kLeaked;
  if (map_->page(pfn)->has(kPagePcp) || virgin_.end_of_part(pfn) || buddy_.enclosing(pfn)) {
    return FrameState::kFree;
  }
  return FrameState::kAllocated;
}

Pfn Zone::first_not_allocated(PfnRange range) const {
  // In blocks: a gigantic page has too many frames to ask for each.
  Pfn pfn = range.begin;
  if (!is_ram(range)) {
    while (pfn < range.end && is_ram({pfn, pfn + 1})) ++pfn;
    return pfn;
  }
  Pfn first = std::min(
      {next_reserved(pfn, range.end), bits_->leaked.next_set(pfn, range.end), virgin_.next(pfn, range.end)});
  if (buddy_.enclosing(pfn)) return pfn;
  for (; pfn < first; ++pfn) {
    if (map_->page(pfn)->has(kPageBuddy | kPagePcp)) return pfn;
  }
  return first;
}

}  // namespace causeway::mm
