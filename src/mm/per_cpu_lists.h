// Per-CPU lists: single free frames kept where a thread finds them without the zone's lock. A thread
// belongs to one of a few slots for its life; threads that share a slot share its lock.
//
// A frame in a list has kPagePcp and is free for every audit. Lock order: slot, then zone.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>

#include "mm/migrate_type.h"
#include "sync/spin_lock.h"

namespace causeway::mm {

inline constexpr unsigned kCpuSlots = 8;
inline constexpr unsigned kPcpHigh = 64;   // frames in a list at most
inline constexpr unsigned kPcpBatch = 32;  // moved from or to the zone at a time

struct PcpList {
  uint32_t count = 0;
  std::array<uint32_t, kPcpHigh> frames;  // the last one freed is the next one handed out
};

struct alignas(64) CpuSlot {
  mutable sync::SpinLock lock{"mm.pcp"};
  PcpList lists[kZones][kPcpTypes] CW_GUARDED_BY(lock);

  // CMA frames lie in the movable list: only movable allocations look there.
  PcpList& list(ZoneId zone, MigrateType type) CW_REQUIRES(lock) {
    auto index = static_cast<unsigned>(type);
    return lists[static_cast<unsigned>(zone)][index < kPcpTypes ? index : 0];
  }
};

// The calling thread's slot.
inline unsigned cpu_slot() {
  static constinit std::atomic<unsigned> next{0};
  static constinit thread_local unsigned slot = kCpuSlots;  // not chosen yet
  if (slot == kCpuSlots) [[unlikely]]
    slot = next.fetch_add(1, std::memory_order_relaxed) % kCpuSlots;
  return slot;
}

}  // namespace causeway::mm
