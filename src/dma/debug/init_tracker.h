// Memory that a device would read although nobody wrote it: KMSAN's part in the DMA mapping API, without its compiler.
//
//   InitTracker tracker(map, seed);
//   tracker.poison(phys, size);                              // whoever hands out memory that is not zeroed
//   if (auto run = tracker.scan(phys, size)) ...             // a map for a device that reads: run->offset, run->words
//
// Poisoned memory holds one 64-bit pattern, drawn anew for every boot. A scan looks for two or more aligned words of it in
// a row: one could be chance or data.
//
// It is a check by pattern. It does not see: memory that came to its owner zeroed or used; gaps of less than two aligned
// words (padding of a structure); a value computed from unwritten memory. It finds a copy of the pattern, and takes data
// that equals the pattern for a gap. Maps for a device that writes mark nothing: what the device left alone is unwritten.
#pragma once

#include <cstdint>
#include <optional>

#include "base/types.h"
#include "mm/page.h"

namespace causeway::dma {

class InitTracker {
 public:
  // `seed` 0: a random pattern.
  InitTracker(mm::MemMap& map, uint64_t seed);

  // RAM of the caller's. What does not fill an aligned word stays as it is.
  void poison(PhysAddr phys, uint64_t size);

  struct Run {
    uint64_t offset = 0;  // of the first, in bytes from the start of the range
    uint64_t words = 0;   // in all runs of the range
    uint64_t runs = 0;
  };
  // nullopt: nothing found.
  std::optional<Run> scan(PhysAddr phys, uint64_t size) const;

  uint64_t pattern() const { return pattern_; }

 private:
  mm::MemMap& map_;
  const uint64_t pattern_;
};

}  // namespace causeway::dma
