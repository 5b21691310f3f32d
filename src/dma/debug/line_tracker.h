// Which live mappings that a device writes share a cache line: two of them corrupt each other on an incoherent machine.
// As in the kernel a mapping counts by its first line alone, peer devices' memory included.
//
//   LineTracker::Sharing sharing = lines.insert(entry);
//   if (sharing.others > 0 && !(sharing.all_clean && is_clean(entry->attrs))) ...  // report
//   lines.remove(entry);
//
// The kernel counts to 7 in three bits of a tree's tags and forgets a line too early after that. Here the entries
// themselves are chained by line, so the count is always right; more than kWarnAbove others still warn, as there.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>

#include "dma/debug/entry.h"
#include "sync/spin_lock.h"

namespace causeway::dma {

// Everybody who shares the line promises not to let the CPU's lines get in the way.
inline bool is_clean(Attr attrs) { return has(attrs, Attr::kDebuggingIgnoreCachelines | Attr::kRequireCoherent); }

class LineTracker {
 public:
  static constexpr unsigned kWarnAbove = 7;

  // `line`: bytes, a power of two.
  explicit LineTracker(unsigned line) : line_(line), chains_(new Chain[kChains]) {}

  struct Sharing {
    unsigned others = 0;              // mappings that had the line already
    bool all_clean = true;            // each of them is_clean()
    std::optional<DebugMapping> other;  // one of them, one that is not clean if there is any
  };
  // Nothing is tracked that the device only reads, or of length 0.
  Sharing insert(DebugEntry* entry);
  void remove(const DebugEntry* entry);

  uint64_t tracked() const { return tracked_.load(std::memory_order_relaxed); }

 private:
  static constexpr unsigned kChains = 4096;
  struct Chain {
    sync::SpinLock lock{"dma.debug.line"};
    DebugEntry* head CW_GUARDED_BY(lock) = nullptr;
  };
  static bool is_tracked(const DebugMapping& entry) { return device_writes(entry.direction) && entry.size != 0; }
  uint64_t line_of(const DebugMapping& entry) const { return entry.phys.value() / line_; }
  Chain& chain_of(uint64_t line) { return chains_[(line * 0x9e3779b97f4a7c15u) >> 52]; }

  const uint64_t line_;
  std::unique_ptr<Chain[]> chains_;
  std::atomic<uint64_t> tracked_{0};
};

}  // namespace causeway::dma
