// Boot memory (memblock): which physical memory exists and which of it is taken, before there is a
// page allocator. Two sorted lists of ranges; everything not reserved goes to the page allocator.
//
//   BootMemory boot;
//   boot.add({PhysAddr{0}, MiB(128)});
//   boot.reserve({fdt, kPageSize}, Reservation::kNormal);
//   PhysAddr p = CW_TRY(boot.allocate(KiB(64), kPageSize));
//
// In a KHO boot nothing is known about the rest of memory until the handed-over tree has been walked,
// so allocations come from scratch alone: restrict_to(scratch) until lift_restriction().
// Costs O(log n) per reservation amortised (a sorted batch of n is merged in O(n)); never O(size of RAM).
// Not thread-safe: it is used by the one thread that boots.
#pragma once

#include <functional>
#include <optional>
#include <span>
#include <vector>

#include "base/result.h"
#include "base/types.h"
#include "mm/range_set.h"

namespace causeway::mm {

struct MemRange {
  PhysAddr base;
  uint64_t size = 0;  // bytes
  PhysAddr end() const { return base + size; }
  bool operator==(const MemRange&) const = default;
};

enum class Reservation : uint8_t {
  kNormal,  // pages get PG_reserved
  kNoInit,  // struct pages are left alone: preserved memory (MEMBLOCK_RSRV_NOINIT)
};

class BootMemory {
 public:
  // Adding or reserving what overlaps is merged. EINVAL: wraps.
  Status add(MemRange range);
  // RAM that is a client's (HotMemory::kReserved): memory, reserved as kNoInit, never handed out, its contents not to
  // be relied on. EINVAL: wraps.
  Status add_client(MemRange range);
  Status reserve(MemRange range, Reservation kind = Reservation::kNormal);
  // The same for many at once, in any order. All or nothing. Fastest in a few ascending runs.
  Status reserve_all(std::span<MemRange> ranges, Reservation kind);
  // Takes a reservation back, or part of one, of either kind.
  Status release(MemRange range);

  enum class Direction : uint8_t { kBottomUp, kTopDown };
  // Reserves (kNormal) and returns a free range. Contents are as found, not zeroed. Never address 0.
  // `alignment` in bytes, a power of two. `limit`: the range ends at or below it. ENOMEM, EINVAL.
  Result<PhysAddr> allocate(uint64_t size, uint64_t alignment, Direction direction = Direction::kTopDown,
                            PhysAddr limit = PhysAddr{~uint64_t{0}});
  // Allocations come from these ranges only (minus what is reserved in them, or is not memory).
  void restrict_to(std::vector<MemRange> ranges);
  void lift_restriction();
  bool restricted() const;

  bool is_memory(PhysAddr base, uint64_t size) const;    // wholly RAM
  bool is_reserved(PhysAddr base, uint64_t size) const;  // any byte of it
  std::vector<MemRange> memory() const;                  // ascending, merged
  std::vector<MemRange> client() const;                  // that of clients; part of memory()
  std::vector<MemRange> reserved(Reservation kind) const;
  std::vector<MemRange> free() const;  // memory minus reserved, page granular, ascending
  // The same without a copy, for when there are very many.
  void for_each_free(const std::function<void(MemRange)>& visit) const;
  std::span<const RangeSet::Range> reserved_ranges(Reservation kind) const { return list(kind).ranges(); }
  uint64_t reserved_bytes(PhysAddr limit = PhysAddr{~uint64_t{0}}) const;  // kNormal ones below limit

 private:
  std::optional<uint64_t> find_gap(RangeSet::Range within, uint64_t size, uint64_t alignment,
                                   Direction direction) const;
  // The lowest reservation of either kind in `range`.
  const RangeSet::Range* first_reserved(RangeSet::Range range) const;
  RangeSet& list(Reservation kind) { return kind == Reservation::kNormal ? normal_ : no_init_; }
  const RangeSet& list(Reservation kind) const { return kind == Reservation::kNormal ? normal_ : no_init_; }

  RangeSet memory_;
  RangeSet normal_;
  RangeSet no_init_;
  RangeSet client_;
  std::optional<RangeSet> restriction_;
};

}  // namespace causeway::mm
