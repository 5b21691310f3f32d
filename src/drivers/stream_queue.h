// The DMA engine's stream queue: consumes the records the device writes and verifies every one.
//
// Slot i of the ring always stands for the buffer the slot's descriptor names. Records are taken in
// batches, in three steps whose order makes the queue survive a kernel that dies anywhere:
//
//   1. verify every record of the batch; nothing is changed
//   2. LiveState: the batch counts as consumed (one atomic store)
//   3. doorbells: the slots belong to the device again
//
// Killed before 2, the next kernel verifies the batch again; killed before 3, it rings the doorbells.
// Between 2 and 3 a buffer may be exchanged for a new one (recycling): nobody else uses the slot.
//
// Not thread-safe: the driver serialises.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "base/result.h"
#include "drivers/abi/dma_engine_v1.h"
#include "drivers/descriptor_queue.h"
#include "kho/block_set.h"

namespace causeway::drivers {

struct StreamConfig {
  unsigned ring_log2;
  uint32_t buffer_size;  // bytes of a buffer and of a record
};

// What the first batch after a live update found.
struct FirstWork {
  uint64_t time_ns;
  uint64_t waiting;  // transfers completed since the old kernel consumed its last one
};

class StreamQueue {
 public:
  StreamQueue(platform::MmioWindow regs, kho::Kho& kho, dma::Device& device, const StreamConfig& config);

  // Cold: rings, buffers, descriptors, LiveState.
  Status allocate();
  // Warm: everything from the predecessor's handover. Restores, then compares with the device.
  Status restore(const abi::Handover& handover);
  // Preserves what is not preserved yet, and fills in the stream's part of `handover`. `with_rings`: false leaves the rings
  // out (sabotage).
  Status preserve(abi::Handover& handover, bool with_rings);
  // The predecessor's table and exchanged buffers are no longer needed by anybody.
  Status release_predecessor();
  // The device does not use the memory any more.
  Status release();

  // Tells the device about the rings and starts the stream from the beginning.
  void start(uint32_t rate, bool hold, uint32_t epoch);
  // Goes on where LiveState says: gives back what the predecessor had consumed.
  void resume();

  // Consumes what the device has produced; exchanges up to `recycle` of the buffers consumed.
  // Returns the number of completions.
  uint64_t poll(uint32_t generation, uint32_t recycle);
  uint64_t recycled() const { return recycled_; }
  const std::optional<FirstWork>& first_work() const { return first_work_; }

  // Frees `count` of the buffers that the device will write to next (sabotage).
  void free_posted_buffers(uint32_t count);

  const abi::Counters& counters() const { return live_->slot[live_->current.load(std::memory_order_acquire)]; }
  abi::LiveState& live() { return *live_; }
  DescriptorQueue& queue() { return queue_; }

 private:
  void verify(const hw::dma_engine::Completion& completion, abi::Counters& counters);
  Status exchange_buffer(uint32_t slot);
  abi::BufferEntry* entry(uint32_t slot);

  DescriptorQueue queue_;
  kho::Kho& kho_;
  dma::Device& device_;
  StreamConfig config_;
  std::vector<PreservedBuffer> buffers_;
  std::vector<PreservedBuffer> left_over_;  // exchanged by the predecessor, not yet freed
  std::optional<kho::BlockSet> table_;      // ours, outgoing
  std::optional<kho::BlockSet> predecessor_table_;
  abi::LiveState* live_ = nullptr;
  std::optional<FirstWork> first_work_;
  uint64_t recycled_ = 0;
};

}  // namespace causeway::drivers
