// Queue 0: copies and fills, one descriptor each, as the driver asks.
//
// A long operation moves in chunks; between two of them the queue can be paused, reset or lose the bus,
// and it goes on where it stopped.
#pragma once

#include <vector>

#include "machine/dma_engine/queue.h"

namespace causeway::machine {

class WorkQueue final : public Queue {
 public:
  WorkQueue(QueueOwner& owner, RegionMap& regions, TranslationSource& translation, Bdf requester)
      : Queue(hw::dma_engine::kWorkQueue, owner, regions, translation, requester) {}
  ~WorkQueue() override { stop(); }

 private:
  struct Operation {
    hw::dma_engine::Descriptor descriptor;
    uint32_t done = 0;  // bytes
    bool has_ended = false;
    bool waits_for_page = false;
    unsigned asks = 0;  // for pages of this chunk
    hw::dma_engine::TransferStatus refused_as = hw::dma_engine::TransferStatus::kOk;  // if there is no page
    hw::dma_engine::TransferStatus status = hw::dma_engine::TransferStatus::kOk;
  };
  Turn serve() override;
  void forget() override { current_.reset(); }
  void begin();
  // One chunk. False: the bus went away before it moved; the operation waits.
  bool step();

  std::optional<Operation> current_;
  std::vector<std::byte> chunk_;
};

}  // namespace causeway::machine
