// The algorithms of every page table, compiled for a format. Declarations; the definitions are in page_table_map.h,
// page_table_unmap.h, page_table_walk.h and page_table_live_update.h, which a factory includes all.
//
//   Result<std::unique_ptr<IoPageTable>> make_vtdss(const PageTableOptions& options) {
//     return PageTable<Vtdss>::create(options);
//   }
//
// Walks are templates of the level, so that shifts and the tests of an entry are constants in each step.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <memory>
#include <unordered_set>
#include <utility>
#include <vector>

#include "iommu/pt/format.h"
#include "iommu/pt/page_size.h"
#include "iommu/pt/table_store.h"
#include "sync/spin_lock.h"

namespace causeway::iommu::pt {

// The words are the hardware's as well.
inline uint64_t load_word(const uint64_t& word) {
  return std::atomic_ref<uint64_t>(const_cast<uint64_t&>(word)).load(std::memory_order_acquire);
}
inline void store_word(uint64_t& word, uint64_t value) {
  std::atomic_ref<uint64_t>(word).store(value, std::memory_order_release);
}
inline void fill(uint64_t* words, unsigned count, uint64_t value) {
  for (unsigned i = 0; i < count; ++i) store_word(words[i], value);
}

template <PageTableFormat F>
class PageTable final : public IoPageTable {
 public:
  static Result<std::unique_ptr<IoPageTable>> create(const PageTableOptions& options);
  ~PageTable() override;

  const char* format() const override { return F::kName; }
  Info info() const override;
  Root root() const override {
    const Top top = load_top();
    return {store_.phys(top.table), top.level};
  }
  uint32_t features() const override { return features_; }

  Status map(Iova iova, PhysAddr phys, uint64_t size, uint32_t prot, uint64_t* mapped) override;
  uint64_t unmap(Iova iova, uint64_t size, Gather& gather) override;
  std::optional<PhysAddr> iova_to_phys(Iova iova) const override;
  void for_each_leaf(const std::function<bool(const Leaf&)>& visit) const override;
  Status read_and_clear_dirty(Iova iova, uint64_t size, DirtyClear clear, DirtyBitmap* bitmap,
                              Gather& gather) override;
  Status set_dirty(Iova iova) override;

  Result<Preserved> preserve() override;
  void unpreserve() override;
  Status restore(const Preserved& preserved) override;
  void allow_growth() override { store_.freeze(false); }

 private:
  // The top table's address and, in the bits that an address has not, its level: one word, so they belong together.
  struct Top {
    uint64_t* table;
    unsigned level;
  };
  // The rest of a range: where the next entry goes.
  struct MapRun {
    uint64_t va, last, oa, attributes;
    bool done() const { return va > last || va == 0; }  // it wraps after the last page of all
  };
  struct UnmapRun {
    uint64_t va, left;
    FreeList& freed;
  };
  struct DirtyRun {
    uint64_t va, last;
    DirtyClear clear;
    DirtyBitmap* bitmap;
    bool cleared = false;
    bool done() const { return va > last || va == 0; }
  };

  PageTable(const PageTableOptions& options, unsigned vasz_lg2, unsigned oasz_lg2, unsigned top_level,
            unsigned max_level);

  static Top unpack(uint64_t word) {
    return {reinterpret_cast<uint64_t*>(word & ~uint64_t{7}), static_cast<unsigned>(word & 7)};
  }
  static uint64_t pack(Top top) { return reinterpret_cast<uint64_t>(top.table) | top.level; }
  Top load_top() const { return unpack(top_.load(std::memory_order_acquire)); }
  bool has(Feature feature) const { return (features_ & feature) != 0; }

  template <unsigned L>
  static constexpr unsigned index_of(uint64_t va) {
    return static_cast<unsigned>(va >> item_lg2<F>(L)) & (kItems - 1);
  }
  uint64_t* child_of(uint64_t word) const { return store_.virt(F::table_of(word)); }
  // Calls `function` with a constant of the level.
  template <typename Function>
  static auto at_level(unsigned level, Function&& function);

  // Whether the range lies in what the format, at its largest, translates. EOVERFLOW, ERANGE.
  Status check_range(uint64_t va, uint64_t size) const;
  bool in_range(uint64_t va, uint64_t last) const;
  // The last address below a top of this level.
  uint64_t last_of(unsigned level) const;

  bool map_granule(Top top, uint64_t va, uint64_t leaf);
  Status grow(uint64_t last);
  template <unsigned L>
  Status map_level(uint64_t* table, MapRun& run);
  template <unsigned L>
  static unsigned write_leaves(uint64_t* entries, unsigned count, uint64_t attributes, uint64_t oa);
  template <unsigned L>
  Status map_leaves(uint64_t* table, unsigned& index, uint64_t size, MapRun& run);
  template <unsigned L>
  Result<uint64_t*> descend(uint64_t& entry);
  template <unsigned L>
  Status clear_for_leaf(uint64_t& entry, uint64_t va);
  bool holds_leaf(const uint64_t* table, unsigned level) const;
  void collect(uint64_t* table, unsigned level, FreeList& freed);

  template <unsigned L>
  static unsigned clear_leaves(uint64_t* entries, unsigned count);
  template <unsigned L>
  bool unmap_level(uint64_t* table, UnmapRun& run);

  template <unsigned L>
  const uint64_t* find_leaf(const uint64_t* table, uint64_t va, unsigned& level) const;
  const uint64_t* find_leaf(uint64_t va, unsigned& level) const;
  template <unsigned L>
  Status dirty_level(uint64_t* table, DirtyRun& run);
  bool visit_leaves(const uint64_t* table, unsigned level, uint64_t va,
                    const std::function<bool(const Leaf&)>& visit) const;
  void list_tables(uint64_t* table, unsigned level, std::vector<uint64_t*>& tables) const;
  Status check_tables(PhysAddr table, unsigned level, std::vector<PhysAddr>& found,
                      std::unordered_set<uint64_t>& seen) const;

  TableStore store_;
  const uint32_t features_;
  const unsigned vasz_lg2_;   // with the sign's bit
  const unsigned oasz_lg2_;
  const unsigned max_level_;  // a top may grow to
  std::array<uint64_t, F::kMaxLevel + 1> sizes_{};  // by level, and all of them
  uint64_t all_sizes_ = 0;
  std::atomic<uint64_t> top_{0};
  sync::SpinLock top_lock_{"iommu.pt.top"};
};

template <PageTableFormat F>
template <typename Function>
auto PageTable<F>::at_level(unsigned level, Function&& function) {
  static_assert(F::kMaxLevel <= 5);
  switch (level) {
    case 1: return function(std::integral_constant<unsigned, 1>());
    case 2: return function(std::integral_constant<unsigned, 2>());
    case 3: return function(std::integral_constant<unsigned, 3>());
    case 4: return function(std::integral_constant<unsigned, std::min(4u, F::kMaxLevel)>());
    default: return function(std::integral_constant<unsigned, F::kMaxLevel>());
  }
}

}  // namespace causeway::iommu::pt
