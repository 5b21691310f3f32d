#include "machine/dma_engine/stream_queue.h"

#include <algorithm>

#include "base/clock.h"
#include "base/point.h"

namespace causeway::machine {

namespace regs = hw::dma_engine;
using regs::TransferStatus;

namespace {

// Bounds the time between two interrupts of a stream that never catches up.
constexpr unsigned kRecordsPerTurn = 64;
// How often kStarved moves on while the stream stands still.
constexpr uint64_t kStarvedRefreshNs = 10'000'000;

bool is_sane(const regs::Descriptor& descriptor, uint32_t record_size) {
  return descriptor.op == regs::Op::kStream && descriptor.length >= record_size && descriptor.flags == 0 &&
         descriptor.pasid == 0;
}

}  // namespace

Queue::Turn StreamQueue::serve() {
  if (!is_enabled() || rate_.get() == 0) {
    // A pause is nobody's fault: the schedule begins anew when it ends.
    pace_.start(0, 0);
    starving_since_ = last_transfer_ = 0;
    return {Turn::kBell};
  }
  uint64_t now = monotonic_ns();
  if (pace_.rate() != rate_.get()) pace_.start(now, rate_.get());
  for (unsigned i = 0; i < kRecordsPerTurn; ++i, now = monotonic_ns()) {
    if (attention()) return {Turn::kNow};
    if (current_ && is_runnable()) (void)finish();
    if (now < pace_.due()) return {pace_.due()};
    if (!is_runnable() || current_ || !has_buffer()) return starve(now);
    end_starvation(now);
    // Late by more than a ring: no driver could have kept buffers posted for all of that.
    pace_.limit_backlog(now, entries());
    auto descriptor = take_descriptor();
    if (!descriptor) continue;  // halted, or the bus went away: starve() next
    begin(*descriptor, now);
    (void)finish();
  }
  return {Turn::kNow};
}

Queue::Turn StreamQueue::starve(uint64_t now) {
  if (regs::OverrunHold::get(control_.get()) == 0) {
    end_starvation(now);
    uint64_t lost = pace_.count_due(now);
    dropped_.add(lost);
    next_sequence_.add(lost);
    pace_.advance(lost);
    return {pace_.due()};
  }
  if (starving_since_ != 0) {
    starved_.add(now - starving_since_);
    pace_.delay(now - starving_since_);
  }
  starving_since_ = now;
  return {now + kStarvedRefreshNs};
}

void StreamQueue::end_starvation(uint64_t now) {
  if (starving_since_ != 0) {
    starved_.add(now - starving_since_);
    pace_.delay(now - starving_since_);
    starving_since_ = 0;
  }
}

void StreamQueue::begin(const regs::Descriptor& descriptor, uint64_t now) {
  uint32_t size = record_size_.get();
  uint64_t sequence = next_sequence_.get();
  current_ = Transfer{};
  current_->destination = DmaAddr(descriptor.destination);
  current_->completion.cookie = descriptor.cookie;
  current_->completion.sequence = sequence;
  current_->completion.descriptor = taken_index();
  if (!is_sane(descriptor, size)) {
    current_->has_ended = true;
    current_->completion.status = TransferStatus::kBadDescriptor;
    return;
  }
  record_.resize(size);
  regs::make_record(record_.data(), size, sequence, now);
  if (owner().faults().corrupt_this()) record_.back() ^= std::byte{1};
  if (owner().faults().refuse_this()) {
    current_->has_ended = true;
    current_->completion.status = TransferStatus::kRefusedDestination;
  }
  if (last_transfer_ != 0) max_gap_.raise_to(now - last_transfer_);
  last_transfer_ = now;
  max_late_.raise_to(now - pace_.due());
  next_sequence_.add(1);
  pace_.advance(1);
}

bool StreamQueue::finish() {
  if (!current_->has_ended) {
    set_busy(true);
    DmaStatus status = write_record(current_->destination);
    set_busy(false);
    CW_POINT("machine.stream_queue.after_record");
    if (status == DmaStatus::kBusMasterOff) return false;
    current_->has_ended = true;
    if (status == DmaStatus::kOk) {
      current_->completion.length = static_cast<uint32_t>(record_.size());
    } else {
      current_->completion.status = TransferStatus::kRefusedDestination;
    }
  }
  if (!complete(current_->completion)) return false;
  current_.reset();
  return true;
}

DmaStatus StreamQueue::write_record(DmaAddr destination) {
  for (uint64_t done = 0; done < record_.size();) {
    uint64_t piece = std::min<uint64_t>(record_.size() - done, DmaPort::kMaxTransfer);
    DmaStatus status = port().write(DmaAddr(destination.value() + done), record_.data() + done, piece);
    if (status != DmaStatus::kOk) return status;
    done += piece;
  }
  return DmaStatus::kOk;
}

void StreamQueue::forget() {
  pace_.start(0, 0);
  current_.reset();
  starving_since_ = last_transfer_ = 0;
}

bool StreamQueue::write_own_register(uint32_t offset, uint32_t value, const char** why) {
  switch (offset) {
    case regs::kRate:
      rate_.set(value);
      return true;
    case regs::kResetGap:
      if (value != 1) return *why = "only 1 restarts the gap counters", false;
      max_gap_.set(0);
      max_late_.set(0);
      last_transfer_ = 0;
      return true;
    default:
      return false;
  }
}

}  // namespace causeway::machine
