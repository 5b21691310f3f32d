// Private to the allocator's .cc files: its data, and the steps that several of them share.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <optional>
#include <utility>

#include "mm/page_allocator.h"
#include "mm/per_cpu_lists.h"
#include "mm/zone.h"

namespace causeway::mm {

struct PageAllocator::State {
  State(MemMap& memory_map, FrameBits frame_bits, bool check)
      : map(memory_map),
        check_pages(check),
        bits(std::move(frame_bits)),
        zones{Zone(ZoneId::kDma32, memory_map, bits), Zone(ZoneId::kNormal, memory_map, bits)} {}

  MemMap& map;
  const bool check_pages;
  FrameBits bits;
  std::array<Zone, kZones> zones;
  std::array<CpuSlot, kCpuSlots> slots;
  std::atomic<uint64_t> bad_pages{0};
  std::atomic<uint64_t> leaked_pages{0};

  Zone& zone(ZoneId id) { return zones[static_cast<unsigned>(id)]; }
  Zone& zone(Pfn pfn) { return zone(zone_of(pfn)); }

  // Both zones' locks: for ranges that may cross 4 GiB, seen and changed as one.
  class BothLocks {
   public:
    explicit BothLocks(State& state) : low_(state.zones[0].lock), high_(state.zones[1].lock) {}

   private:
    sync::SpinLockGuard low_;
    sync::SpinLockGuard high_;
  };
  // Calls function(zone, part) for the part of `range` in each zone. Under BothLocks, which the clang
  // analysis cannot follow, the function is marked CW_REQUIRES(zone.lock).
  template <typename Function>
  void for_each_zone(PfnRange range, Function function) CW_NO_THREAD_SAFETY_ANALYSIS {
    Pfn border = Pfn::containing(kDma32Limit);
    PfnRange low{range.begin, std::min(range.end, border)};
    PfnRange high{std::max(range.begin, border), range.end};
    if (!low.empty()) function(zone(ZoneId::kDma32), low);
    if (!high.empty()) function(zone(ZoneId::kNormal), high);
  }

  bool in_map(PfnRange range) const { return !range.empty() && range.end.value() <= map.end_pfn(); }

  // PG_reserved for the RAM of a kNormal reservation.
  void mark_reserved(PfnRange frames, const BootMemory& boot);

  // Where the block of a Page* lies. False if the pointer or the end is outside the array.
  bool block_of(const Page* page, uint64_t pages, PfnRange* block) const;

  // Drops a reference; true if it was the last. One that is not there is reported, not taken.
  bool drop_reference(Page* page);
  void report_missing_reference(Page* page);
  // Frees a block whose last reference is gone, after the checks.
  void free_block(PfnRange block);
  // The checks alone: false if the block was reported and leaked.
  bool may_free(PfnRange block);
  // Puts a block that passed into the per-CPU or buddy lists.
  void give_back(PfnRange block);
  void give_back_single(Page* page, Pfn pfn);
  void give_to_zones(PfnRange range);

  // Takes a checked block out of the free lists; null if there is none.
  Page* take_block(unsigned order, MigrateType type, ZoneId zone);
  Page* take_single(MigrateType type, ZoneId zone);
  Page* take_block_below(unsigned order, MigrateType type, ZoneId zone, Pfn limit);
  // False: reported and leaked.
  bool may_hand_out(PfnRange block, uint32_t list_flag);
  void hand_out(Page* page, unsigned order, Gfp gfp);

  // Every page of a range that is in no list becomes an allocated one. Null: reported and leaked.
  Page* own_range(PfnRange range);
  std::optional<PfnRange> carve_contig(Zone& where, uint64_t pages, uint64_t alignment, UseCma cma);
  Status carve_exactly(PfnRange range);
  // Checks that hot memory can go, and takes it off the free lists.
  Status withdraw(PfnRange range, HotMemory kind);

  bool free_single(Page* page, Pfn pfn);
  bool refill(CpuSlot& slot, PcpList& list, MigrateType type, ZoneId id) CW_REQUIRES(slot.lock);
  void drain_all();
  void drain(CpuSlot& slot, PcpList& list, ZoneId id, unsigned keep) CW_REQUIRES(slot.lock);

  // Reports a bad page of a block that is this caller's; leak() then withholds what is allocated of it.
  void report(BadPage reason, Pfn bad, PfnRange block, const char* moment);
  // Reports a page that may be somebody else's.
  void report_stranger(BadPage reason, Pfn bad, const char* moment);
  void leak(PfnRange block);
  // Why a page without a reference cannot be freed.
  BadPage reason_not_allocated(Pfn pfn);
};

inline bool PageAllocator::State::drop_reference(Page* page) {
  int32_t count = page->refcount.load(std::memory_order_relaxed);
  // Never below zero: of two frees of one page the second must not disturb what became of it since.
  do {
    if (count <= 0) [[unlikely]] {
      report_missing_reference(page);
      return false;
    }
  } while (!page->refcount.compare_exchange_weak(count, count - 1, std::memory_order_acq_rel,
                                                 std::memory_order_relaxed));
  return count == 1;
}

}  // namespace causeway::mm
