// Read, write, flush and write zeroes of one namespace; one executor per submission queue.
//
//   IoExecutor io(backing, 512, faults);
//   Answer answer = io.execute(command, port, attention);
//
// A command that touches a block beyond the end moves nothing. One that is cut off may have moved a part, and
// moves all of it again.
#pragma once

#include <vector>

#include "machine/fault_injector.h"
#include "machine/nvme/backing.h"
#include "machine/nvme/executor.h"

namespace causeway::machine::nvme {

inline constexpr unsigned kMdts = 8;  // 1 MiB
inline constexpr uint64_t kMaxData = kPageSize << kMdts;

class IoExecutor final : public Executor {
 public:
  IoExecutor(Backing& backing, uint32_t block_size, FaultInjector& faults)
      : backing_(backing), block_size_(block_size), faults_(faults) {}

  Answer execute(const hw::nvme::Command& command, DmaPort& port,
                 const std::atomic<uint32_t>& attention) override;

  uint64_t bytes_read() const { return bytes_read_.load(std::memory_order_relaxed); }
  uint64_t bytes_written() const { return bytes_written_.load(std::memory_order_relaxed); }

 private:
  Answer move(const hw::nvme::Command& command, uint64_t offset, uint64_t bytes, DmaPort& port,
              const std::atomic<uint32_t>& attention);
  // At most DmaPort::kMaxTransfer bytes between the namespace and a bus address.
  Outcome to_memory(uint64_t offset, DmaAddr to, uint64_t bytes, DmaPort& port);
  Outcome from_memory(uint64_t offset, DmaAddr from, uint64_t bytes, DmaPort& port);
  void corrupt(DmaAddr address, DmaPort& port);

  Backing& backing_;
  const uint32_t block_size_;
  FaultInjector& faults_;
  DataPointer data_;
  std::vector<std::byte> chunk_;
  std::atomic<uint64_t> bytes_read_{0}, bytes_written_{0};
};

}  // namespace causeway::machine::nvme
