// Memory that an IOMMU reads: page tables, root, context and PASID tables (drivers/iommu/iommu-pages.c).
//
//   IommuPages pages(allocator, &kho);
//   uint64_t* table = CW_TRY(pages.allocate(kOrder0));      // zeroed
//   ...
//   FreeList freed;
//   freed.add(pages, table);
//   flush_iotlb();
//   pages.free(freed);                                      // not before
//
// Handed over: preserve() before the hardware can find the page, restore() in the next kernel. Pages never come from KHO's
// scratch. Counted as the secondary page tables of the system; a leak is a number that does not go back.
//
// Thread-safe. What is on a free list is not written to: the hardware may still be reading it.
#pragma once

#include <atomic>
#include <cstdint>

#include "base/result.h"
#include "kho/kho.h"
#include "mm/page_allocator.h"

namespace causeway::iommu {

class IommuPages;

// Tables that were unlinked and wait for the flush after which nobody can read them any more. Costs no memory: linked
// through struct page. Moved, not copied; must be empty when it goes.
class FreeList {
 public:
  FreeList() = default;
  FreeList(FreeList&& other) noexcept : head_(other.head_) { other.head_ = 0; }
  FreeList& operator=(FreeList&& other) noexcept;
  void add(IommuPages& pages, void* table);
  void splice(IommuPages& pages, FreeList&& other);
  bool empty() const { return head_ == 0; }

 private:
  friend class IommuPages;
  uint64_t head_ = 0;  // frame number
};

class IommuPages {
 public:
  // `kho` null: nothing can be preserved (EOPNOTSUPP).
  IommuPages(mm::PageAllocator& allocator, kho::Kho* kho) : allocator_(allocator), kho_(kho) {}

  Result<uint64_t*> allocate(Order order, mm::Gfp gfp = mm::kGfpKernel);  // zeroed; ENOMEM
  void free(void* table);  // unpreserved first, if need be
  void free(FreeList& list);

  PhysAddr phys(const void* table) const { return allocator_.map().direct_map().to_phys(table); }
  uint64_t* virt(PhysAddr table) const {
    return reinterpret_cast<uint64_t*>(allocator_.map().direct_map().to_virt(table));
  }

  // Errors of Kho::preserve_folio. Preserving twice is success.
  Status preserve(void* table);
  void unpreserve(void* table);
  // Once. ENOENT: no page was preserved there, or it was restored before; EINVAL: it has another size.
  Result<uint64_t*> restore(PhysAddr table, Order order);
  Status check_preserved(PhysAddr table, Order order) const;  // whether restore() would find it; may be read then

  uint64_t pages() const { return pages_.load(std::memory_order_relaxed); }  // in use, in 4 KiB
  mm::PageAllocator& allocator() { return allocator_; }
  kho::Kho* kho() { return kho_; }

 private:
  mm::PageAllocator& allocator_;
  kho::Kho* const kho_;
  std::atomic<uint64_t> pages_{0};
};

}  // namespace causeway::iommu
