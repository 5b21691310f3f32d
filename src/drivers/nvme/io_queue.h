// One pair of I/O queues: the rings, the command table, and the order of steps that survives a kernel's death.
//
//   IoQueue queue(controller, kho, device, config);
//   CW_TRY(queue.allocate());                          // or restore()
//   CW_TRY(controller.create_queue(1, queue.setup()));
//   queue.open();
//   CW_TRY(queue.submit({.opcode = kRead, .lba = 8, .blocks = 8, .data = segments}, [](Result<uint32_t> result) { ... }));
//   while (queue.poll() != 0) {}
//
// Both directions work in steps of which only one counts (abi/nvme_v1.h):
//
//   submit   map, write the list and the ring's entry   ->  LiveState: in flight  ->  doorbell
//   poll     look at new completions, verify their data ->  LiveState: consumed   ->  doorbell
//
// Killed before the middle, the next kernel does it again; killed after it, it rings the doorbell. A buffer is filled for
// the next command only after the completion of the last one counts, because until then it may be looked at again. Behind
// an IOMMU mappings go the same way: made and noted before a command counts as in flight, unmapped after its completion
// does. What a dead kernel had mapped in between nobody claims.
//
// Thread-safe. Callbacks run on the thread that polls, with nothing held. The client is called with the queue locked.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "base/result.h"
#include "drivers/abi/nvme_v1.h"
#include "drivers/block_dma.h"
#include "drivers/nvme/command_mappings.h"
#include "drivers/nvme/controller.h"
#include "drivers/nvme/data_pointer.h"
#include "drivers/preserved_buffer.h"
#include "kho/kho.h"
#include "sync/mutex.h"

namespace causeway::drivers::nvme {

// One command of the NVM command set. `blocks` 0 with no data: flush.
struct Command {
  uint8_t opcode = hw::nvme::opcode::kFlush;
  uint64_t lba = 0;
  uint32_t blocks = 0;
  std::span<const PhysSegment> data;  // as long as the blocks; the device's until the command has completed
  uint64_t tag = 0;
};
// The result dword. EIO: completed with an error; ETIMEDOUT: given up, and the memory stays the device's.
using Done = std::function<void(Result<uint32_t>)>;

enum class Outcome : uint8_t { kDone, kRefused, kLost };

// Keeps a queue busy. What it has to remember is in the QueueState it is given, and becomes the truth together with
// everything else the step changes.
class QueueClient {
 public:
  virtual ~QueueClient() = default;
  // What to do with the idle command `index`; false: nothing.
  virtual bool next(unsigned queue, abi::QueueState& state, uint32_t index, Command* command) = 0;
  virtual void completed(unsigned queue, abi::QueueState& state, uint32_t index, Outcome outcome) = 0;
};

struct QueueConfig {
  unsigned number;      // from 1
  uint32_t depth;
  uint32_t block_log2;
  bool sgl;
  bool interrupts;
  uint32_t generation;  // of this kernel
};

class IoQueue {
 public:
  IoQueue(Controller& controller, kho::Kho& kho, dma::Device& device, const QueueConfig& config);

  // Ring entries for this many commands: enough for each of them twice.
  static uint32_t entries_for(uint32_t depth);

  Status allocate();
  // `mappings`: of the commands, 0 for none. Errors: those of dma; EINVAL, LiveState is not one; EILSEQ, it does not fit what
  // the controller says.
  Status restore(const abi::QueueHandover& handover, uint64_t mappings);
  // The mappings of what is in flight become this kernel's. Before open(). Errors of CommandMappings::claim().
  Status claim_mappings();
  // `with_rings`: false leaves the rings out (sabotage).
  Status preserve(abi::QueueHandover& handover, bool with_rings);
  Status release();
  QueueSetup setup() const;
  const CommandMappings& mappings() const { return mappings_; }

  // Commands are taken, completions consumed; gives back to the controller what the predecessor could not any more.
  void open();
  // Neither any more, until open(). Returns when none is under way.
  void close();
  // Only after close(): consumes until nothing is in flight. ETIMEDOUT.
  Status drain(uint64_t timeout_ns);
  void set_client(QueueClient* client);

  // EBUSY: closed; EAGAIN: every identifier is in use; errors of the mapping and of describe().
  Status submit(const Command& command, Done done);
  // Completions consumed.
  unsigned poll();
  // Gives up what was submitted more than `timeout_ns` ago: the identifiers to be aborted.
  std::vector<uint16_t> expire(uint64_t timeout_ns);

  abi::Counters counters() const;
  abi::WorkloadState workload() const;
  uint32_t in_flight() const;   // retired ones included
  uint64_t waiting() const;     // completions that nobody has consumed yet

  // What an adopted command has already waited does not count.
  void restart_clocks();
  // The queue was lost with a controller reset: the rings start anew, what was in flight stays in the table.
  void start_over();
  // Mistakes made on purpose: what is in flight is submitted once more, or its completions are ignored.
  void replay_in_flight();
  void forget_in_flight();

 private:
  struct Slot {
    BlockMapping mapping;
    Done done;
    bool forgotten = false;
  };
  struct Finished {
    Done done;
    Result<uint32_t> result;
  };
  // What the controller calls a command.
  static constexpr uint32_t kIndexMask = 0xff;
  static_assert(abi::kMaxDepth <= kIndexMask);
  static uint16_t identifier(const abi::CommandEntry& entry, uint32_t index) {
    return static_cast<uint16_t>(entry.generation << 8 | index);
  }
  const abi::QueueState& now() const { return live_->slot[live_->current.load(std::memory_order_relaxed)]; }
  abi::QueueState& begin_step() const;
  void finish_step();
  bool arrived(uint64_t index, uint16_t* status) const;
  unsigned consume(std::vector<Finished>& finished) CW_REQUIRES(mutex_);
  void take(const hw::nvme::Completion& completion, abi::QueueState& next, std::vector<Finished>& finished)
      CW_REQUIRES(mutex_);
  void refill() CW_REQUIRES(mutex_);
  Status prepare(abi::QueueState& next, uint32_t index, const Command& command, abi::Owner owner) CW_REQUIRES(mutex_);
  Status describe_data(uint32_t index, const Command& command, hw::nvme::Command& entry) CW_REQUIRES(mutex_);
  void ring_submission();
  void ring_completion();
  void unmap_finished() CW_REQUIRES(mutex_);
  Status check_live() const;
  uint64_t pending() const;

  Controller& controller_;
  kho::Kho& kho_;
  dma::Device& device_;
  const QueueConfig config_;
  const uint32_t entries_;

  mutable sync::Mutex mutex_{"drivers.nvme.queue"};
  PreservedBuffer submission_;
  PreservedBuffer completion_;
  PreservedBuffer lists_;
  abi::LiveState* live_ = nullptr;
  bool open_ CW_GUARDED_BY(mutex_) = false;
  QueueClient* client_ CW_GUARDED_BY(mutex_) = nullptr;
  std::vector<Slot> slots_ CW_GUARDED_BY(mutex_);
  DataPointer data_ CW_GUARDED_BY(mutex_);
  CommandMappings mappings_;
  std::vector<uint32_t> finished_ CW_GUARDED_BY(mutex_);  // commands whose completion counts, still mapped
};

}  // namespace causeway::drivers::nvme
