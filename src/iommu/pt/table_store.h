// The tables of one page table: where they come from, and what a live update asks of each.
//
//   TableStore store(options);
//   uint64_t* table = CW_TRY(store.make());     // zeroed, flushed if the hardware does not snoop, preserved if need be
//   store.unmake(table);                        // nobody has seen it
//
// Frozen: a restored page table before its kernel has committed. The tables stay as they are: none is made (EBUSY), and
// whoever would free one asks first.
#pragma once

#include <atomic>
#include <cstdint>

#include "iommu/pt/io_page_table.h"

namespace causeway::iommu::pt {

class TableStore {
 public:
  explicit TableStore(const PageTableOptions& options)
      : pages_(options.pages),
        hooks_(options.hooks),
        incoherent_((options.features & kDmaIncoherent) != 0),
        map_(options.pages.allocator().map().direct_map()) {}

  uint64_t* virt(PhysAddr table) const { return map_.to_virt<uint64_t>(table); }
  PhysAddr phys(const void* table) const { return map_.to_phys(table); }

  // ENOMEM; EBUSY: frozen; errors of IommuPages::preserve().
  Result<uint64_t*> make();
  void unmake(uint64_t* table) { pages_.free(table); }
  // Nobody can reach `freed` any more, but for the hardware until the range has been flushed.
  void flush_and_free(Iova iova, uint64_t size, FreeList&& freed);

  bool incoherent() const { return incoherent_; }
  void flush(const void* from, uint64_t bytes) const {
    if (incoherent_ && hooks_.flush_cache) hooks_.flush_cache(from, bytes);
  }
  const IoPageTable::Hooks& hooks() const { return hooks_; }
  IommuPages& pages() const { return pages_; }

  bool frozen() const { return frozen_.load(std::memory_order_relaxed); }
  void freeze(bool on) { frozen_.store(on, std::memory_order_relaxed); }
  bool preserving() const { return preserving_.load(std::memory_order_relaxed); }
  void set_preserving(bool on) { preserving_.store(on, std::memory_order_relaxed); }
  Status preserve(uint64_t* table);
  Status restore(PhysAddr table);

 private:
  IommuPages& pages_;
  const IoPageTable::Hooks hooks_;
  const bool incoherent_;
  const platform::DirectMap& map_;
  std::atomic<bool> frozen_{false};
  std::atomic<bool> preserving_{false};
};

// EINVAL, and a warning: the format cannot express `prot`.
Status refuse_access(const char* format, uint32_t prot);

}  // namespace causeway::iommu::pt
