// What the DMA engine's driver hands to its successor: subtree "dma-engine-BB:DD.F", blob = Handover.
//
//   Handover (one page, made anew by every generation)
//     |-- tokens of the rings and work buffers
//     |-- buffers: kho_block chain of BufferEntry, one per slot of the stream ring
//     '-- live --> LiveState (one page, the same one in every generation)
//
// The two are apart because a kernel may die at any instruction: while a new generation prepares its
// own Handover, the old one stays as it is, and both lead to the same LiveState. LiveState is
// updated with every batch of records; together with the device's own registers it says where to go on.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "base/types.h"

namespace causeway::drivers::abi {

inline constexpr char kCompatible[32] = "causeway,dma-engine-v1";

struct Handover {
  char compatible[32];
  uint64_t live;           // physical address of LiveState
  uint64_t buffers;        // head of the chain of BufferEntry
  uint32_t buffer_count;   // entries in the chain, 2^ring_log2
  uint32_t buffer_size;    // bytes each
  uint32_t ring_log2;      // stream ring
  uint32_t work_log2;      // work ring
  uint32_t address_width;  // bits: 32, 40 or 64
  uint32_t vector;         // of the device's MSI
  uint64_t stream_ring;    // tokens of DMA allocations from here on
  uint64_t stream_completions;
  uint64_t work_ring;
  uint64_t work_completions;
  uint64_t work_buffer[2];
};
static_assert(sizeof(Handover) == 120);

// `pending` is the successor of `token` while a buffer is being exchanged, else 0. Which of the two the
// device uses is what the slot's descriptor says.
struct BufferEntry {
  uint64_t token;
  uint64_t pending;
};
static_assert(sizeof(BufferEntry) == 16);

// Counters of the stream since it was started, over all generations.
struct Counters {
  uint64_t generation;     // of the kernel that wrote them
  uint64_t consumed;       // completions consumed; the low 32 bits are the device's kCompHead
  uint64_t next_sequence;  // of the next record expected
  uint64_t records;        // records that were right
  uint64_t bytes;          // bytes verified
  uint64_t lost;           // sequence numbers that never came
  uint64_t replayed;       // sequence numbers that came again
  uint64_t corrupted;      // records with a wrong magic, length or checksum
  uint64_t refused;        // completions with an error status
  uint64_t last_work_ns;   // CLOCK_MONOTONIC when the newest of them was consumed
};

// The consumer fills the slot that is not current, then makes it current: whenever it is killed, one slot
// is whole and says exactly which completions have been consumed. Only then are they given back to
// the device, so what a dead kernel had half done is still there to be done again.
struct LiveState {
  std::atomic<uint64_t> current;  // 0 or 1
  Counters slot[2];
  uint64_t epoch;                 // the device's kEpoch when the stream was started
};
static_assert(sizeof(LiveState) == 176 && sizeof(LiveState) <= kPageSize);

}  // namespace causeway::drivers::abi
