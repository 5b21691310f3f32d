// Keeps the NVMe driver busy with a file whose contents anybody can compute (block_content.h): writes it, reads it back
// and verifies every block, then again with another seed, for ever.
//
//   FileWorkload workload({.queues = 1, .depth = 32, .io_size = KiB(16), .file_bytes = MiB(8), .block_log2 = 9, .seed = 1},
//                         buffers);
//   queue.set_client(&workload);            // the command `index` of a queue uses the buffer with that index
//
// The file is the namespace from block 0 on. Its units (io_size each) are dealt out to the queues in turn, so no queue
// waits for another: each has its own pass and its own place in it, in the QueueState that survives the kernel. What the
// workload itself keeps is only how it is configured.
//
// Thread-safe as QueueClient is: the queues' own locks.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/types.h"
#include "drivers/abi/nvme_v1.h"
#include "drivers/nvme/io_queue.h"

namespace causeway::drivers::nvme {

struct WorkloadConfig {
  uint32_t queues;
  uint32_t depth;
  uint32_t io_size;     // bytes, a multiple of kContentBlock
  uint64_t file_bytes;  // a multiple of io_size
  uint32_t block_log2;
  uint64_t seed;
};

class FileWorkload : public QueueClient {
 public:
  struct Buffer {
    std::byte* cpu;
    PhysAddr phys;
  };
  // `buffers`: depth of them for each queue, in order.
  FileWorkload(const WorkloadConfig& config, std::vector<Buffer> buffers);

  bool next(unsigned queue, abi::QueueState& state, uint32_t index, Command* command) override;
  void completed(unsigned queue, abi::QueueState& state, uint32_t index, Outcome outcome) override;

  // No command of a pass after this one.
  void stop_after(uint64_t pass) { last_pass_.store(pass, std::memory_order_relaxed); }
  uint64_t last_pass() const { return last_pass_.load(std::memory_order_relaxed); }
  const WorkloadConfig& config() const { return config_; }

 private:
  static constexpr uint32_t kAttempts = 3;  // of a unit that was refused or lost
  uint64_t units_of(unsigned queue) const;
  uint64_t file_unit(unsigned queue, uint64_t unit) const { return unit * config_.queues + (queue - 1); }
  const Buffer& buffer(unsigned queue, uint32_t index) const { return buffers_[(queue - 1) * config_.depth + index]; }
  void verify(const Buffer& buffer, uint64_t seed, uint64_t first_block, abi::Counters& counters) const;

  const WorkloadConfig config_;
  const std::vector<Buffer> buffers_;
  std::vector<PhysSegment> segments_;  // one for each buffer, for the commands to point at
  std::atomic<uint64_t> last_pass_{~uint64_t{0}};
};

}  // namespace causeway::drivers::nvme
