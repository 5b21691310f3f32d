// The arithmetic of bounce slots: what a request needs of them, and which of them are free. Private to the room.
//
//   SlotRequest request = CW_TRY(SlotRequest::make(1500, orig, 0, device.min_align_mask()));
//   FreeRuns runs(512);
//   if (runs.run(8) >= request.slots) runs.take(8, request.slots);
//   ...
//   runs.give(8, request.slots);
//
// A slot is 2 KiB; 128 of them are a set, and no buffer leaves its set. Neither class locks.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <memory>
#include <optional>

#include "base/result.h"
#include "base/types.h"
#include "dma/swiotlb/swiotlb.h"

namespace causeway::dma {

// Where a buffer may begin and how long it is.
struct SlotRequest {
  uint64_t offset = 0;      // of the data from the start of the first slot; 2048 and more: there are pad slots
  uint32_t slots = 0;       // 1..128, pad slots included
  uint32_t stride = 1;      // slots from one place that fits the masks to the next; a power of two
  uint64_t align_mask = 0;  // bits of the first slot's address that are 0
  uint64_t match_mask = 0;  // bits that are as in `match`
  uint64_t match = 0;
  uint64_t boundary = ~uint64_t{0};  // the device's segment boundary mask

  // Of `alloc_align_mask`, the address and the length of the block are multiples; `min_align_mask` has the bits that the
  // result shares with `orig`. ENOMEM: longer than a slot set; EINVAL: alloc_align_mask is not 2^n - 1.
  static Result<SlotRequest> make(uint64_t size, PhysAddr orig, uint64_t alloc_align_mask, uint64_t min_align_mask);

  uint32_t pad_slots() const { return static_cast<uint32_t>(offset >> kSlotShift); }
  bool fits(PhysAddr slot) const {
    return (slot.value() & align_mask) == 0 && ((slot.value() ^ match) & match_mask) == 0;
  }
  // A run that begins `slot` slots from bus address 0 crosses no boundary.
  bool within_boundary(uint64_t slot) const {
    uint64_t most = (boundary >> kSlotShift) + 1;  // cannot wrap: kSlotShift > 0
    return slot % most + slots <= most;
  }
};

// The free runs of a pool. For every slot two bytes: of a free one, how far before the end of its set its run ends; of a
// busy one, how far it is from the first slot of its buffer. So all zeros is a pool with everything free, and memory
// that nobody has written to is a good beginning.
class FreeRuns {
 public:
  explicit FreeRuns(uint32_t slots);

  uint32_t slots() const { return slots_; }
  bool busy(uint32_t slot) const { return (entry_[slot] & kBusy) != 0; }
  // Free slots from here to the end of the run or of the set (io_tlb_slot::list); 0: busy.
  uint32_t run(uint32_t slot) const { return busy(slot) ? 0 : set_end(slot) - slot - entry_[slot]; }
  // The first slot of the buffer that this busy slot belongs to.
  uint32_t first_of(uint32_t slot) const { return slot - (entry_[slot] & ~kBusy); }

  void take(uint32_t first, uint32_t count);  // run(first) >= count
  void give(uint32_t first, uint32_t count);  // as taken; merges with what is free around it in the set

 private:
  static constexpr uint16_t kBusy = 0x8000;
  struct Free {
    void operator()(uint16_t* memory) const { std::free(memory); }
  };

  static uint32_t set_begin(uint32_t slot) { return slot & ~static_cast<uint32_t>(kSlotsPerSet - 1); }
  uint32_t set_end(uint32_t slot) const;
  // The first slot of the free run that ends right before `slot`; `slot` itself if there is none.
  uint32_t run_before(uint32_t slot) const;

  uint32_t slots_;
  std::unique_ptr<uint16_t[], Free> entry_;
};

}  // namespace causeway::dma
