// One zone: every frame of RAM in a range of addresses, and where it is. A frame is in exactly one of
//   free       an untouched range (VirginRanges) or a buddy block (BuddyLists)
//   reserved   firmware, scratch, preserved memory that nobody has claimed: in `reserved_`, and not yet
//              given back (a bit in FrameBits::unreserved)
//   leaked     a bit in FrameBits::leaked: failed a check
//   allocated  everything else; per-CPU lists, which lie above this class, count as allocated here
//
// All members but the constructor and `populated` need `lock` held. Nothing here touches refcounts:
// blocks go in and out with whatever their pages say, apart from kPageBuddy.
#pragma once

#include <atomic>
#include <cstdint>
#include <optional>
#include <span>

#include "mm/buddy_lists.h"
#include "mm/migrate_type.h"
#include "mm/page.h"
#include "mm/range_set.h"
#include "mm/sparse_bitmap.h"
#include "mm/virgin_ranges.h"
#include "sync/spin_lock.h"

namespace causeway::mm {

// What is known per frame and per pageblock outside struct page; shared by the zones, each touching
// only its own part under its own lock.
struct FrameBits {
  static Result<FrameBits> create(uint64_t frames);
  SparseBitmap unreserved;  // reserved once, and given to the allocator since
  SparseBitmap leaked;
  Mapping pageblock_types;  // a byte each; sparse, zero is kMovable

  MigrateType type(Pfn pfn) const {
    return static_cast<MigrateType>(byte(pfn).load(std::memory_order_relaxed));
  }
  void set_type(Pfn pfn, MigrateType type) {
    if (this->type(pfn) != type) byte(pfn).store(static_cast<uint8_t>(type), std::memory_order_relaxed);
  }

 private:
  std::atomic_ref<uint8_t> byte(Pfn pfn) const {
    return std::atomic_ref(*pageblock_types.at<uint8_t>(pfn.value() >> kPageblockOrder.value()));
  }
};

enum class UseCma : bool { kNo, kYes };

class Zone {
 public:
  Zone(ZoneId id, MemMap& map, FrameBits& bits);

  mutable sync::SpinLock lock;
  // False while the zone has never had a frame. Needs no lock.
  bool populated() const { return end_.load(std::memory_order_relaxed) != 0; }
  // One past the highest frame the zone has had. Needs no lock.
  Pfn end() const { return Pfn(end_.load(std::memory_order_relaxed)); }
  bool contains(Pfn pfn) const { return zone_of(pfn) == id_; }

  void add_ram(PfnRange range) CW_REQUIRES(lock);
  void remove_ram(PfnRange range) CW_REQUIRES(lock);
  bool is_ram(PfnRange range) const CW_REQUIRES(lock);
  bool overlaps_ram(PfnRange range) const CW_REQUIRES(lock);
  std::span<const RangeSet::Range> ram() const CW_REQUIRES(lock) { return ram_.ranges(); }
  // Free memory that was never used. At boot: append in ascending order, then seal.
  void expect_virgin(size_t ranges) CW_REQUIRES(lock) { virgin_.expect(ranges); }
  void append_virgin(PfnRange range) CW_REQUIRES(lock);
  void seal_virgin() CW_REQUIRES(lock) { virgin_.seal(); }
  void add_virgin(PfnRange range) CW_REQUIRES(lock);

  // A block for an allocation of `type`: its first frame. kMovable may get CMA memory, unless told not to.
  std::optional<Pfn> take(unsigned order, MigrateType type) CW_REQUIRES(lock);
  // The same, from frames below `limit`. O(number of free blocks).
  std::optional<Pfn> take_below(unsigned order, MigrateType type, Pfn limit) CW_REQUIRES(lock);
  // Frees a block into the list of its pageblock, merging it with its buddies.
  void give(Pfn pfn, unsigned order) CW_REQUIRES(lock);
  // Frees any range, cut into the largest aligned blocks.
  void give_range(PfnRange range) CW_REQUIRES(lock);

  // The first frame of `range` that is not free, or, without `cma`, is CMA memory; range.end if none.
  Pfn first_busy(PfnRange range, UseCma cma) const CW_REQUIRES(lock);
  // Takes a range that is wholly free out of wherever it is.
  void carve(PfnRange range) CW_REQUIRES(lock);
  std::optional<Pfn> find_contig(uint64_t pages, uint64_t alignment, UseCma cma) const CW_REQUIRES(lock);

  // Frames become reserved. They are nothing before: early boot, hot-add.
  void reserve(PfnRange range) CW_REQUIRES(lock);
  void expect_reserved(size_t ranges) CW_REQUIRES(lock) { reserved_.expect(ranges); }
  bool is_reserved(Pfn pfn) const CW_REQUIRES(lock) { return next_unreserved(pfn, pfn + 1) != pfn; }
  bool all_reserved(PfnRange range) const CW_REQUIRES(lock) {
    return next_unreserved(range.begin, range.end) == range.end;
  }
  // Forgets reservations, without freeing anything.
  void forget_reserved(PfnRange range) CW_REQUIRES(lock);
  // Reserved frames of `range` count as managed and allocated from now on. Returns how many there were.
  uint64_t adopt(PfnRange range) CW_REQUIRES(lock);
  // Whole pageblocks inside `range` become `type`.
  void set_type(PfnRange range, MigrateType type) CW_REQUIRES(lock);
  // The allocated frames of `range` will never be handed out again. Returns how many there were.
  uint64_t leak(PfnRange range) CW_REQUIRES(lock);

  FrameState state(Pfn pfn) const CW_REQUIRES(lock);
  // First frame of `range` that is not allocated, by everything but page flags; range.end if none.
  Pfn first_not_allocated(PfnRange range) const CW_REQUIRES(lock);

  uint64_t managed_pages() const CW_REQUIRES(lock) { return managed_; }
  uint64_t free_pages() const CW_REQUIRES(lock) { return virgin_.pages() + buddy_.pages(); }
  uint64_t free_cma_pages() const CW_REQUIRES(lock) { return buddy_.pages(MigrateType::kCma); }

 private:
  // A block at `pfn` of order `from`, in no list: keeps the first 2^to frames, lists the rest.
  Pfn keep_front(Pfn pfn, unsigned from, unsigned to, MigrateType type);
  std::optional<Pfn> take_listed(unsigned order, MigrateType type);
  std::optional<Pfn> take_virgin(unsigned order, MigrateType type);
  // Untouched frames in the pageblocks at the edges of a range taken from the middle go to the lists:
  // buddy blocks merge with each other, never with untouched memory.
  void list_virgin_around(PfnRange range) CW_REQUIRES(lock);
  std::optional<Pfn> steal(unsigned order, MigrateType type);
  void claim_pageblock(Pfn pfn, MigrateType type);
  Pfn next_reserved(Pfn pfn, Pfn end) const;
  Pfn next_unreserved(Pfn pfn, Pfn end) const;
  Pfn next_maybe_free(Pfn pfn, Pfn end) const;

  const ZoneId id_;
  MemMap* map_;
  FrameBits* bits_;
  RangeSet ram_;
  // Ranges, not bits: at boot there may be very many, scattered over all memory.
  RangeSet reserved_;
  VirginRanges virgin_;
  BuddyLists buddy_;
  uint64_t managed_ = 0;
  std::atomic<uint64_t> end_{0};
};

}  // namespace causeway::mm
