#include "drivers/nvme/file_workload.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "base/log.h"
#include "drivers/nvme/block_content.h"

namespace causeway::drivers::nvme {

using abi::CommandEntry;
using abi::CommandState;

namespace {

constexpr unsigned kAttemptShift = 56;
constexpr uint64_t kUnitMask = (uint64_t{1} << kAttemptShift) - 1;

bool busy(const abi::QueueState& state, uint32_t depth) {
  return std::any_of(state.command, state.command + depth, [](const CommandEntry& entry) {
    return entry.state == CommandState::kInFlight && entry.owner == abi::Owner::kWorkload;
  });
}

}  // namespace

FileWorkload::FileWorkload(const WorkloadConfig& config, std::vector<Buffer> buffers)
    : config_(config), buffers_(std::move(buffers)) {
  segments_.reserve(buffers_.size());
  for (const Buffer& one : buffers_) segments_.push_back({one.phys, config_.io_size});
}

uint64_t FileWorkload::units_of(unsigned queue) const {
  uint64_t units = config_.file_bytes / config_.io_size;
  return units / config_.queues + (queue - 1 < units % config_.queues ? 1 : 0);
}

bool FileWorkload::next(unsigned queue, abi::QueueState& state, uint32_t index, Command* command) {
  abi::WorkloadState& work = state.workload;
  const uint64_t units = units_of(queue);
  if (units == 0) return false;
  if (work.next >= units && work.redo_count == 0) {
    // Every write of the pass comes before its reads, and those before the writes of the next one.
    if (busy(state, config_.depth)) return false;
    work.next = 0;
    work.pass += work.reading;
    work.reading = 1 - work.reading;
  }
  if (work.pass > last_pass()) return false;
  // The tag is the unit and how often it was tried.
  uint64_t tag = work.redo_count > 0 ? work.redo[--work.redo_count] : work.next++;

  const Buffer& data = buffer(queue, index);
  uint64_t unit = file_unit(queue, tag & kUnitMask);
  uint64_t first_block = unit * (config_.io_size / kContentBlock);
  std::span<std::byte> memory(data.cpu, config_.io_size);
  if (work.reading != 0) {
    std::memset(memory.data(), 0xa5, memory.size());  // what a read that does nothing would leave
  } else {
    block_content(pass_seed(config_.seed, work.pass), first_block, memory);
  }
  command->opcode = work.reading != 0 ? hw::nvme::opcode::kRead : hw::nvme::opcode::kWrite;
  command->blocks = config_.io_size >> config_.block_log2;
  command->lba = unit * command->blocks;
  command->data = std::span(&segments_[(queue - 1) * config_.depth + index], 1);
  command->tag = tag;
  return true;
}

void FileWorkload::completed(unsigned queue, abi::QueueState& state, uint32_t index, Outcome outcome) {
  abi::WorkloadState& work = state.workload;
  const CommandEntry& entry = state.command[index];
  if (outcome != Outcome::kDone) {
    uint64_t attempts = (entry.tag >> kAttemptShift) + 1;
    if (attempts < kAttempts && work.redo_count < abi::kMaxRedo)
      work.redo[work.redo_count++] = attempts << kAttemptShift | (entry.tag & kUnitMask);
    return;
  }
  if (entry.opcode != hw::nvme::opcode::kRead) return;
  uint64_t unit = file_unit(queue, entry.tag & kUnitMask);
  verify(buffer(queue, index), pass_seed(config_.seed, work.pass), unit * (config_.io_size / kContentBlock), state.counters);
}

void FileWorkload::verify(const Buffer& data, uint64_t seed, uint64_t first_block, abi::Counters& counters) const {
  for (uint64_t block = 0; block < config_.io_size / kContentBlock; ++block) {
    std::span<const std::byte> memory(data.cpu + block * kContentBlock, kContentBlock);
    std::optional<size_t> wrong = find_difference(seed, first_block + block, memory);
    if (!wrong) {
      counters.verified += kContentBlock;
      continue;
    }
    if (++counters.corrupted == 1)
      log::error("drivers", "block {} of the file is wrong from byte {} on", first_block + block, *wrong);
  }
}

}  // namespace causeway::drivers::nvme
