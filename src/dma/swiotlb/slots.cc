#include "dma/swiotlb/slots.h"

#include <algorithm>
#include <bit>
#include <cassert>
#include <new>

namespace causeway::dma {

Result<SlotRequest> SlotRequest::make(uint64_t size, PhysAddr orig, uint64_t alloc_align_mask,
                                      uint64_t min_align_mask) {
  constexpr uint64_t kInSlot = kSlotSize - 1;
  if ((alloc_align_mask & (alloc_align_mask + 1)) != 0) return fail(EINVAL, "an alignment that is not 2^n - 1");
  if (size > kMaxBounce || alloc_align_mask >= kMaxBounce) return fail(ENOMEM, "longer than a slot set");
  SlotRequest request;
  request.offset = orig.value() & min_align_mask & (alloc_align_mask | kInSlot);
  uint64_t bytes = align_up(size + request.offset, alloc_align_mask + 1);
  if (bytes > kMaxBounce) return fail(ENOMEM, "longer than a slot set, with what its alignment adds");
  // A buffer of no bytes has an address like any other.
  request.slots = static_cast<uint32_t>(std::max<uint64_t>((bytes + kInSlot) >> kSlotShift, 1));

  request.align_mask = alloc_align_mask | kInSlot;
  // Who copies whole pages expects whole pages, unless it asked for something else.
  if (alloc_align_mask == 0 && min_align_mask == 0 && bytes >= kPageSize) request.align_mask = kPageSize - 1;
  request.match_mask = min_align_mask & ~request.align_mask;
  request.match = orig.value();
  request.stride = static_cast<uint32_t>(
      std::bit_ceil((std::max(request.align_mask, request.match_mask) >> kSlotShift) + 1));
  return request;
}

// calloc() of a large pool comes untouched from the system.
FreeRuns::FreeRuns(uint32_t slots)
    : slots_(slots), entry_(static_cast<uint16_t*>(std::calloc(std::max(slots, 1u), sizeof(uint16_t)))) {
  if (!entry_) throw std::bad_alloc();
}

uint32_t FreeRuns::set_end(uint32_t slot) const {
  return std::min(set_begin(slot) + static_cast<uint32_t>(kSlotsPerSet), slots_);
}

uint32_t FreeRuns::run_before(uint32_t slot) const {
  uint32_t begin = set_begin(slot);
  while (slot > begin && !busy(slot - 1)) --slot;
  return slot;
}

void FreeRuns::take(uint32_t first, uint32_t count) {
  assert(run(first) >= count);
  std::fill(&entry_[run_before(first)], &entry_[first], static_cast<uint16_t>(set_end(first) - first));
  for (uint32_t i = 0; i < count; ++i) entry_[first + i] = static_cast<uint16_t>(kBusy | i);
}

void FreeRuns::give(uint32_t first, uint32_t count) {
  uint32_t end = first + count;
  uint32_t run_end = end < set_end(first) ? end + run(end) : end;
  std::fill(&entry_[run_before(first)], &entry_[end], static_cast<uint16_t>(set_end(first) - run_end));
}

}  // namespace causeway::dma
