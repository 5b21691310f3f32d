// One contiguous range of bounce slots, in areas with a lock each. Private to the room.
//
//   BouncePool pool({begin, slots, areas}, direct_map);
//   BounceMapping mapping{.orig = orig, .size = 1500, .min_align_mask = 0};
//   std::optional<PhysAddr> bounce = pool.take(request, mapping, pool_bus_slot, cpu);   // nullopt: full
//   BouncePool::Held held = pool.find(*bounce);
//   pool.copy(held, *bounce, 1500, BouncePool::Copy::kToOriginal);
//   pool.give(held);
//
// A pool may lie idle for ever at no cost: what it keeps about its slots is not written before they are used.
// Thread-safe; a mapping belongs to whoever made it, and what find() returns is valid until it is given back.
#pragma once

#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <optional>
#include <vector>

#include "base/types.h"
#include "dma/swiotlb/slots.h"
#include "platform/direct_map.h"
#include "sync/spin_lock.h"

namespace causeway::dma {

// What is known about a buffer, kept at its first slot.
struct BounceMapping {
  static constexpr uint64_t kNoOriginal = ~uint64_t{0};  // coherent memory: nothing to copy

  uint64_t orig = kNoOriginal;  // physical address
  uint32_t size = 0;            // bytes mapped
  uint32_t min_align_mask = 0;  // the device's, at the time
  uint32_t offset = 0;          // of the data in the block, pad slots included
  uint32_t slots = 0;           // pad slots included
};

class BouncePool {
 public:
  struct Extent {
    PhysAddr begin;  // page-aligned
    uint32_t slots = 0;
    uint32_t areas = 1;  // a power of two; every area has whole slot sets unless there is only one
  };
  BouncePool(const Extent& extent, const platform::DirectMap& memory);

  PhysAddr begin() const { return begin_; }
  uint64_t bytes() const { return uint64_t{runs_.slots()} << kSlotShift; }
  uint32_t slots() const { return runs_.slots(); }
  uint32_t areas() const { return static_cast<uint32_t>(areas_.size()); }
  bool contains(PhysAddr phys) const { return phys.value() - begin_.value() < bytes(); }

  // Slots for `mapping`, whose `offset` and `slots` are filled in from the request; `bus_slot` is the number of the
  // pool's first slot on the device's bus. The search begins in the area of `cpu`, where the last one there ended.
  std::optional<PhysAddr> take(const SlotRequest& request, BounceMapping mapping, uint64_t bus_slot, unsigned cpu);

  struct Held {
    uint32_t first = 0;
    const BounceMapping* mapping = nullptr;  // null: the slot is free
    PhysAddr data;                           // what take() returned
  };
  // The buffer whose block `phys`, an address inside the pool, lies in.
  Held find(PhysAddr phys) const;
  // False: somebody else has given it back already.
  bool give(const Held& held);

  enum class Copy : uint8_t { kToBounce, kToOriginal };
  // The part of [phys, phys + size) that was mapped.
  struct Part {
    PhysAddr begin;
    uint64_t size = 0;
    bool whole = true;  // nothing was cut off
  };
  Part clip(const Held& held, PhysAddr phys, uint64_t size) const;
  void copy(const Held& held, const Part& part, Copy way) const;

  uint64_t used() const;                 // slots, at this instant
  std::vector<uint16_t> free_runs();     // for every slot what io_tlb_slot::list would be

 private:
  struct alignas(64) Area {
    sync::SpinLock lock{"dma.swiotlb.area"};
    std::atomic<uint32_t> used{0};  // changed with the lock held
    uint32_t cursor = 0;            // where the next search begins, from the area's first slot
  };
  struct Free {
    void operator()(BounceMapping* memory) const { std::free(memory); }
  };

  PhysAddr address(uint32_t slot) const { return begin_ + (uint64_t{slot} << kSlotShift); }
  uint32_t slot_of(PhysAddr phys) const { return static_cast<uint32_t>((phys - begin_) >> kSlotShift); }
  std::optional<uint32_t> take_from(uint32_t area, const SlotRequest& request, uint64_t bus_slot);

  const PhysAddr begin_;
  const platform::DirectMap& memory_;
  const uint32_t area_slots_;
  FreeRuns runs_;  // every area's part under that area's lock
  std::unique_ptr<BounceMapping[], Free> mappings_;
  std::vector<Area> areas_;
};

}  // namespace causeway::dma
