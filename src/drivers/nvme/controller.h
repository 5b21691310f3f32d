// The NVMe controller's registers and its admin queue: enable, identify, make queues, abort.
//
//   Controller controller(regs);
//   CW_TRY(controller.allocate(device));
//   CW_TRY(controller.enable());               // resets it first
//   Identity identity = CW_TRY(controller.identify());
//   CW_TRY(controller.create_queue(1, {...}));
//
// The admin queue is polled, one command at a time. Which of its entries are in use the controller's registers say, so
// a successor needs no more than the memory.
//
// Thread-safe from enable() or restore() on.
#pragma once

#include <cstdint>

#include "base/result.h"
#include "drivers/abi/nvme_v1.h"
#include "drivers/preserved_buffer.h"
#include "hw/nvme.h"
#include "platform/mmio.h"
#include "sync/mutex.h"

namespace causeway::drivers::nvme {

// What the driver needs of the identify data.
struct Identity {
  uint64_t blocks;         // of the namespace
  uint32_t block_log2;     // bytes
  uint64_t max_transfer;   // bytes; ~0: no limit
  bool sgl;
};

// How one pair of I/O queues is to be, or is.
struct QueueSetup {
  DmaAddr submission, completion;
  uint32_t entries;
  bool interrupts;  // to the MSI-X entry with the queue's number
};

class Controller {
 public:
  static constexpr uint32_t kAdminEntries = 32;

  explicit Controller(platform::MmioWindow regs) : regs_(regs) {}

  Status allocate(dma::Device& device);
  Status preserve(dma::Device& device);
  Status release(dma::Device& device);
  void hand_over(abi::Handover& handover) const;
  // EILSEQ: the controller does not run, or not with this admin queue.
  Status restore(dma::Device& device, const abi::Handover& handover);

  // Disables the controller, which ends every queue, and enables it with our admin queue. EIO, ETIMEDOUT.
  Status enable();
  Status disable();
  // An orderly shutdown, then disable().
  Status shut_down();
  // The epoch of a controller that nobody has reset since.
  uint32_t epoch() const { return regs_.read32(hw::nvme::kCwEpoch); }

  Result<Identity> identify();
  // Pairs the controller gives us, at most `wanted`.
  Result<uint32_t> request_queues(uint32_t wanted);
  // What is there already must be as asked for (EILSEQ); the rest is made.
  Status create_queue(unsigned number, const QueueSetup& setup);
  // EILSEQ: there is something else. False: no such queue, or half of the pair.
  Result<bool> check_queue(unsigned number, const QueueSetup& setup) const;
  // False: the controller could not find the command any more.
  Result<bool> abort(unsigned queue, uint16_t cid);

  platform::MmioWindow& regs() { return regs_; }
  const platform::MmioWindow& regs() const { return regs_; }
  uint32_t queue_reg(unsigned queue, uint32_t offset) const { return regs_.read32(hw::nvme::cw_queue(queue) + offset); }
  uint64_t queue_reg64(unsigned queue, uint32_t offset) const { return regs_.read64(hw::nvme::cw_queue(queue) + offset); }

 private:
  Status wait_ready(bool ready);
  Status settle();
  // The result dword. EIO: the controller completed it with an error; ETIMEDOUT.
  Result<uint32_t> execute(hw::nvme::Command command);
  Result<uint32_t> execute_locked(hw::nvme::Command command) CW_REQUIRES(mutex_);

  platform::MmioWindow regs_;
  mutable sync::Mutex mutex_{"drivers.nvme.admin"};
  PreservedBuffer submission_;
  PreservedBuffer completion_;
  PreservedBuffer buffer_;  // for identify data
  uint32_t tail_ CW_GUARDED_BY(mutex_) = 0;
  uint32_t head_ CW_GUARDED_BY(mutex_) = 0;
  bool phase_ CW_GUARDED_BY(mutex_) = true;
  uint16_t next_cid_ CW_GUARDED_BY(mutex_) = 0;
};

// Waits until the controller has stored the completion in `slot`: what it wrote before is then visible. The status word
// carries the phase.
inline uint16_t load_status(const hw::nvme::Completion& slot) {
  return __atomic_load_n(&slot.status, __ATOMIC_ACQUIRE);
}

}  // namespace causeway::drivers::nvme
