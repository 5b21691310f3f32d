// struct page: what the kernel knows about one page frame, and the array of them.
//
//   Page* page = map.page(Pfn{0x100});
//   std::byte* data = map.address(page);       // through the direct map
//   PhysAddr where = map.phys(page);
//
// The array covers the whole physical range and is sparse: an all-zero entry is a valid description
// ("not in any free list, refcount 0"), so entries cost memory only once they are touched, and a boot
// costs nothing per page of RAM. That is why mapcount is stored plus one and nothing is initialised.
//
// Who may write an entry: the owner of the page while it is allocated, the allocator under its zone's
// lock while it is free. Flags and counts are atomic only so that others may look.
#pragma once

#include <atomic>
#include <cstdint>

#include "base/mapping.h"
#include "base/result.h"
#include "base/types.h"
#include "platform/direct_map.h"

namespace causeway::mm {

// Page flags. Those in kFreeMustBeClear must be clear on a page that is freed (the kernel's
// PAGE_FLAGS_CHECK_AT_FREE).
enum PageFlag : uint32_t {
  kPageLocked = 1u << 0,
  kPageReserved = 1u << 1,  // never given to the allocator, or given back by nobody
  kPageBuddy = 1u << 2,     // head of a block in a free list; its order is in `order`
  kPageHead = 1u << 3,      // head of a compound page; its order is in `order`
  kPageTail = 1u << 4,      // tail of a compound page; `private_data` is the distance to the head in pages
  kPageLru = 1u << 5,
  kPagePrivate = 1u << 6,
  kPageWriteback = 1u << 7,
  kPageActive = 1u << 8,
  kPageUnevictable = 1u << 9,
  kPageMlocked = 1u << 10,
  kPageSlab = 1u << 11,
  kPagePcp = 1u << 12,     // order 0, in a per-CPU list
  kPagePoison = 1u << 13,  // bad page: leaked, never handed out again
};
inline constexpr uint32_t kFreeMustBeClear = kPageLocked | kPageReserved | kPageLru | kPagePrivate |
                                             kPageWriteback | kPageActive | kPageUnevictable | kPageMlocked |
                                             kPageSlab | kPagePoison | kPageBuddy | kPagePcp;

struct Page {
  std::atomic<uint32_t> flags;
  std::atomic<int32_t> refcount;
  uint64_t private_data;  // page->private: KHO's stamp, a slab, the distance of a tail
  uint32_t next;          // free list links, as page frame numbers; 0 ends a list
  uint32_t prev;
  std::atomic<int32_t> mapcount_plus_one;
  uint8_t order;        // of a free block, a compound page or an allocated block
  uint8_t migratetype;  // of a free block: the list it is in
  uint8_t owned;        // 1: first page of a block that the allocator handed out, of `order`
  uint8_t unused;

  bool has(uint32_t mask) const { return (flags.load(std::memory_order_relaxed) & mask) != 0; }
  void set(uint32_t mask) {
    flags.store(flags.load(std::memory_order_relaxed) | mask, std::memory_order_relaxed);
  }
  void clear(uint32_t mask) {
    flags.store(flags.load(std::memory_order_relaxed) & ~mask, std::memory_order_relaxed);
  }
  int32_t count() const { return refcount.load(std::memory_order_acquire); }
  void set_count(int32_t n) { refcount.store(n, std::memory_order_release); }
  // As if never used. Writes only what differs, so that an untouched entry costs no memory.
  void reset() {
    if (flags.load(std::memory_order_relaxed) != 0) flags.store(0, std::memory_order_relaxed);
    if (refcount.load(std::memory_order_relaxed) != 0) refcount.store(0, std::memory_order_relaxed);
    if (mapcount_plus_one.load(std::memory_order_relaxed) != 0)
      mapcount_plus_one.store(0, std::memory_order_relaxed);
    if (private_data != 0) private_data = 0;
    if ((next | prev) != 0) next = prev = 0;
    if ((order | migratetype | owned) != 0) order = migratetype = owned = 0;
  }
};
static_assert(sizeof(Page) == 32);

// For audits and tests: what a frame is at this instant.
enum class FrameState : uint8_t { kHole, kReserved, kFree, kAllocated, kLeaked };
const char* name_of(FrameState state);

// The array, and the translations between frame, struct page, physical and virtual address.
class MemMap {
 public:
  // Covers the whole direct map, which must outlive it. Errors: ENOMEM (address space); E2BIG: beyond
  // 16 TiB, the reach of the 32-bit links of free lists.
  static Result<MemMap> create(const platform::DirectMap& direct_map);

  Page* page(Pfn pfn) const { return pages_ + pfn.value(); }
  Page* page(PhysAddr address) const { return page(Pfn::containing(address)); }
  Page* page_of_address(const void* pointer) const { return page(direct_map_->to_phys(pointer)); }
  Pfn pfn(const Page* page) const { return Pfn(static_cast<uint64_t>(page - pages_)); }
  PhysAddr phys(const Page* page) const { return pfn(page).address(); }
  std::byte* address(const Page* page) const { return direct_map_->to_virt(phys(page)); }
  template <typename T>
  T* address_as(const Page* page) const {
    return reinterpret_cast<T*>(address(page));
  }
  // The head of a compound page, the page itself otherwise.
  Page* head(Page* page) const { return page->has(kPageTail) ? page - page->private_data : page; }
  uint64_t end_pfn() const { return end_pfn_; }  // first frame number the array does not cover
  const platform::DirectMap& direct_map() const { return *direct_map_; }

 private:
  MemMap(Mapping mapping, const platform::DirectMap& direct_map);
  Mapping mapping_;
  Page* pages_ = nullptr;
  uint64_t end_pfn_ = 0;
  const platform::DirectMap* direct_map_ = nullptr;
};

}  // namespace causeway::mm
