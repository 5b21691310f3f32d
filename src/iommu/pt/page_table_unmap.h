// PageTable: unmapping. A table whose whole span goes is unlinked after its entries, and waits in the gather for the
// flush; one that is covered in part stays, even if it is empty now.
#pragma once

#include "iommu/pt/page_table.h"

namespace causeway::iommu::pt {

template <PageTableFormat F>
uint64_t PageTable<F>::unmap(Iova iova, uint64_t size, Gather& gather) {
  const uint64_t va = iova.value();
  constexpr uint64_t kGranule = uint64_t{1} << F::kGranuleLg2;
  if (((va | size) & (kGranule - 1)) != 0 || !check_range(va, size)) return 0;
  const Top top = load_top();
  // Above a top that may still grow is nothing.
  if (has(kDynamicTop)) {
    const uint64_t last = last_of(top.level);
    if (va > last) return 0;
    if (size - 1 > last - va) size = last - va + 1;
  }
  // What is gathered may be flushed and freed below, before what is unmapped here.
  const bool gaps = has(kFlushRangeNoGaps) && !gather.queued;
  FreeList own;
  UnmapRun run{va, size, gaps ? own : gather.freed};
  at_level(top.level, [&]<unsigned L>(std::integral_constant<unsigned, L>) { unmap_level<L>(top.table, run); });
  const uint64_t unmapped = run.va - va;
  if (unmapped == 0) return 0;
  const uint64_t last = run.va - 1;
  if (gaps) {
    // Neither touches the other: (end + 1 == va) is no gap.
    const bool apart = !gather.empty() && (va > gather.end.value() ? va - gather.end.value() > 1
                                                                   : last < gather.start.value() &&
                                                                         gather.start.value() - last > 1);
    if (apart && store_.hooks().sync) {
      store_.hooks().sync(gather);
      store_.pages().free(gather.freed);
      gather = Gather{};
    }
    gather.freed.splice(store_.pages(), std::move(own));
  }
  if (!gather.queued) gather.add(iova, unmapped);
  return unmapped;
}

// Leaves of one entry each, until an entry is something else: how many.
template <PageTableFormat F>
template <unsigned L>
unsigned PageTable<F>::clear_leaves(uint64_t* entries, unsigned count) {
  for (unsigned i = 0; i < count; ++i) {
    const uint64_t word = load_word(entries[i]);
    if (F::kind(word, L) != EntryKind::kLeaf || F::leaf_lg2(word, L) != item_lg2<F>(L)) return i;
    store_word(entries[i], 0);
  }
  return count;
}

// False: it ended at a hole, or inside a leaf.
template <PageTableFormat F>
template <unsigned L>
bool PageTable<F>::unmap_level(uint64_t* table, UnmapRun& run) {
  constexpr uint64_t kItemSize = uint64_t{1} << item_lg2<F>(L);
  unsigned index = index_of<L>(run.va);
  const unsigned first = index;
  bool go_on = true;
  do {
    // The last one goes whole if its beginning is in the range.
    if (L <= F::kMaxLeafLevel && (run.va & (kItemSize - 1)) == 0) {
      const uint64_t wanted = (run.left - 1) / kItemSize + 1;
      const unsigned gone =
          clear_leaves<L>(table + index, static_cast<unsigned>(std::min<uint64_t>(wanted, kItems - index)));
      index += gone;
      run.va += gone * kItemSize;
      run.left -= std::min(run.left, gone * kItemSize);
      if (run.left == 0 || index == kItems) break;
    }
    const uint64_t word = load_word(table[index]);
    if (L > 0 && F::kind(word, L) == EntryKind::kTable) {
      if constexpr (L > 0) {
        uint64_t* child = child_of(word);
        const bool whole = (run.va & (kItemSize - 1)) == 0 && run.left >= kItemSize;
        go_on = unmap_level<L - 1>(child, run);
        if (!go_on) break;
        if (whole && !store_.frozen()) {
          store_word(table[index], 0);
          run.freed.add(store_.pages(), child);
        }
        ++index;
      }
      continue;
    }
    // What is left is a hole, the inside of a leaf, or a leaf of several entries.
    const uint64_t size = uint64_t{1} << (F::kContiguous ? F::leaf_lg2(word, L) : item_lg2<F>(L));
    if (F::kind(word, L) == EntryKind::kEmpty || (run.va & (size - 1)) != 0) {
      go_on = false;
      break;
    }
    const auto slots = static_cast<unsigned>(size >> item_lg2<F>(L));
    fill(table + index, slots, 0);
    index += slots;
    run.va += size;
    run.left -= std::min(run.left, size);
  } while (run.left != 0 && index < kItems);
  if (index != first) store_.flush(table + first, (index - first) * sizeof(uint64_t));
  return go_on;
}

}  // namespace causeway::iommu::pt
