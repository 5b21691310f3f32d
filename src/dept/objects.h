// Which object lives at an address: a table of this process, looked up without a lock.
//
//   ObjectId id = objects.find(arena, address);
//   { EngineLockGuard hold(objects.lock()); objects.insert(address, id); }
//
// Addresses of one page lie together, so that few pages of the table are touched, and a range is found without looking everywhere.
// A count for each page (of a hash of it) says in one load that nothing of a range is known.
#pragma once

#include <atomic>
#include <cstdint>

#include "dept/arena.h"
#include "dept/engine_lock.h"

namespace causeway::dept {

class Objects {
 public:
  // For at most `capacity` objects at a time. 0 or a negative errno.
  int create(uint32_t capacity);
  void destroy();

  ObjectId find(const Arena& arena, uint64_t address) const;
  // Whether there may be any in [begin, end).
  bool may_have(uint64_t begin, uint64_t end) const {
    uint64_t page = begin >> kPageShift;
    const uint64_t last = (end - 1) >> kPageShift;
    do {
      if (pages_[page_index(page)].load(std::memory_order_relaxed) != 0) return true;
    } while (page++ != last);
    return false;
  }

  // Under lock(). insert replaces what was there. False: no room.
  EngineLock& lock() { return lock_; }
  bool insert(uint64_t address, ObjectId id);
  void remove(uint64_t address);
  // Calls `visit(address, id)` for each in [begin, end), which may remove it.
  template <typename Visit>
  void each_within(uint64_t begin, uint64_t end, Visit&& visit) {
    for (uint64_t page = begin >> kPageShift; page <= (end - 1) >> kPageShift; ++page) {
      if (pages_[page_index(page)].load(std::memory_order_relaxed) == 0) continue;
      const uint64_t low = begin > page << kPageShift ? begin : page << kPageShift;
      const uint64_t high = end < (page + 1) << kPageShift ? end : (page + 1) << kPageShift;
      const uint64_t last = home(high - 1);
      for (uint64_t slot = home(low);; slot = (slot + 1) & mask_) {
        const uint64_t address = slots_[slot].address.load(std::memory_order_relaxed);
        const ObjectId id = ObjectId(slots_[slot].object.load(std::memory_order_relaxed));
        if (address == 0 && ((slot - last) & mask_) <= mask_ / 2) break;
        if (id != ObjectId::kNone && address >= low && address < high) visit(address, id);
      }
    }
  }

 private:
  static constexpr unsigned kPageShift = 12;
  static constexpr unsigned kSlotsOfPage = 64;
  static constexpr unsigned kPages = 1u << 16;
  struct Slot {
    std::atomic<uint64_t> address;  // 0: never used; stays when its object has gone
    std::atomic<uint32_t> object;
    uint32_t unused;
  };
  static uint64_t page_index(uint64_t page) { return (page ^ page >> 16) & (kPages - 1); }
  uint64_t home(uint64_t address) const;

  Slot* slots_ = nullptr;
  std::atomic<uint16_t>* pages_ = nullptr;
  uint64_t mask_ = 0;
  EngineLock lock_;
};

}  // namespace causeway::dept
