#include "dma/swiotlb/bounce_pool.h"

#include <algorithm>
#include <cassert>
#include <cstring>
#include <new>

namespace causeway::dma {

using sync::SpinLockGuard;

BouncePool::BouncePool(const Extent& extent, const platform::DirectMap& memory)
    : begin_(extent.begin),
      memory_(memory),
      area_slots_(extent.slots / extent.areas),
      runs_(extent.slots),
      mappings_(static_cast<BounceMapping*>(std::calloc(std::max(extent.slots, 1u), sizeof(BounceMapping)))),
      areas_(extent.areas) {
  assert(extent.areas == 1 || area_slots_ % kSlotsPerSet == 0);
  if (!mappings_) throw std::bad_alloc();
}

std::optional<PhysAddr> BouncePool::take(const SlotRequest& request, BounceMapping mapping, uint64_t bus_slot,
                                         unsigned cpu) {
  for (uint32_t i = 0; i < areas(); ++i) {
    std::optional<uint32_t> first = take_from((cpu + i) & (areas() - 1), request, bus_slot);
    if (!first) continue;
    mapping.offset = static_cast<uint32_t>(request.offset);
    mapping.slots = request.slots;
    mappings_[*first] = mapping;
    return address(*first) + request.offset;
  }
  return std::nullopt;
}

std::optional<uint32_t> BouncePool::take_from(uint32_t index, const SlotRequest& request, uint64_t bus_slot) {
  Area& area = areas_[index];
  const uint32_t base = index * area_slots_;
  SpinLockGuard guard(area.lock);
  const uint32_t used = area.used.load(std::memory_order_relaxed);
  if (request.slots > area_slots_ - used) return std::nullopt;

  uint32_t at = area.cursor;
  for (uint64_t checked = 0; checked < area_slots_;) {
    uint64_t step = 1;
    if (request.fits(address(base + at))) {
      uint32_t run = runs_.run(base + at);
      if (run >= request.slots && request.within_boundary(bus_slot + base + at)) {
        runs_.take(base + at, request.slots);
        area.used.store(used + request.slots, std::memory_order_relaxed);
        area.cursor = at + request.slots == area_slots_ ? 0 : at + request.slots;
        return base + at;
      }
      // No place inside a run that is too short is long enough either.
      step = run >= request.slots ? request.stride : std::max<uint64_t>(align_up(run, request.stride), request.stride);
    }
    step = std::min<uint64_t>(step, area_slots_ - at);
    checked += step;
    at = at + step == area_slots_ ? 0 : static_cast<uint32_t>(at + step);
  }
  return std::nullopt;
}

BouncePool::Held BouncePool::find(PhysAddr phys) const {
  uint32_t slot = slot_of(phys);
  if (!runs_.busy(slot)) return {};
  Held held;
  held.first = runs_.first_of(slot);
  held.mapping = &mappings_[held.first];
  held.data = address(held.first) + held.mapping->offset;
  return held;
}

bool BouncePool::give(const Held& held) {
  const uint32_t index = held.first / area_slots_;
  Area& area = areas_[index];
  SpinLockGuard guard(area.lock);
  if (!runs_.busy(held.first) || runs_.first_of(held.first) != held.first) return false;
  const uint32_t count = held.mapping->slots;
  runs_.give(held.first, count);
  area.used.store(area.used.load(std::memory_order_relaxed) - count, std::memory_order_relaxed);
  // What was taken last and comes back first is still in the processor's cache: use it again.
  const uint32_t at = held.first - index * area_slots_;
  if (at + count == area.cursor || (area.cursor == 0 && at + count == area_slots_)) area.cursor = at;
  return true;
}

BouncePool::Part BouncePool::clip(const Held& held, PhysAddr phys, uint64_t size) const {
  // The block begins before the data: an address in between belongs to nobody's buffer.
  if (phys < held.data) return {held.data, 0, false};
  uint64_t from = phys - held.data;
  uint64_t left = from < held.mapping->size ? held.mapping->size - from : 0;
  return {phys, std::min(size, left), size <= left};
}

void BouncePool::copy(const Held& held, const Part& part, Copy way) const {
  if (part.size == 0 || held.mapping->orig == BounceMapping::kNoOriginal) return;
  std::byte* bounce = memory_.to_virt(part.begin);
  std::byte* original = memory_.to_virt(PhysAddr(held.mapping->orig) + (part.begin - held.data));
  if (way == Copy::kToBounce)
    std::memcpy(bounce, original, part.size);
  else
    std::memcpy(original, bounce, part.size);
}

uint64_t BouncePool::used() const {
  uint64_t sum = 0;
  for (const Area& area : areas_) sum += area.used.load(std::memory_order_relaxed);
  return sum;
}

std::vector<uint16_t> BouncePool::free_runs() {
  std::vector<uint16_t> runs(slots());
  for (uint32_t index = 0; index < areas(); ++index) {
    SpinLockGuard guard(areas_[index].lock);
    for (uint32_t i = index * area_slots_; i < (index + 1) * area_slots_; ++i)
      runs[i] = static_cast<uint16_t>(runs_.run(i));
  }
  return runs;
}

}  // namespace causeway::dma
