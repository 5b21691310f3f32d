// PageTable: mapping. A leaf is written where the largest size fits; between two of them the walk stays in the table it
// is in, so a run costs one descent for each table it touches.
//
// Two threads may need the same table: both make one, the compare-exchange of the entry decides, the loser's was never
// seen by anybody. That is all the locking there is, since nobody else writes the entries of his range.
#pragma once

#include "iommu/pt/page_table.h"

namespace causeway::iommu::pt {

template <PageTableFormat F>
bool PageTable<F>::in_range(uint64_t va, uint64_t last) const {
  if (has(kSignExtend)) {
    const uint64_t half = uint64_t{1} << (vasz_lg2_ - 1);
    return last < half || va >= ~(half - 1);
  }
  return vasz_lg2_ == 64 || last >> vasz_lg2_ == 0;
}

template <PageTableFormat F>
Status PageTable<F>::check_range(uint64_t va, uint64_t size) const {
  uint64_t last;
  if (size == 0) return fail(EINVAL, "an empty range");
  if (!checked_add(va, size - 1, &last)) [[unlikely]]
    return fail(EOVERFLOW, "the addresses wrap");
  if (!in_range(va, last)) [[unlikely]]
    return fail(ERANGE, "addresses that the page table does not have");
  return {};
}

template <PageTableFormat F>
uint64_t PageTable<F>::last_of(unsigned level) const {
  const unsigned lg2 = item_lg2<F>(level + 1);
  return lg2 >= 64 ? ~uint64_t{0} : (uint64_t{1} << lg2) - 1;
}

// One page into tables that are there, by far the most frequent case. False: the slow path shall see why not.
template <PageTableFormat F>
bool PageTable<F>::map_granule(Top top, uint64_t va, uint64_t leaf) {
  return at_level(top.level, [&]<typename Level>(Level) {
    uint64_t* table = top.table;
    auto step = [&]<unsigned L>(std::integral_constant<unsigned, L>) {
      const uint64_t word = load_word(table[index_of<L>(va)]);
      if (F::kind(word, L) != EntryKind::kTable) [[unlikely]]
        return false;
      table = child_of(word);
      return true;
    };
    const bool reached = [&]<unsigned... I>(std::integer_sequence<unsigned, I...>) {
      return (step(std::integral_constant<unsigned, Level::value - I>()) && ...);
    }(std::make_integer_sequence<unsigned, Level::value>());
    if (!reached) [[unlikely]]
      return false;
    uint64_t& entry = table[index_of<0>(va)];
    if (load_word(entry) != 0) [[unlikely]]
      return false;
    store_word(entry, leaf);
    return true;
  });
}

template <PageTableFormat F>
Status PageTable<F>::map(Iova iova, PhysAddr phys, uint64_t size, uint32_t prot, uint64_t* mapped) {
  *mapped = 0;
  const uint64_t attributes = F::attributes(prot, features_);
  if (attributes == 0) [[unlikely]]
    return refuse_access(F::kName, prot);
  uint64_t end;
  if (size == 0 || !checked_add(phys.value(), size - 1, &end) || end >> oasz_lg2_ != 0) [[unlikely]]
    return fail(size == 0 ? EINVAL : ERANGE, "physical addresses that the page table cannot hold");
  CW_TRY(check_range(iova.value(), size));
  constexpr uint64_t kGranule = uint64_t{1} << F::kGranuleLg2;
  if (((iova.value() | phys.value() | size) & (kGranule - 1)) != 0) [[unlikely]]
    return fail(ENXIO, "no page size fits the alignment");

  Top top = load_top();
  const uint64_t last = iova.value() + (size - 1);
  if (has(kDynamicTop) && last > last_of(top.level)) {
    CW_TRY(grow(last));
    top = load_top();
  }
  if (size == kGranule && !store_.incoherent() && (sizes_[0] & kGranule) != 0 &&
      map_granule(top, iova.value(), F::leaf(attributes, phys, 0, F::kGranuleLg2))) {
    *mapped = size;
    return {};
  }
  MapRun run{iova.value(), last, phys.value(), attributes};
  Status status = at_level(top.level, [&]<unsigned L>(std::integral_constant<unsigned, L>) {
    return map_level<L>(top.table, run);
  });
  *mapped = run.va - iova.value();
  return status;
}

template <PageTableFormat F>
template <unsigned L>
Status PageTable<F>::map_level(uint64_t* table, MapRun& run) {
  unsigned index = index_of<L>(run.va);
  // A run that begins at address 0 has not wrapped.
  do {
    if constexpr (L <= F::kMaxLeafLevel) {
      if (uint64_t size = best_pgsize(sizes_[L], run.va, run.last, run.oa); size != 0) {
        CW_TRY(map_leaves<L>(table, index, size, run));
        continue;
      }
    }
    if constexpr (L == 0) {
      return fail(ENXIO, "no page size fits the alignment");
    } else {
      uint64_t* child = CW_TRY(descend<L>(table[index]));
      CW_TRY(map_level<L - 1>(child, run));
      ++index;
    }
  } while (!run.done() && index < kItems);
  return {};
}

// Leaves of one entry each, one page behind the other, until an entry is not empty: how many. What was loaded decides
// nothing that others may change, so a look and a store are enough.
template <PageTableFormat F>
template <unsigned L>
unsigned PageTable<F>::write_leaves(uint64_t* entries, unsigned count, uint64_t attributes, uint64_t oa) {
  for (unsigned i = 0; i < count; ++i, oa += uint64_t{1} << item_lg2<F>(L)) {
    if (load_word(entries[i]) != 0) [[unlikely]]
      return i;
    store_word(entries[i], F::leaf(attributes, PhysAddr(oa), L, item_lg2<F>(L)));
  }
  return count;
}

// As many leaves of one size as fit here.
template <PageTableFormat F>
template <unsigned L>
Status PageTable<F>::map_leaves(uint64_t* table, unsigned& index, uint64_t size, MapRun& run) {
  const auto lg2 = F::kContiguous ? static_cast<unsigned>(std::countr_zero(size)) : item_lg2<F>(L);
  const unsigned slots = F::kContiguous ? 1u << (lg2 - item_lg2<F>(L)) : 1;
  const uint64_t fit = (kItems - index) / slots;
  const uint64_t count = std::min(pgsz_count(all_sizes_, run.va, run.last, run.oa, lg2), fit);
  const unsigned first = index;
  const unsigned end = first + static_cast<unsigned>(count) * slots;
  Status status;
  while (index != end) {
    unsigned made = 0;
    if (slots == 1) made = write_leaves<L>(table + index, end - index, run.attributes, run.oa);
    if (made == 0) {
      for (unsigned i = 0; i < slots && status; ++i)
        if (load_word(table[index + i]) != 0) [[unlikely]]
          status = clear_for_leaf<L>(table[index + i], run.va + (uint64_t{i} << item_lg2<F>(L)));
      if (!status) break;
      fill(table + index, slots, F::leaf(run.attributes, PhysAddr(run.oa), L, lg2));
      made = 1;
    }
    index += made * slots;
    run.va += uint64_t{made} << lg2;
    run.oa += uint64_t{made} << lg2;
  }
  if (index != first) store_.flush(table + first, (index - first) * sizeof(uint64_t));
  return status;
}

// The table below, made if there is none.
template <PageTableFormat F>
template <unsigned L>
Result<uint64_t*> PageTable<F>::descend(uint64_t& entry) {
  uint64_t word = load_word(entry);
  EntryKind kind = F::kind(word, L);
  if (kind == EntryKind::kEmpty) {
    uint64_t* made = CW_TRY(store_.make());
    const uint64_t wanted = F::table_entry(store_.phys(made), L);
    if (std::atomic_ref<uint64_t>(entry).compare_exchange_strong(word, wanted, std::memory_order_acq_rel,
                                                                  std::memory_order_acquire)) {
      word = wanted;
    } else {
      store_.unmake(made);
    }
    kind = F::kind(word, L);
  }
  if (kind == EntryKind::kLeaf) return fail(EADDRINUSE, "mapped already, by a larger page");
  // Whoever wrote the entry may not have come to flush it, and what is mapped below is reachable when map() returns.
  if (store_.incoherent() && (word & F::kFlushedMask) == 0) {
    store_.flush(&entry, sizeof entry);
    std::atomic_ref<uint64_t>(entry).fetch_or(F::kFlushedMask, std::memory_order_release);
  }
  return child_of(word);
}

// A leaf is to take the place of a table that earlier unmaps left empty. The hardware may have cached the entry, so the
// table is free only after a flush.
template <PageTableFormat F>
template <unsigned L>
Status PageTable<F>::clear_for_leaf(uint64_t& entry, uint64_t va) {
  const uint64_t word = load_word(entry);
  if constexpr (L == 0) return fail(EADDRINUSE, "mapped already");
  if constexpr (L > 0) {
    if (F::kind(word, L) != EntryKind::kTable || holds_leaf(child_of(word), L - 1))
      return fail(EADDRINUSE, "mapped already");
    if (store_.frozen()) return fail(EBUSY, "the page table keeps its shape until the handover is committed");
    store_word(entry, 0);
    store_.flush(&entry, sizeof entry);
    FreeList freed;
    collect(child_of(word), L - 1, freed);
    const uint64_t size = uint64_t{1} << item_lg2<F>(L);
    store_.flush_and_free(Iova(va & ~(size - 1)), size, std::move(freed));
    return {};
  }
}

template <PageTableFormat F>
bool PageTable<F>::holds_leaf(const uint64_t* table, unsigned level) const {
  for (unsigned i = 0; i < kItems; ++i) {
    const uint64_t word = load_word(table[i]);
    const EntryKind kind = F::kind(word, level);
    if (kind == EntryKind::kLeaf || (kind == EntryKind::kTable && holds_leaf(child_of(word), level - 1))) return true;
  }
  return false;
}

template <PageTableFormat F>
void PageTable<F>::collect(uint64_t* table, unsigned level, FreeList& freed) {
  for (unsigned i = 0; level > 0 && i < kItems; ++i)
    if (const uint64_t word = load_word(table[i]); F::kind(word, level) == EntryKind::kTable)
      collect(child_of(word), level - 1, freed);
  freed.add(store_.pages(), table);
}

// Tops above the top, the old one first in each. The hardware is told before anybody maps above; what it has cached is
// still right.
template <PageTableFormat F>
Status PageTable<F>::grow(uint64_t last) {
  while (true) {
    const Top old = load_top();
    if (last <= last_of(old.level)) return {};
    if (old.level == max_level_) return fail(ERANGE, "the page table cannot grow that far");
    Top top = old;
    std::vector<uint64_t*> made;
    auto give_back = [&] {
      for (uint64_t* table : made) store_.unmake(table);
    };
    while (last > last_of(top.level)) {
      Result<uint64_t*> table = store_.make();
      if (!table) {
        give_back();
        return fail(table.error());
      }
      made.push_back(*table);
      store_word(**table, F::table_entry(store_.phys(top.table), top.level + 1) |
                              (store_.incoherent() ? F::kFlushedMask : 0));
      store_.flush(*table, sizeof(uint64_t));
      top = {*table, top.level + 1};
    }
    sync::SpinLockGuard guard(top_lock_);
    if (load_top().table != old.table) {
      give_back();
      continue;
    }
    if (store_.hooks().change_top) store_.hooks().change_top({store_.phys(top.table), top.level});
    top_.store(pack(top), std::memory_order_release);
    return {};
  }
}

}  // namespace causeway::iommu::pt
