// A queue's beginning and end: made, adopted, handed over, released; and the mistakes a successor can make on purpose.

#include <algorithm>
#include <cstring>
#include <new>
#include <utility>

#include "base/clock.h"
#include "base/log.h"
#include "base/point.h"
#include "drivers/nvme/io_queue.h"

namespace causeway::drivers::nvme {

namespace reg = hw::nvme;
using abi::CommandEntry;
using abi::CommandState;
using abi::QueueState;

Status IoQueue::allocate() {
  submission_ = CW_TRY(PreservedBuffer::allocate(device_, entries_ * sizeof(reg::Command)));
  completion_ = CW_TRY(PreservedBuffer::allocate(device_, entries_ * sizeof(reg::Completion)));
  lists_ = CW_TRY(PreservedBuffer::allocate(device_, config_.depth * kPageSize));
  mm::Page* page = CW_TRY(kho_.allocator().alloc_pages(Order::covering(sizeof(abi::LiveState)),
                                                       mm::kGfpKernel | mm::kGfpZero | mm::Gfp::kComp));
  live_ = new (kho_.map().address(page)) abi::LiveState{};
  return CommandMappings::wanted(device_) ? mappings_.allocate() : Status{};
}

Status IoQueue::restore(const abi::QueueHandover& handover, uint64_t mappings) {
  CW_POINT("drivers.nvme.restore.begin");
  std::optional<Order> order = kho_.preserved_order(PhysAddr(handover.live));
  if (!order || *order != Order::covering(sizeof(abi::LiveState)))
    return fail(EINVAL, "the command table was not preserved");
  mm::Page* page = kho_.restore_folio(PhysAddr(handover.live));
  if (page == nullptr) return fail(EINVAL, "the command table was not preserved");
  live_ = kho_.map().address_as<abi::LiveState>(page);
  submission_ = CW_TRY(PreservedBuffer::restore(device_, entries_ * sizeof(reg::Command), handover.submission));
  completion_ = CW_TRY(PreservedBuffer::restore(device_, entries_ * sizeof(reg::Completion), handover.completion));
  lists_ = CW_TRY(PreservedBuffer::restore(device_, config_.depth * kPageSize, handover.lists));
  if (mappings != 0) CW_TRY(mappings_.restore(PhysAddr(mappings)));
  CW_POINT("drivers.nvme.restore.after_rings");
  return check_live();
}

Status IoQueue::claim_mappings() {
  sync::MutexLock lock(mutex_);
  const QueueState& state = now();
  for (uint32_t i = 0; i < config_.depth; ++i) {
    if (state.command[i].state == CommandState::kIdle || state.command[i].blocks == 0) continue;
    CW_TRY(mappings_.claim(device_, i, slots_[i].mapping));
    CW_POINT("drivers.nvme.claim.after_mapping");
  }
  return {};
}

// The table against the controller's own indices. They may move on meanwhile, never back.
Status IoQueue::check_live() const {
  uint64_t current = live_->current.load(std::memory_order_acquire);
  if (current > 1) return fail(EINVAL, "the command table is damaged");
  const QueueState& state = live_->slot[current];
  uint64_t busy = 0;
  for (uint32_t i = 0; i < config_.depth; ++i) {
    if (state.command[i].state > CommandState::kRetired) return fail(EINVAL, "the command table is damaged");
    busy += state.command[i].state != CommandState::kIdle;
  }
  if (state.workload.redo_count > abi::kMaxRedo) return fail(EINVAL, "the command table is damaged");
  if (state.submitted < state.consumed || state.submitted - state.consumed > busy)
    return fail(EILSEQ, "more commands were submitted than are in the table");
  if (!CW_TRY(controller_.check_queue(config_.number, setup()))) {
    // The predecessor died before it made them.
    if (state.submitted == 0) return {};
    return fail(EILSEQ, "the controller does not have a queue that was in use");
  }
  auto ahead = [&](uint64_t ours, uint32_t theirs) { return (ours - theirs) & (entries_ - 1); };
  uint32_t tail = controller_.queue_reg(config_.number, reg::kCwCqTail);
  uint64_t waiting_for_us = ahead(reg::CwCqTailIndex::get(tail), static_cast<uint32_t>(state.consumed & (entries_ - 1)));
  uint64_t unacknowledged = ahead(state.consumed, controller_.queue_reg(config_.number, reg::kCwCqHead));
  uint64_t unsubmitted = ahead(state.submitted, controller_.queue_reg(config_.number, reg::kCwSqTail));
  bool phase = ((state.consumed + waiting_for_us) & entries_) == 0;
  if (waiting_for_us > state.submitted - state.consumed || unacknowledged > entries_ / 2 ||
      unsubmitted > state.submitted - state.consumed || phase != (reg::CwCqTailPhase::get(tail) != 0)) {
    log::error("drivers", "queue {}: {} commands submitted and {} consumed, but {} completions wait, {} and {} doorbells behind",
               config_.number, state.submitted, state.consumed, waiting_for_us, unacknowledged, unsubmitted);
    return fail(EILSEQ, "the command table does not fit the controller's indices");
  }
  return {};
}

Status IoQueue::preserve(abi::QueueHandover& handover, bool with_rings) {
  if (with_rings) {
    CW_TRY(submission_.preserve(device_));
    CW_TRY(completion_.preserve(device_));
  }
  CW_TRY(lists_.preserve(device_));
  CW_TRY(mappings_.preserve());
  CW_TRY(kho_.preserve_folio(kho_.map().page_of_address(live_)));
  handover.submission = submission_.token_value();
  handover.completion = completion_.token_value();
  handover.lists = lists_.token_value();
  handover.live = kho_.map().direct_map().to_phys(live_).value();
  return {};
}

Status IoQueue::release() {
  {
    sync::MutexLock lock(mutex_);
    for (Slot& slot : slots_) unmap(device_, slot.mapping);
  }
  for (PreservedBuffer* buffer : {&submission_, &completion_, &lists_}) CW_TRY(buffer->release(device_));
  mappings_.release();
  if (live_ == nullptr) return {};
  mm::Page* page = kho_.map().page_of_address(std::exchange(live_, nullptr));
  if (kho_.is_enabled()) kho_.unpreserve_folio(page);
  kho_.allocator().put_page(page);
  return {};
}

QueueSetup IoQueue::setup() const {
  return {submission_.memory.handle, completion_.memory.handle, entries_, config_.interrupts};
}

void IoQueue::restart_clocks() {
  sync::MutexLock lock(mutex_);
  QueueState& next = begin_step();
  for (uint32_t index = 0; index < config_.depth; ++index) next.command[index].submitted_ns = monotonic_ns();
  finish_step();
}

void IoQueue::start_over() {
  sync::MutexLock lock(mutex_);
  std::memset(completion_.memory.cpu, 0, entries_ * sizeof(reg::Completion));
  QueueState& next = begin_step();
  next.consumed = next.submitted = 0;
  finish_step();
}

void IoQueue::replay_in_flight() {
  sync::MutexLock lock(mutex_);
  QueueState& next = begin_step();
  const uint64_t end = next.submitted;
  // What is in flight is still in the ring; what is appended takes up slots that have been looked at.
  const auto* ring = submission_.memory.as<reg::Command>();
  for (uint64_t at = end - std::min<uint64_t>(end, entries_); at < end; ++at) {
    reg::Command again = ring[at & (entries_ - 1)];
    const CommandEntry& entry = next.command[again.cid & kIndexMask];
    if (entry.state != CommandState::kInFlight || identifier(entry, again.cid & kIndexMask) != again.cid) continue;
    submission_.memory.as<reg::Command>()[next.submitted++ & (entries_ - 1)] = again;
  }
  finish_step();
}

void IoQueue::forget_in_flight() {
  sync::MutexLock lock(mutex_);
  for (uint32_t index = 0; index < config_.depth; ++index)
    slots_[index].forgotten = now().command[index].state == CommandState::kInFlight;
}

}  // namespace causeway::drivers::nvme
