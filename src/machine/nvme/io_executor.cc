#include "machine/nvme/io_executor.h"

#include <algorithm>

#include "base/log.h"
#include "base/point.h"

namespace causeway::machine::nvme {

namespace regs = hw::nvme;
using regs::Status;

namespace {
constexpr uint32_t kAllNamespaces = ~uint32_t{0};

Answer failed(Status status) {
  return {.status = status};
}
}  // namespace

Answer IoExecutor::execute(const regs::Command& command, DmaPort& port,
                           const std::atomic<uint32_t>& attention) {
  const bool is_flush = command.opcode == regs::opcode::kFlush;
  const bool moves = command.opcode == regs::opcode::kRead || command.opcode == regs::opcode::kWrite;
  if (!is_flush && !moves && command.opcode != regs::opcode::kWriteZeroes)
    return failed(Status::kInvalidOpcode);
  if (regs::CommandFuse::get(command.flags) != 0) return failed(Status::kInvalidField);
  if (command.nsid != regs::kNamespaceId && !(is_flush && command.nsid == kAllNamespaces))
    return failed(Status::kInvalidNamespace);
  if (is_flush) {
    if (auto flushed = backing_.flush(); !flushed) return failed(Status::kWriteFault);
    return {};
  }
  const uint64_t lba = regs::lba_of(command);
  const uint64_t blocks = regs::blocks_of(command);
  const uint64_t end = backing_.size() / block_size_;
  if (lba >= end || blocks > end - lba) return failed(Status::kLbaOutOfRange);
  const uint64_t offset = lba * block_size_;
  const uint64_t bytes = blocks * block_size_;
  Answer ended{};
  if (moves) {
    ended = move(command, offset, bytes, port, attention);
    if (ended.kind != Answer::Kind::kEnded || ended.status != Status::kSuccess) return ended;
  } else {
    if (auto zeroed = backing_.zero(offset, bytes); !zeroed) return failed(Status::kWriteFault);
    bytes_written_.fetch_add(bytes, std::memory_order_relaxed);
  }
  if (command.opcode != regs::opcode::kRead && regs::ForceUnitAccess::get(command.cdw12) != 0) {
    if (auto flushed = backing_.flush(); !flushed) return failed(Status::kWriteFault);
  }
  return ended;
}

Answer IoExecutor::move(const regs::Command& command, uint64_t offset, uint64_t bytes, DmaPort& port,
                        const std::atomic<uint32_t>& attention) {
  if (bytes > kMaxData) return failed(Status::kInvalidField);
  Outcome outcome = data_.walk(command, bytes, port);
  if (outcome != Status::kSuccess) return answer(outcome);
  if (faults_.is_due(hw::control::Fault::kNvmeRefuseData)) return failed(Status::kDataTransferError);
  const bool is_read = command.opcode == regs::opcode::kRead;
  for (const Segment& segment : data_.segments()) {
    for (uint64_t done = 0; done < segment.bytes;) {
      uint64_t part = std::min(segment.bytes - done, DmaPort::kMaxTransfer);
      outcome = is_read ? to_memory(offset, segment.address + done, part, port)
                        : from_memory(offset, segment.address + done, part, port);
      if (outcome != Status::kSuccess) return answer(outcome);
      done += part;
      offset += part;
      CW_POINT("machine.nvme.io.after_part");
      if (done < segment.bytes && attention.load(std::memory_order_relaxed) != 0)
        return {.kind = Answer::Kind::kLater};
    }
  }
  if (is_read && faults_.is_due(hw::control::Fault::kNvmeCorruptData))
    corrupt(data_.segments()[0].address, port);
  (is_read ? bytes_read_ : bytes_written_).fetch_add(bytes, std::memory_order_relaxed);
  return {};
}

Outcome IoExecutor::to_memory(uint64_t offset, DmaAddr to, uint64_t bytes, DmaPort& port) {
  if (const std::byte* memory = backing_.memory()) return outcome_of(port.write(to, memory + offset, bytes));
  if (chunk_.empty()) chunk_.resize(DmaPort::kMaxTransfer);
  if (auto read = backing_.read(offset, chunk_.data(), bytes); !read) {
    log::debug("machine", "nvme: reading {} bytes at {}: {}", bytes, offset, to_string(read.error()));
    return Status::kUnrecoveredRead;
  }
  return outcome_of(port.write(to, chunk_.data(), bytes));
}

Outcome IoExecutor::from_memory(uint64_t offset, DmaAddr from, uint64_t bytes, DmaPort& port) {
  if (std::byte* memory = backing_.memory()) return outcome_of(port.read(from, memory + offset, bytes));
  if (chunk_.empty()) chunk_.resize(DmaPort::kMaxTransfer);
  if (Outcome read = outcome_of(port.read(from, chunk_.data(), bytes)); read != Status::kSuccess) return read;
  if (auto written = backing_.write(offset, chunk_.data(), bytes); !written) {
    log::debug("machine", "nvme: writing {} bytes at {}: {}", bytes, offset, to_string(written.error()));
    return Status::kWriteFault;
  }
  return Status::kSuccess;
}

// An injected fault: one byte of what has been read is not what is on the medium.
void IoExecutor::corrupt(DmaAddr address, DmaPort& port) {
  std::byte byte{};
  if (port.read(address, &byte, 1) != DmaStatus::kOk) return;
  byte ^= std::byte{0x10};
  [[maybe_unused]] DmaStatus ignored = port.write(address, &byte, 1);
}

}  // namespace causeway::machine::nvme
