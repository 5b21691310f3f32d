#include "machine/dma_engine/work_queue.h"

#include <algorithm>
#include <cstring>

#include "base/clock.h"
#include "base/point.h"

namespace causeway::machine {

namespace regs = hw::dma_engine;
using regs::TransferStatus;

namespace {

constexpr unsigned kStepsPerTurn = 32;
constexpr uint64_t kAnswerPollNs = 20'000;
constexpr unsigned kMaxAsks = 64;       // for one chunk; some of them are for other pages of it
constexpr uint32_t kChunk = 64 * 1024;  // stays in the second-level cache
static_assert(kChunk <= DmaPort::kMaxTransfer && kChunk % 8 == 0);

bool is_sane(const regs::Descriptor& descriptor) {
  return (descriptor.op == regs::Op::kCopy || descriptor.op == regs::Op::kFill) && descriptor.length != 0 &&
         (descriptor.flags & ~(regs::kWithPasid | regs::kAskForPages)) == 0 &&
         ((descriptor.flags & regs::kWithPasid) != 0 || descriptor.pasid == 0);
}

// Repeats the eight bytes of a fill from its start; chunks begin at multiples of eight.
void repeat(uint64_t pattern, std::byte* to, size_t bytes) {
  for (size_t i = 0; i < bytes; i += 8) std::memcpy(to + i, &pattern, std::min<size_t>(8, bytes - i));
}

}  // namespace

Queue::Turn WorkQueue::serve() {
  for (unsigned i = 0; i < kStepsPerTurn; ++i) {
    if (attention()) return {Turn::kNow};
    if (!is_runnable()) return {Turn::kBell};
    if (!current_) {
      if (!has_buffer()) return {Turn::kBell};
      auto descriptor = take_descriptor();
      if (!descriptor) return {Turn::kBell};
      current_ = Operation{*descriptor};
      begin();
    }
    if (current_->waits_for_page && port().page_answer() == PageAnswer::kPending)
      return {monotonic_ns() + kAnswerPollNs};
    if (!current_->has_ended && !step()) return {Turn::kBell};
    if (!current_->has_ended) continue;
    regs::Completion completion{};
    completion.cookie = current_->descriptor.cookie;
    completion.length = current_->status == TransferStatus::kBadDescriptor ? 0 : current_->done;
    completion.status = current_->status;
    completion.descriptor = taken_index();
    if (!complete(completion)) return {Turn::kBell};
    current_.reset();
  }
  return {Turn::kNow};
}

void WorkQueue::begin() {
  if (chunk_.empty()) chunk_.resize(kChunk);
  Operation& operation = *current_;
  if (!is_sane(operation.descriptor)) {
    operation.has_ended = true;
    operation.status = TransferStatus::kBadDescriptor;
  } else if (owner().faults().refuse_this()) {
    operation.has_ended = true;
    operation.status = TransferStatus::kRefusedDestination;
  } else if (operation.descriptor.op == regs::Op::kFill) {
    repeat(operation.descriptor.source, chunk_.data(), std::min(operation.descriptor.length, kChunk));
  }
}

bool WorkQueue::step() {
  Operation& operation = *current_;
  const regs::Descriptor& descriptor = operation.descriptor;
  uint32_t bytes = std::min(kChunk, descriptor.length - operation.done);
  auto refuse = [&](DmaStatus status, TransferStatus as) {
    if (status == DmaStatus::kBusMasterOff) return false;
    operation.has_ended = true;
    operation.status = as;
    return true;
  };
  if (operation.waits_for_page) {
    operation.waits_for_page = false;
    if (port().page_answer() == PageAnswer::kRefused) return refuse(DmaStatus::kNotMapped, operation.refused_as);
  }
  if ((descriptor.flags & regs::kWithPasid) != 0) port().set_pasid(descriptor.pasid);
  set_busy(true);
  DmaStatus status = DmaStatus::kOk;
  if (descriptor.op == regs::Op::kCopy)
    status = port().read(DmaAddr(descriptor.source + operation.done), chunk_.data(), bytes);
  TransferStatus refused_as = TransferStatus::kRefusedSource;
  if (status == DmaStatus::kOk) {
    refused_as = TransferStatus::kRefusedDestination;
    status = port().write(DmaAddr(descriptor.destination + operation.done), chunk_.data(), bytes);
  }
  set_busy(false);
  CW_POINT("machine.work_queue.after_chunk");
  const bool ask = status == DmaStatus::kNotMapped && (descriptor.flags & regs::kAskForPages) != 0 &&
                   operation.asks < kMaxAsks;
  if (ask)
    port().request_page(port().refused_at(),
                        refused_as == TransferStatus::kRefusedSource ? Access::kRead : Access::kWrite);
  port().set_pasid(std::nullopt);
  if (ask) {
    ++operation.asks;
    operation.waits_for_page = true;
    operation.refused_as = refused_as;
    return true;
  }
  if (status != DmaStatus::kOk) return refuse(status, refused_as);
  operation.asks = 0;
  operation.done += bytes;
  operation.has_ended = operation.done == descriptor.length;
  return true;
}

}  // namespace causeway::machine
