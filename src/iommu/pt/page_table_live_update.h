// PageTable: what outlives the kernel. Only the pages are handed over, as they are; the next kernel finds them from the
// top.
#pragma once

#include "iommu/pt/page_table.h"

namespace causeway::iommu::pt {

template <PageTableFormat F>
void PageTable<F>::list_tables(uint64_t* table, unsigned level, std::vector<uint64_t*>& tables) const {
  tables.push_back(table);
  for (unsigned i = 0; level > 0 && i < kItems; ++i)
    if (const uint64_t word = load_word(table[i]); F::kind(word, level) == EntryKind::kTable)
      list_tables(child_of(word), level - 1, tables);
}

template <PageTableFormat F>
Result<IoPageTable::Preserved> PageTable<F>::preserve() {
  const Top top = load_top();
  if (!store_.preserving()) {
    std::vector<uint64_t*> tables;
    list_tables(top.table, top.level, tables);
    for (size_t i = 0; i < tables.size(); ++i) {
      if (Status kept = store_.preserve(tables[i]); !kept) {
        while (i-- > 0) store_.pages().unpreserve(tables[i]);
        return fail(kept.error());
      }
    }
    store_.set_preserving(true);
  }
  return Preserved{store_.phys(top.table), top.level, vasz_lg2_, has(kSignExtend)};
}

template <PageTableFormat F>
void PageTable<F>::unpreserve() {
  if (!store_.preserving()) return;
  store_.set_preserving(false);
  const Top top = load_top();
  std::vector<uint64_t*> tables;
  list_tables(top.table, top.level, tables);
  for (uint64_t* table : tables) store_.pages().unpreserve(table);
}

// What another kernel left is looked at in full before any of it is taken, in the order in which it is safe to look: a
// page is read only when it is known to be a preserved one, and once.
template <PageTableFormat F>
Status PageTable<F>::check_tables(PhysAddr at, unsigned level, std::vector<PhysAddr>& found,
                                  std::unordered_set<uint64_t>& seen) const {
  if (!at.is_aligned(kPageSize)) return fail(EBADMSG, "a table that is not aligned");
  if (!seen.insert(at.value()).second) return fail(EBADMSG, "a table that is linked twice");
  CW_TRY(store_.pages().check_preserved(at, kOrder0));
  found.push_back(at);
  const uint64_t* table = store_.virt(at);
  for (unsigned i = 0; i < kItems;) {
    const uint64_t word = load_word(table[i]);
    const EntryKind kind = F::kind(word, level);
    unsigned slots = 1;
    if (kind != EntryKind::kEmpty && !F::sound(word, level)) return fail(EBADMSG, "an entry with reserved bits");
    if (kind == EntryKind::kTable) CW_TRY(check_tables(F::table_of(word), level - 1, found, seen));
    if (kind == EntryKind::kLeaf) {
      const unsigned lg2 = F::leaf_lg2(word, level);
      if (F::leaf_phys(word, level).value() >> oasz_lg2_ != 0) return fail(EBADMSG, "a page beyond physical memory");
      if constexpr (F::kContiguous) {
        slots = 1u << (lg2 - item_lg2<F>(level));
        if ((i & (slots - 1)) != 0) return fail(EBADMSG, "a page that is not aligned");
        for (unsigned same = 1; same < slots; ++same)
          if (((load_word(table[i + same]) ^ word) & ~F::kDirtyMask) != 0)
            return fail(EBADMSG, "a page whose words differ");
      }
    }
    i += slots;
  }
  return {};
}

template <PageTableFormat F>
Status PageTable<F>::restore(const Preserved& preserved) {
  const Top fresh = load_top();
  if (preserved.vasz_lg2 != vasz_lg2_ || preserved.sign_extend != has(kSignExtend) ||
      preserved.level < (has(kDynamicTop) ? F::kMinTopLevel : max_level_) || preserved.level > max_level_)
    return fail(EINVAL, "the preserved page table has another geometry");
  if (holds_leaf(fresh.table, fresh.level)) return fail(EINVAL, "the page table is in use");
  std::vector<PhysAddr> tables;
  std::unordered_set<uint64_t> seen;
  CW_TRY(check_tables(preserved.top, preserved.level, tables, seen));
  for (PhysAddr table : tables) CW_TRY(store_.restore(table));
  store_.freeze(true);
  top_.store(pack({store_.virt(preserved.top), preserved.level}), std::memory_order_release);
  FreeList freed;
  collect(fresh.table, fresh.level, freed);
  store_.pages().free(freed);
  return {};
}

}  // namespace causeway::iommu::pt
