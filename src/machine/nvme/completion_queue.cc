#include "machine/nvme/completion_queue.h"

#include <fmt/format.h>

#include <bit>

#include "base/point.h"

namespace causeway::machine::nvme {

namespace regs = hw::nvme;

namespace {
RegisterPage block_of(Host& host, unsigned number) {
  return host.registers().block(regs::cw_queue(number));
}
}  // namespace

CompletionQueue::CompletionQueue(unsigned number, Host& host)
    : number_(number),
      host_(host),
      page_(block_of(host, number)),
      base_(page_, regs::kCwCqBase),
      entries_(page_, regs::kCwCqEntries),
      head_(page_, regs::kCwCqHead),
      tail_(page_, regs::kCwCqTail),
      vector_(page_, regs::kCwVector) {}

void CompletionQueue::create(const Setup& setup) {
  std::lock_guard lock(mutex_);
  base_.set(setup.base);
  head_.set(0);
  tail_.set(static_cast<uint32_t>(regs::CwCqTailPhase::make(setup.entries != 0)));
  vector_.set(static_cast<uint32_t>(regs::CwVectorEntry::make(setup.vector) |
                                    regs::CwVectorEnabled::make(setup.interrupts)));
  entries_.set(setup.entries);
  has_waiters_.store(false);
}

bool CompletionQueue::is_full() const {
  return (tail_index() + 1) % entries_.get() == head_.get();
}

Posted CompletionQueue::post(DmaPort& port, regs::Completion completion) {
  uint32_t vector;
  {
    std::lock_guard lock(mutex_);
    if (!exists()) return Posted::kYes;
    if (is_full()) {
      // Against the exchange of take_waiters(): one of the two comes first, so either the bus thread sees who
      // waits or this thread sees the head it has moved.
      has_waiters_.exchange(true, std::memory_order_seq_cst);
      if (is_full()) return Posted::kFull;
    }
    uint32_t index = tail_index();
    uint64_t phase = regs::CwCqTailPhase::get(tail_.get());
    completion.status = static_cast<uint16_t>(regs::StatusPhase::set(completion.status, phase));
    struct Halves {
      uint64_t result, rest;
    };
    auto halves = std::bit_cast<Halves>(completion);
    DmaAddr at = DmaAddr(base_.get()) + uint64_t{index} * sizeof completion;
    DmaStatus status = port.write(at, &halves.result, sizeof halves.result);
    CW_POINT("machine.nvme.completion.between_halves");
    if (status == DmaStatus::kOk) status = port.publish(at + sizeof halves.result, halves.rest);
    if (status == DmaStatus::kBusMasterOff) return Posted::kNotNow;
    if (status != DmaStatus::kOk) {
      host_.stop_fatally(regs::FatalReason::kCompletionRing, number_,
                         fmt::format("completion ring at {}: {}", at, name_of(status)));
      return Posted::kRefused;
    }
    bool wraps = index + 1 == entries_.get();
    tail_.set(static_cast<uint32_t>(regs::CwCqTailIndex::make(wraps ? 0 : index + 1) |
                                    regs::CwCqTailPhase::make(wraps ? phase ^ 1 : phase)));
    vector = vector_.get();
  }
  if (regs::CwVectorEnabled::get(vector) != 0)
    host_.interrupt(static_cast<unsigned>(regs::CwVectorEntry::get(vector)));
  return Posted::kYes;
}

bool CompletionQueue::set_head(uint64_t value, const char** why) {
  uint32_t entries = entries_.get();
  if (entries == 0) return *why = "there is no such completion queue", false;
  uint32_t head = head_.get();
  uint32_t waiting = (tail_index() + entries - head) % entries;
  if (value >= entries || (value + entries - head) % entries > waiting)
    return *why = "the completion head is not between its old value and the tail", false;
  head_.set(static_cast<uint32_t>(value));
  return true;
}

}  // namespace causeway::machine::nvme
