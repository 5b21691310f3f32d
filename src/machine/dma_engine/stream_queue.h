// Queue 1: records that come out of nothing at a set rate, each written into the next posted buffer.
//
// What kMaxLate and kMaxGap tell apart: a gap is any long time between two transfers; lateness is the part
// of it that is this thread's own fault, measured only when a buffer was there at the due time.
#pragma once

#include <vector>

#include "hw/stream_record.h"
#include "machine/dma_engine/pace.h"
#include "machine/dma_engine/queue.h"

namespace causeway::machine {

class StreamQueue final : public Queue {
 public:
  StreamQueue(QueueOwner& owner, RegionMap& regions, TranslationSource& translation, Bdf requester)
      : Queue(hw::dma_engine::kStreamQueue, owner, regions, translation, requester) {}
  ~StreamQueue() override { stop(); }

 private:
  Turn serve() override;
  void forget() override;
  bool write_own_register(uint32_t offset, uint32_t value, const char** why) override;
  // Nothing can be transferred now: stands still or loses what is due.
  Turn starve(uint64_t now);
  void end_starvation(uint64_t now);
  // Makes the next record, for the buffer of the descriptor just taken.
  void begin(const hw::dma_engine::Descriptor& descriptor, uint64_t now);
  // Moves it and completes it. False: the bus went away, and the transfer waits; or the queue has halted.
  bool finish();
  DmaStatus write_record(DmaAddr destination);

  struct Transfer {
    hw::dma_engine::Completion completion{};
    DmaAddr destination;
    bool has_ended = false;  // only the completion is missing
  };
  Pace pace_;
  std::vector<std::byte> record_;
  std::optional<Transfer> current_;
  uint64_t starving_since_ = 0;  // 0: not starving
  uint64_t last_transfer_ = 0;   // when it began; 0: none since kResetGap
};

}  // namespace causeway::machine
