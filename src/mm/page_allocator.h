// The page allocator: buddy blocks of order 0..10 in two zones, with migratetypes, per-CPU lists for
// order 0, contiguous ranges above order 10, and the checks that catch a page freed in a wrong state.
//
//   Page* block = CW_TRY(allocator.alloc_pages(Order{3}, kGfpKernel | kGfpZero));
//   ...                                       // head refcount 1, tails 0, not compound
//   allocator.free_pages(block, Order{3});
//
// Reference counts follow the kernel: a non-compound block has them on the head only; split_page()
// gives every page its own; a compound page (Gfp::kComp) is counted on its head.
//
// Free memory that was never handed out is kept as plain ranges and cut into buddy blocks on demand,
// so that making RAM available costs per range, not per page (the kernel's deferred struct page
// initialisation, taken to its end).
//
// Thread-safe.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "base/result.h"
#include "base/types.h"
#include "mm/bad_page.h"
#include "mm/boot_memory.h"
#include "mm/gfp.h"
#include "mm/migrate_type.h"
#include "mm/page.h"

namespace causeway::mm {

struct ZoneStats {
  uint64_t managed_pages = 0;
  uint64_t free_pages = 0;      // buddy blocks, per-CPU lists and untouched ranges
  uint64_t free_cma_pages = 0;  // part of free_pages
};
struct PageStats {
  ZoneStats zone[kZones];
  uint64_t bad_pages = 0;     // reports: blocks that failed a check, and frees of what is not allocated
  uint64_t leaked_pages = 0;  // pages withheld because of that, for ever
  bool tainted = false;       // TAINT_BAD_PAGE
};

enum class HotMemory : uint8_t { kFree, kReserved };

class PageAllocator {
 public:
  // check_pages: the kernel's switch of the same name (CONFIG_DEBUG_VM or the boot option).
  static Result<std::unique_ptr<PageAllocator>> create(MemMap& map, bool check_pages = true);
  ~PageAllocator();

  // The end of early boot: takes over everything BootMemory has free, and marks kNormal reservations
  // PG_reserved. kNoInit reservations stay untouched and unmanaged until adopt_reserved().
  void take_over(const BootMemory& boot);
  // Frees reserved memory of either kind to the buddy (scratch as kCma, a consumed tree node) and
  // resets its struct pages. Page-granular; `type` is given to the pageblocks that lie wholly in
  // `range`. Frames that are not reserved are reported as bad pages and left alone.
  void release_reserved(PfnRange range, MigrateType type);

  // Errors: ENOMEM; EINVAL order above kMaxPageOrder.
  Result<Page*> alloc_pages(Order order, Gfp gfp);
  // Like alloc_pages, plus: the last byte must lie at or below `limit`.
  Result<Page*> alloc_pages_below(Order order, Gfp gfp, PhysAddr limit);
  // __free_pages: drops one reference of the head; at zero frees 2^order pages. A block that fails the
  // checks is reported, taints, and is leaked whole. A page that is free already, is not the
  // allocator's, or is a tail is a bad page too: reported, and nothing else changes.
  void free_pages(Page* page, Order order);

  void get_page(Page* page);
  // Drops a reference of the page (of the head, if compound) and frees at zero.
  void put_page(Page* page);
  // A non-compound block becomes 2^order single pages with refcount 1 each. EINVAL: compound or free.
  Status split_page(Page* page, Order order);
  // Makes a compound page of a block this caller owns: tails get refcount 0. Order 0 has no metadata.
  void prep_compound(Page* page, Order order);
  // Takes the metadata of a compound page away: a plain block, counted on its first page.
  void destroy_compound(Page* head);

  // Contiguous memory of any number of pages (gigantic folios): `alignment` in pages, power of two.
  // Every page has refcount 1 (alloc_contig_range), or with Gfp::kComp (a power of two of pages) it is
  // one compound page. Nothing is moved out of the way: the range must be free. ENOMEM, EINVAL.
  Result<Page*> alloc_contig(uint64_t pages, uint64_t alignment, Gfp gfp);
  // The specific range, if wholly free; CMA memory too. Contents as found. EBUSY; EINVAL: empty, or not RAM.
  Result<Page*> alloc_contig_range(PfnRange range);
  // Drops one reference of every page and frees those that reach zero.
  void free_contig(Page* page, uint64_t pages);
  // Whole pageblocks that the caller has allocated become `type`: freed, they are memory of that kind. EINVAL: not
  // whole pageblocks, or outside the memory map.
  Status set_pageblock_type(PfnRange range, MigrateType type);

  // Preserved memory becomes managed: accounts 2^order pages (the caller sets up refcounts). Any order.
  void adopt_reserved(Page* page, Order order);

  // Memory hot-add and removal. kFree memory may be handed out at once, and its removal needs the whole
  // range free: EBUSY. kReserved memory has an owner (a client's file): it is never handed out, and its
  // removal needs every page to have refcount 0: EBUSY. Errors: EINVAL empty or outside the memory map,
  // EEXIST overlaps RAM, ENOENT not RAM. Removal forgets the struct pages.
  Status hot_add(PfnRange range, HotMemory kind = HotMemory::kFree);
  Status hot_remove(PfnRange range, HotMemory kind = HotMemory::kFree);

  bool is_managed(Pfn pfn) const;  // RAM the system knows: free, allocated or reserved
  bool is_managed(PfnRange range) const;  // all of it
  std::vector<PfnRange> ram() const;      // ascending
  FrameState state(Pfn pfn) const;
  PageStats stats() const;
  // Frames on per-CPU lists go back to the buddy lists, where they merge.
  void drain_per_cpu_lists();
  MemMap& map() { return *map_; }

 private:
  struct State;
  Result<Page*> alloc_from_zones(Order order, Gfp gfp, PhysAddr limit);
  PageAllocator(MemMap& map, std::unique_ptr<State> state);
  MemMap* map_;
  std::unique_ptr<State> state_;
};

}  // namespace causeway::mm
