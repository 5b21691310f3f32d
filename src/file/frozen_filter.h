// What every client may read of the set of frozen files: a filter that says "certainly not frozen", or "ask the kernel".
// libc only: the shim, which lives in strangers' processes, includes it.
//
//   const FrozenFilter& filter = *mapped;
//   if (filter.excludes(info.st_dev, info.st_ino)) return real_ftruncate(fd, size);
//
// Written by the kernel alone. It outlives its kernel in the clients that have mapped it: a kernel that is about to
// be replaced makes it exclude nothing, so that they ask, and get the next kernel's.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace causeway::file {

struct FrozenFilter {
  static constexpr uint32_t kRetired = UINT32_MAX;
  static constexpr size_t kSlots = 16384 - 16;

  alignas(64) std::atomic<uint32_t> files;  // frozen ones, or kRetired
  alignas(64) std::atomic<uint32_t> slots[kSlots];  // how many of them have this hash

  static size_t slot_of(uint64_t device, uint64_t inode) {
    const uint64_t mixed = (inode ^ device << 32 ^ device >> 32) * 0x9e3779b97f4a7c15;
    return static_cast<size_t>((mixed >> 32) % kSlots);
  }
  bool is_empty() const { return files.load(std::memory_order_relaxed) == 0; }
  bool excludes(uint64_t device, uint64_t inode) const {
    const uint32_t count = files.load(std::memory_order_acquire);
    if (count == 0 || count == kRetired) return count == 0;
    return slots[slot_of(device, inode)].load(std::memory_order_acquire) == 0;
  }
};
inline constexpr size_t kFrozenFilterBytes = sizeof(FrozenFilter);
static_assert(kFrozenFilterBytes == 65536 && std::atomic<uint32_t>::is_always_lock_free);

}  // namespace causeway::file
