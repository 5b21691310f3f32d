#include "drivers/nvme/io_queue.h"

#include <algorithm>
#include <bit>
#include <chrono>
#include <cstring>
#include <thread>

#include "base/clock.h"
#include "base/log.h"
#include "base/point.h"
#include "base/warn_once.h"

namespace causeway::drivers::nvme {

namespace reg = hw::nvme;
using abi::CommandEntry;
using abi::CommandState;
using abi::QueueState;

uint32_t IoQueue::entries_for(uint32_t depth) { return std::bit_ceil(2 * depth + 2); }

IoQueue::IoQueue(Controller& controller, kho::Kho& kho, dma::Device& device, const QueueConfig& config)
    : controller_(controller),
      kho_(kho),
      device_(device),
      config_(config),
      entries_(entries_for(config.depth)),
      slots_(config.depth),
      data_(config.sgl),
      mappings_(kho, config.depth) {}

void IoQueue::set_client(QueueClient* client) {
  sync::MutexLock lock(mutex_);
  client_ = client;
}

void IoQueue::open() {
  sync::MutexLock lock(mutex_);
  open_ = true;
  ring_completion();
  ring_submission();
}

void IoQueue::close() {
  sync::MutexLock lock(mutex_);
  open_ = false;
}

Status IoQueue::drain(uint64_t timeout_ns) {
  for (uint64_t begin = monotonic_ns();;) {
    std::vector<Finished> finished;
    bool idle;
    {
      sync::MutexLock lock(mutex_);
      consume(finished);
      const QueueState& state = now();
      idle = std::all_of(state.command, state.command + config_.depth,
                         [](const CommandEntry& entry) { return entry.state == CommandState::kIdle; });
    }
    for (Finished& one : finished) one.done(one.result);
    if (idle) return {};
    if (monotonic_ns() - begin > timeout_ns) return fail(ETIMEDOUT, "commands stay in flight");
    std::this_thread::sleep_for(std::chrono::microseconds(20));
  }
}

// The other slot, as a copy of what is true now. Dropping it is undoing the step.
QueueState& IoQueue::begin_step() const {
  uint64_t current = live_->current.load(std::memory_order_relaxed);
  QueueState& next = live_->slot[1 - current];
  std::memcpy(&next, &live_->slot[current], offsetof(QueueState, command) + config_.depth * sizeof(CommandEntry));
  next.generation = config_.generation;
  return next;
}

void IoQueue::finish_step() {
  live_->current.store(1 - live_->current.load(std::memory_order_relaxed), std::memory_order_release);
}

void IoQueue::ring_submission() {
  controller_.regs().write32(reg::sq_doorbell(config_.number), static_cast<uint32_t>(now().submitted & (entries_ - 1)));
}

void IoQueue::ring_completion() {
  controller_.regs().write32(reg::cq_doorbell(config_.number), static_cast<uint32_t>(now().consumed & (entries_ - 1)));
}

bool IoQueue::arrived(uint64_t index, uint16_t* status) const {
  *status = load_status(completion_.memory.as<reg::Completion>()[index & (entries_ - 1)]);
  return reg::status_phase(*status) == ((index & entries_) == 0);
}

unsigned IoQueue::consume(std::vector<Finished>& finished) {
  uint16_t status;
  if (!arrived(now().consumed, &status)) return 0;
  QueueState& next = begin_step();
  unsigned count = 0;
  // A controller gone mad must not make us read for ever.
  for (; count < entries_ && arrived(next.consumed, &status); ++count, ++next.consumed) {
    reg::Completion completion = completion_.memory.as<reg::Completion>()[next.consumed & (entries_ - 1)];
    completion.status = status;
    take(completion, next, finished);
  }
  next.counters.last_work_ns = monotonic_ns();
  CW_POINT("drivers.nvme.poll.before_live");
  finish_step();
  CW_POINT("drivers.nvme.poll.after_live");
  unmap_finished();
  ring_completion();
  CW_POINT("drivers.nvme.poll.after_doorbell");
  return count;
}

void IoQueue::unmap_finished() {
  for (uint32_t index : finished_) {
    unmap(device_, slots_[index].mapping);
    CW_POINT("drivers.nvme.poll.after_unmap");
  }
  finished_.clear();
}

void IoQueue::take(const reg::Completion& completion, QueueState& next, std::vector<Finished>& finished) {
  uint32_t index = completion.cid & kIndexMask;
  CommandEntry* entry = index < config_.depth ? &next.command[index] : nullptr;
  if (entry == nullptr || entry->state == CommandState::kIdle || identifier(*entry, index) != completion.cid ||
      completion.sq_id != config_.number) {
    if (++next.counters.duplicated == 1)
      log::error("drivers", "queue {}: command {:#x} completed and was not in flight", config_.number, completion.cid);
    return;
  }
  Slot& slot = slots_[index];
  if (slot.forgotten) return;
  // A successor that sees the command in flight claims its mapping. Otherwise before anybody looks at the data: it may lie in
  // a bounce buffer.
  if (mappings_.in_use())
    finished_.push_back(index);
  else
    unmap(device_, slot.mapping);
  bool given_up = entry->state == CommandState::kRetired;
  entry->state = CommandState::kIdle;
  if (given_up) {
    ++next.counters.late;
    return;
  }
  bool done = reg::status_of(completion.status) == reg::Status::kSuccess;
  uint64_t bytes = uint64_t{entry->blocks} << config_.block_log2;
  if (!done) {
    if (++next.counters.refused == 1)
      log::warn("drivers", "queue {}: command {:#x} at block {} ended with status {:#x}", config_.number, entry->opcode,
                entry->lba, static_cast<unsigned>(reg::status_of(completion.status)));
  } else if (entry->opcode == reg::opcode::kRead) {
    ++next.counters.reads;
    next.counters.bytes_read += bytes;
  } else if (entry->opcode == reg::opcode::kFlush) {
    ++next.counters.flushes;
  } else {
    ++next.counters.writes;
    next.counters.bytes_written += bytes;
  }
  if (entry->owner == abi::Owner::kWorkload) {
    if (client_ != nullptr) client_->completed(config_.number, next, index, done ? Outcome::kDone : Outcome::kRefused);
  } else if (slot.done) {
    Result<uint32_t> result = completion.result;
    if (!done) result = fail(EIO, "the controller completed a command with an error");
    finished.push_back({std::exchange(slot.done, {}), std::move(result)});
  }
}

unsigned IoQueue::poll() {
  std::vector<Finished> finished;
  unsigned count;
  {
    sync::MutexLock lock(mutex_);
    if (!open_) return 0;
    count = consume(finished);
    refill();
  }
  for (Finished& one : finished) one.done(one.result);
  return count;
}

void IoQueue::refill() {
  if (client_ == nullptr) return;
  auto is_idle = [](const CommandEntry& entry) { return entry.state == CommandState::kIdle; };
  const QueueState& state = now();
  if (std::none_of(state.command, state.command + config_.depth, is_idle)) return;
  QueueState& next = begin_step();
  const uint64_t before = next.submitted;
  for (uint32_t index = 0; index < config_.depth; ++index) {
    if (!is_idle(next.command[index])) continue;
    abi::WorkloadState workload = next.workload;
    Command command;
    if (!client_->next(config_.number, next, index, &command)) break;
    if (Status prepared = prepare(next, index, command, abi::Owner::kWorkload); !prepared) {
      // No bounce buffer or bus address is free: the client is asked again when something has completed.
      next.workload = workload;
      CW_WARN_ONCE("drivers", "queue {}: a command has to wait: {}", config_.number, to_string(prepared.error()));
      break;
    }
  }
  // A step in which the client only went from one phase to the next counts too.
  if (next.submitted == before && std::memcmp(&next.workload, &state.workload, sizeof next.workload) == 0) return;
  CW_POINT("drivers.nvme.refill.before_live");
  finish_step();
  CW_POINT("drivers.nvme.refill.after_live");
  if (now().submitted != before) ring_submission();
  CW_POINT("drivers.nvme.refill.after_doorbell");
}

Status IoQueue::describe_data(uint32_t index, const Command& command, reg::Command& entry) {
  BlockMapping& mapping = slots_[index].mapping;
  dma::Direction direction =
      command.opcode == reg::opcode::kRead ? dma::Direction::kFromDevice : dma::Direction::kToDevice;
  data_.clear();
  BlockDmaIter iter(device_, mapping);
  for (bool more = iter.start({command.data, direction}); more; more = iter.next()) data_.add(iter.address(), iter.length());
  CW_TRY(iter.status());
  if (mapping.total != uint64_t{command.blocks} << config_.block_log2) {
    unmap(device_, mapping);
    return fail(EINVAL, "a command's memory is not as long as its blocks");
  }
  ListPage list{lists_.memory.as<std::byte>() + index * kPageSize, lists_.memory.handle + index * kPageSize};
  Status described = data_.describe(entry, list);
  if (described) described = mappings_.record(index, mapping);
  if (!described) unmap(device_, mapping);
  return described;
}

Status IoQueue::prepare(QueueState& next, uint32_t index, const Command& command, abi::Owner owner) {
  reg::Command entry{.opcode = command.opcode, .nsid = reg::kNamespaceId};
  if (command.blocks != 0) {
    reg::set_lba(entry, command.lba, command.blocks);
    // Without data, too: the record is the last command's.
    CW_TRY(command.data.empty() ? mappings_.record(index, {}) : describe_data(index, command, entry));
  }
  CommandEntry& table = next.command[index];
  ++table.generation;
  table.state = CommandState::kInFlight;
  table.owner = owner;
  table.opcode = command.opcode;
  table.blocks = command.blocks;
  table.lba = command.lba;
  table.tag = command.tag;
  table.submitted_ns = monotonic_ns();
  entry.cid = identifier(table, index);
  // Beyond the doorbell: the controller does not look there yet.
  submission_.memory.as<reg::Command>()[next.submitted & (entries_ - 1)] = entry;
  ++next.submitted;
  return {};
}

Status IoQueue::submit(const Command& command, Done done) {
  sync::MutexLock lock(mutex_);
  if (!open_) return fail(EBUSY, "the queue is frozen");
  const QueueState& state = now();
  uint32_t index = 0;
  while (index < config_.depth && state.command[index].state != CommandState::kIdle) ++index;
  if (index == config_.depth) return fail(EAGAIN, "every command identifier is in use");
  CW_TRY(prepare(begin_step(), index, command, abi::Owner::kCaller));
  slots_[index].done = std::move(done);
  CW_POINT("drivers.nvme.submit.before_live");
  finish_step();
  CW_POINT("drivers.nvme.submit.after_live");
  ring_submission();
  CW_POINT("drivers.nvme.submit.after_doorbell");
  return {};
}

std::vector<uint16_t> IoQueue::expire(uint64_t timeout_ns) {
  std::vector<uint16_t> given_up;
  std::vector<Finished> finished;
  {
    sync::MutexLock lock(mutex_);
    const uint64_t time = monotonic_ns();
    auto is_late = [&](const CommandEntry& entry) {
      return entry.state == CommandState::kInFlight && time > entry.submitted_ns && time - entry.submitted_ns > timeout_ns;
    };
    const QueueState& state = now();
    if (!open_ || std::none_of(state.command, state.command + config_.depth, is_late)) return {};
    QueueState& next = begin_step();
    for (uint32_t index = 0; index < config_.depth; ++index) {
      CommandEntry& entry = next.command[index];
      if (!is_late(entry)) continue;
      if (++next.counters.lost == 1)
        log::error("drivers", "queue {}: command {:#x} at block {} does not complete", config_.number, entry.opcode, entry.lba);
      entry.state = CommandState::kRetired;
      slots_[index].forgotten = false;
      given_up.push_back(identifier(entry, index));
      if (entry.owner == abi::Owner::kWorkload) {
        if (client_ != nullptr) client_->completed(config_.number, next, index, Outcome::kLost);
      } else if (Done done = std::exchange(slots_[index].done, {}); done) {
        finished.push_back({std::move(done), fail(ETIMEDOUT, "a command did not complete in time")});
      }
    }
    finish_step();
  }
  for (Finished& one : finished) one.done(one.result);
  return given_up;
}

abi::Counters IoQueue::counters() const {
  sync::MutexLock lock(mutex_);
  return now().counters;
}

abi::WorkloadState IoQueue::workload() const {
  sync::MutexLock lock(mutex_);
  return now().workload;
}

uint32_t IoQueue::in_flight() const {
  sync::MutexLock lock(mutex_);
  const QueueState& state = now();
  return static_cast<uint32_t>(std::count_if(state.command, state.command + config_.depth, [](const CommandEntry& entry) {
    return entry.state != CommandState::kIdle;
  }));
}

uint64_t IoQueue::waiting() const {
  sync::MutexLock lock(mutex_);
  uint64_t count = 0;
  for (uint16_t status; count < entries_ && arrived(now().consumed + count, &status);) ++count;
  return count;
}

}  // namespace causeway::drivers::nvme
