#include "dept/objects.h"

#include <cerrno>
#include <sys/mman.h>

#include "dept/hash.h"

namespace causeway::dept {

uint64_t Objects::home(uint64_t address) const {
  return (mix(kSeed, address >> kPageShift) * kSlotsOfPage + ((address >> 6) & (kSlotsOfPage - 1))) & mask_;
}

int Objects::create(uint32_t capacity) {
  uint64_t slots = kSlotsOfPage;
  while (slots < uint64_t{capacity} * 2) slots *= 2;
  void* memory = ::mmap(nullptr, slots * sizeof(Slot) + kPages * sizeof(pages_[0]), PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) return -ENOMEM;
  slots_ = static_cast<Slot*>(memory);
  pages_ = reinterpret_cast<std::atomic<uint16_t>*>(slots_ + slots);
  mask_ = slots - 1;
  return 0;
}

void Objects::destroy() {
  if (slots_ != nullptr) ::munmap(slots_, (mask_ + 1) * sizeof(Slot) + kPages * sizeof(pages_[0]));
  slots_ = nullptr;
  pages_ = nullptr;
}

ObjectId Objects::find(const Arena& arena, uint64_t address) const {
  for (uint64_t slot = home(address), probes = 0; probes <= mask_; slot = (slot + 1) & mask_, ++probes) {
    const uint64_t there = slots_[slot].address.load(std::memory_order_acquire);
    if (there == 0) return ObjectId::kNone;
    if (there != address) continue;
    const ObjectId id = ObjectId(slots_[slot].object.load(std::memory_order_acquire));
    // The slot may have gone over to another address between the two loads.
    if (id == ObjectId::kNone || arena.at<Object>(id).address != address) return ObjectId::kNone;
    return id;
  }
  return ObjectId::kNone;
}

bool Objects::insert(uint64_t address, ObjectId id) {
  Slot* vacant = nullptr;
  for (uint64_t slot = home(address), probes = 0; probes <= mask_; slot = (slot + 1) & mask_, ++probes) {
    Slot& here = slots_[slot];
    const uint64_t there = here.address.load(std::memory_order_relaxed);
    const bool is_vacant = here.object.load(std::memory_order_relaxed) == 0;
    if (there == address) {
      if (is_vacant) pages_[page_index(address >> kPageShift)].fetch_add(1, std::memory_order_relaxed);
      here.object.store(index_of(id), std::memory_order_release);
      return true;
    }
    if (is_vacant && vacant == nullptr) vacant = &here;
    if (there == 0) break;
  }
  if (vacant == nullptr) return false;
  vacant->address.store(address, std::memory_order_release);
  vacant->object.store(index_of(id), std::memory_order_release);
  pages_[page_index(address >> kPageShift)].fetch_add(1, std::memory_order_relaxed);
  return true;
}

void Objects::remove(uint64_t address) {
  for (uint64_t slot = home(address), probes = 0; probes <= mask_; slot = (slot + 1) & mask_, ++probes) {
    const uint64_t there = slots_[slot].address.load(std::memory_order_relaxed);
    if (there == 0) return;
    if (there != address) continue;
    if (slots_[slot].object.exchange(0, std::memory_order_release) != 0)
      pages_[page_index(address >> kPageShift)].fetch_sub(1, std::memory_order_relaxed);
    return;
  }
}

}  // namespace causeway::dept
