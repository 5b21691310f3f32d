// PageTable: making and ending one, and whatever reads it: translation, listing, dirty pages.
#pragma once

#include "iommu/pt/page_table.h"

namespace causeway::iommu::pt {

template <PageTableFormat F>
Result<std::unique_ptr<IoPageTable>> PageTable<F>::create(const PageTableOptions& options) {
  if ((options.features & ~F::kFeatures) != 0) return fail(EOPNOTSUPP, "a feature that the format does not have");
  const bool grows = (options.features & kDynamicTop) != 0;
  if ((options.features & kSignExtend) != 0 && (grows || (options.features & kFullVa) != 0))
    return fail(EINVAL, "features that exclude each other");
  unsigned vasz_lg2 = options.max_vasz_lg2;
  if (vasz_lg2 > F::kMaxVaLg2) return fail(EOPNOTSUPP, "more address bits than the format has");
  if (options.max_oasz_lg2 <= F::kGranuleLg2) return fail(EINVAL, "no physical addresses");
  // The hardware's bits may well be more than a format's.
  const unsigned oasz_lg2 = std::min(options.max_oasz_lg2, F::kMaxOaLg2);
  auto level_for = [](unsigned bits) { return (bits - F::kGranuleLg2 + kItemsLg2 - 1) / kItemsLg2 - 1; };
  unsigned top_level = 0;
  if constexpr (F::kContiguous) {
    top_level = options.starting_level;
    if (top_level < F::kMinTopLevel || top_level > F::kMaxLevel) return fail(EINVAL, "no such level to start from");
    if (!grows) vasz_lg2 = std::min(vasz_lg2, item_lg2<F>(top_level + 1));
    if (vasz_lg2 <= item_lg2<F>(1)) return fail(EOPNOTSUPP, "too few address bits for the format");
  } else {
    if (vasz_lg2 <= item_lg2<F>(F::kMinTopLevel))
      return fail(EOPNOTSUPP, "a number of levels that the format does not have");
    top_level = level_for(vasz_lg2);
  }
  if (vasz_lg2 == 64 && (options.features & kFullVa) == 0) return fail(EINVAL, "64 bits of address without kFullVa");
  const unsigned max_level = grows ? level_for(vasz_lg2) : top_level;
  auto table = std::unique_ptr<PageTable>(new PageTable(options, vasz_lg2, oasz_lg2, top_level, max_level));
  uint64_t* top = CW_TRY(table->store_.make());
  table->top_.store(pack({top, top_level}), std::memory_order_release);
  return std::unique_ptr<IoPageTable>(std::move(table));
}

template <PageTableFormat F>
PageTable<F>::PageTable(const PageTableOptions& options, unsigned vasz_lg2, unsigned oasz_lg2, unsigned top_level,
                        unsigned max_level)
    : store_(options),
      features_(options.features),
      vasz_lg2_(vasz_lg2),
      oasz_lg2_(oasz_lg2),
      max_level_(std::max(top_level, max_level)) {
  // A page as large as half of the address space is of no use, and one as large as all of it has no entry.
  auto below = [](unsigned lg2) { return lg2 >= 64 ? ~uint64_t{0} : (uint64_t{1} << lg2) - 1; };
  const uint64_t usable = options.page_sizes & below(vasz_lg2_ - 1) & below(oasz_lg2_);
  for (unsigned level = 0; level <= max_level_; ++level) {
    sizes_[level] = F::sizes(level) & usable;
    all_sizes_ |= sizes_[level];
  }
}

// Nobody can reach the tables any more, hardware included.
template <PageTableFormat F>
PageTable<F>::~PageTable() {
  const Top top = load_top();
  if (top.table == nullptr) return;
  FreeList freed;
  collect(top.table, top.level, freed);
  store_.pages().free(freed);
}

template <PageTableFormat F>
IoPageTable::Info PageTable<F>::info() const {
  const unsigned bits = has(kSignExtend) ? vasz_lg2_ - 1 : vasz_lg2_;
  return {.page_sizes = all_sizes_,
          .aperture = {.start = Iova{0}, .end = Iova{~uint64_t{0} >> (64 - bits)}, .force = true}};
}

template <PageTableFormat F>
template <unsigned L>
const uint64_t* PageTable<F>::find_leaf(const uint64_t* table, uint64_t va, unsigned& level) const {
  const uint64_t& entry = table[index_of<L>(va)];
  const uint64_t word = load_word(entry);
  const EntryKind kind = F::kind(word, L);
  if (kind == EntryKind::kEmpty) return nullptr;
  if (kind == EntryKind::kLeaf) {
    level = L;
    return &entry;
  }
  if constexpr (L > 0) return find_leaf<L - 1>(child_of(word), va, level);
  return nullptr;
}

template <PageTableFormat F>
const uint64_t* PageTable<F>::find_leaf(uint64_t va, unsigned& level) const {
  if (!in_range(va, va)) return nullptr;
  const Top top = load_top();
  if (has(kDynamicTop) && va > last_of(top.level)) return nullptr;
  return at_level(top.level, [&]<unsigned L>(std::integral_constant<unsigned, L>) {
    return find_leaf<L>(top.table, va, level);
  });
}

template <PageTableFormat F>
std::optional<PhysAddr> PageTable<F>::iova_to_phys(Iova iova) const {
  unsigned level = 0;
  const uint64_t* entry = find_leaf(iova.value(), level);
  if (entry == nullptr) return std::nullopt;
  // Read once more: it may be gone by now, as it may be after the return.
  const uint64_t word = load_word(*entry);
  if (F::kind(word, level) != EntryKind::kLeaf) return std::nullopt;
  const uint64_t size = uint64_t{1} << F::leaf_lg2(word, level);
  return F::leaf_phys(word, level) + (iova.value() & (size - 1));
}

template <PageTableFormat F>
bool PageTable<F>::visit_leaves(const uint64_t* table, unsigned level, uint64_t va,
                                const std::function<bool(const Leaf&)>& visit) const {
  const unsigned item = item_lg2<F>(level);
  // The upper half of a sign-extended space begins in the middle of the top table.
  auto extend = [&](uint64_t at) {
    if (!has(kSignExtend) || (at >> (vasz_lg2_ - 1) & 1) == 0) return at;
    return at | ~((uint64_t{1} << (vasz_lg2_ - 1)) - 1);
  };
  for (unsigned i = 0; i < kItems;) {
    const uint64_t word = load_word(table[i]);
    const uint64_t here = va + (uint64_t{i} << item);
    unsigned slots = 1;
    switch (F::kind(word, level)) {
      case EntryKind::kEmpty: break;
      case EntryKind::kTable:
        if (!visit_leaves(child_of(word), level - 1, here, visit)) return false;
        break;
      case EntryKind::kLeaf: {
        const unsigned lg2 = F::leaf_lg2(word, level);
        slots = 1u << (lg2 - item);
        if (!visit({Iova(extend(here)), F::leaf_phys(word, level), uint64_t{1} << lg2, F::prot(word)})) return false;
        break;
      }
    }
    i += slots;
  }
  return true;
}

template <PageTableFormat F>
void PageTable<F>::for_each_leaf(const std::function<bool(const Leaf&)>& visit) const {
  const Top top = load_top();
  visit_leaves(top.table, top.level, 0, visit);
}

template <PageTableFormat F>
Status PageTable<F>::read_and_clear_dirty(Iova iova, uint64_t size, DirtyClear clear, DirtyBitmap* bitmap,
                                          Gather& gather) {
  if constexpr (!F::kDirty) return fail(EOPNOTSUPP, "the format does not say what was written");
  CW_TRY(check_range(iova.value(), size));
  const Top top = load_top();
  DirtyRun run{iova.value(), iova.value() + (size - 1), clear, bitmap};
  if (has(kDynamicTop) && run.last > last_of(top.level)) return fail(EINVAL, "nothing is mapped there");
  Status status = at_level(top.level, [&]<unsigned L>(std::integral_constant<unsigned, L>) {
    return dirty_level<L>(top.table, run);
  });
  // What the hardware has cached as dirty it will not report again before it is flushed.
  if (run.cleared) gather.add(iova, size);
  return status;
}

template <PageTableFormat F>
template <unsigned L>
Status PageTable<F>::dirty_level(uint64_t* table, DirtyRun& run) {
  unsigned index = index_of<L>(run.va);
  do {
    const uint64_t word = load_word(table[index]);
    const EntryKind kind = F::kind(word, L);
    if (kind == EntryKind::kEmpty) return fail(EINVAL, "a hole in the range");
    if constexpr (L > 0) {
      if (kind == EntryKind::kTable) {
        CW_TRY(dirty_level<L - 1>(child_of(word), run));
        ++index;
        continue;
      }
    }
    const unsigned lg2 = F::leaf_lg2(word, L);
    const uint64_t size = uint64_t{1} << lg2;
    const unsigned slots = F::kContiguous ? 1u << (lg2 - item_lg2<F>(L)) : 1;
    const unsigned first = index & ~(slots - 1);
    uint64_t any = word;
    for (unsigned i = first; F::kContiguous && i < first + slots; ++i) any |= load_word(table[i]);
    const uint64_t left = size - (run.va & (size - 1));
    if ((any & F::kDirtyMask) != 0) {
      if (run.bitmap != nullptr) run.bitmap->record(Iova(run.va), std::min(left - 1, run.last - run.va) + 1);
      if (run.clear == DirtyClear::kYes) {
        for (unsigned i = first; i < first + slots; ++i)
          std::atomic_ref<uint64_t>(table[i]).fetch_and(~F::kDirtyMask, std::memory_order_acq_rel);
        store_.flush(table + first, slots * sizeof(uint64_t));
        run.cleared = true;
      }
    }
    run.va += left;
    index = first + slots;
  } while (!run.done() && index < kItems);
  return {};
}

template <PageTableFormat F>
Status PageTable<F>::set_dirty(Iova iova) {
  if constexpr (!F::kDirty) return fail(EOPNOTSUPP, "the format does not say what was written");
  unsigned level = 0;
  const uint64_t* entry = find_leaf(iova.value(), level);
  if (entry == nullptr) return fail(EFAULT, "nothing is mapped there");
  uint64_t word = load_word(*entry);
  std::atomic_ref<uint64_t> shared(const_cast<uint64_t&>(*entry));
  while (F::kind(word, level) == EntryKind::kLeaf && F::writable(word))
    if (shared.compare_exchange_weak(word, word | F::kDirtyMask, std::memory_order_acq_rel)) return {};
  return fail(EFAULT, "no writable page is mapped there");
}

}  // namespace causeway::iommu::pt
