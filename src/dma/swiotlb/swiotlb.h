// Bounce buffers (kernel/dma/swiotlb.c): memory a device can reach, in slots of 2 KiB, for data it cannot.
//
//   auto made = CW_TRY(Swiotlb::create(allocator, attributes, {.size = MiB(4)}));   Swiotlb& pool = *made;
//   PhysAddr bounce = CW_TRY(pool.map(device, orig, 1500, 0, Direction::kToDevice, &attrs));   // copied in
//   pool.sync_for_cpu(device, bounce + 300, 50, Direction::kFromDevice);                       // copied back
//   pool.unmap(device, bounce, 1500, Direction::kFromDevice, attrs);                           // copied back, freed
//
// A pool is split into areas, each with its own lock and cursor; a CPU starts with its own. A buffer is at most one slot
// set: 128 slots, 256 KiB. Every map copies in, whatever the direction: a device that writes less than it was asked for
// must not reveal what was in the slots before.
//
// `dynamic`: when all areas are full, the request gets a pool of its own (transient) at once, and a worker adds
// another pool to the system's.  `restricted`: reserved memory of one or more devices, from which their coherent
// allocations come too and which everything of theirs bounces through (restricted-dma-pool).
//
// Copies go by the direct map. What is asked of a buffer that is none, or beyond its end, is cut off with a warning and
// never touches a neighbour. Memory of a pool that was never used costs nothing: a pool is as cheap as its use.
//
// Lookup of a physical address is lock-free. Thread-safe.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "base/result.h"
#include "base/types.h"
#include "dma/attributes.h"
#include "dma/device.h"
#include "dma/direction.h"
#include "dma/page_attributes.h"
#include "mm/page_allocator.h"

namespace causeway::dma {

inline constexpr unsigned kSlotShift = 11;                               // IO_TLB_SHIFT
inline constexpr uint64_t kSlotSize = uint64_t{1} << kSlotShift;         // IO_TLB_SIZE
inline constexpr uint64_t kSlotsPerSet = 128;                            // IO_TLB_SEGSIZE
inline constexpr uint64_t kMaxBounce = kSlotSize * kSlotsPerSet;         // 256 KiB

class Swiotlb {
 public:
  struct Options {
    uint64_t size = MiB(64);     // bytes; rounded up to whole slot sets per area, a power of two of slots
    unsigned areas = 0;          // 0: one per CPU, a power of two
    bool force = false;          // force_bounce: every map of RAM
    bool dynamic = false;
    bool restricted = false;     // implies force and one area; alloc() works
    bool cc_shared = false;      // decrypted when it is made, for a platform with encrypted memory
    bool host_encrypted = false;  // ... which is a host and no guest: devices that could decrypt may use it too
    bool track_hiwater = false;
    PhysAddr limit{~uint64_t{0}};      // the pool ends at or below
    std::optional<PhysAddr> base;      // exactly there (tests; reserved memory)
  };
  // Short of memory, the size is halved down to 1 MiB (512 slots). ENOMEM; EIO: it could not be decrypted.
  static Result<std::unique_ptr<Swiotlb>> create(mm::PageAllocator& allocator, PageAttributes& attributes,
                                                 const Options& options);
  // A pool that is always full: what a device gets whose pool could not be made, so that it does not reach around it.
  static std::unique_ptr<Swiotlb> disabled(mm::PageAllocator& allocator, PageAttributes& attributes,
                                           const Options& options);
  ~Swiotlb();  // a kernel's end: nothing is given back

  bool force_bounce() const { return force_bounce_; }
  bool for_alloc() const { return restricted_; }  // coherent memory comes from here
  bool cc_shared() const { return cc_shared_; }

  // swiotlb_tbl_map_single: slots for `size` bytes at `orig`, filled from there. The low bits of the result are those of
  // `orig` as the device's min_align_mask asks; `alloc_align_mask` aligns the block and its length. kCcShared in *attrs
  // is made to fit the pool. ENOMEM: full (logged unless kNoWarn), or too long for a slot set; EPERM: encryption differs;
  // EINVAL: not memory, alloc_align_mask is not 2^n - 1. Clears the device's skip_sync().
  Result<PhysAddr> map(Device& device, PhysAddr orig, size_t size, uint64_t alloc_align_mask, Direction direction,
                       Attr* attrs);
  // Copied back if the device may have written and not kSkipCpuSync; then the slots are free. An address that map()
  // did not return is left alone, with a warning.
  void unmap(Device& device, PhysAddr bounce, size_t size, Direction direction, Attr attrs);
  // Any part of a mapping. More than was mapped is cut off, with a warning.
  void sync_for_cpu(Device& device, PhysAddr bounce, size_t size, Direction direction);
  void sync_for_device(Device& device, PhysAddr bounce, size_t size, Direction direction);

  // is_swiotlb_buffer: inside any pool that serves `device`.
  bool contains(const Device& device, PhysAddr phys) const {
    if (phys.value() - first_.value() < first_bytes_) return true;
    return dynamic_ && contains_dynamic(device, phys);
  }
  // swiotlb_max_mapping_size: 256 KiB less what the device's min_align_mask can cost.
  size_t max_mapping_size(const Device& device) const;

  // swiotlb_alloc/free, restricted pools alone: 2^get_order(size) pages, aligned to their order; contents as found.
  // EOPNOTSUPP: not a pool for this; ENOMEM; EPERM: encryption differs; EINVAL: size 0.
  Result<PhysAddr> alloc(const Device& device, size_t size);
  // False: nothing of that size was allocated there. Nothing is changed then.
  bool free(PhysAddr base, size_t size);
  bool free(const Device&, PhysAddr base, size_t size) { return free(base, size); }

  struct Stats {
    uint64_t slots = 0;            // io_tlb_nslabs, all pools
    uint64_t used = 0;             // io_tlb_used; transient pools are not counted
    uint64_t used_hiwater = 0;     // with track_hiwater; they are
    uint64_t transient_slots = 0;  // io_tlb_transient_nslabs
    uint64_t pools = 0;            // shared ones
    PhysAddr base;                 // of the first pool
  };
  Stats stats() const;
  Status reset_hiwater();
  // swiotlb's default base: asking freezes the growth of a dynamic pool.
  PhysAddr default_base();
  // Waits until the worker of a dynamic pool has nothing to do (tests).
  void settle();
  // Of every slot of the first pool: how many are free from there to the end of the run or of its slot set (audits).
  std::vector<uint16_t> free_runs() const;

  struct State;

 private:
  Swiotlb(std::unique_ptr<State> state, const Options& options);
  Result<PhysAddr> take(const Device& device, PhysAddr orig, size_t size, uint64_t alloc_align_mask);
  bool contains_dynamic(const Device& device, PhysAddr phys) const;

  std::unique_ptr<State> state_;
  const bool force_bounce_;
  const bool restricted_;
  const bool cc_shared_;
  // The first pool, for contains().
  const PhysAddr first_;
  const uint64_t first_bytes_;
  const bool dynamic_;
};

}  // namespace causeway::dma
