#include "machine/vtd/invalidation_queue.h"

namespace causeway::machine::vtd {

using namespace hw::vtd;

namespace {

// Commands after which DMA that began before may not go on: those that say so, and those that always mean it.
bool drains(const Descriptor& descriptor) {
  switch (DescriptorType::get(descriptor.w[0])) {
    case kIotlb:
      return IotlbDescriptorDrainReads::get(descriptor.w[0]) != 0 ||
             IotlbDescriptorDrainWrites::get(descriptor.w[0]) != 0;
    case kPasidIotlb:
    case kDeviceTlb:
    case kPasidDeviceTlb:
      return true;
    default:
      return false;
  }
}

}  // namespace

InvalidationQueue::InvalidationQueue(Host& host, const TableMemory& memory, Gate& gate, RegisterPage page)
    : host_(host), memory_(memory), gate_(gate), page_(page) {}

void InvalidationQueue::enable(bool on) {
  if (on == enabled_) return;
  enabled_ = on;
  stopped_ = false;
  timed_out_ = false;
  head_ = 0;
  page_.set64(kQueueHead, head_);
  if (on) process();
}

void InvalidationQueue::set_address(uint64_t value) {
  if (enabled_) return;
  base_ = PhysAddr(value & kAddressMask);
  wide_ = QueueWide::get(value) != 0;
  bytes_ = kPageSize << QueueSize::get(value);
  page_.set64(kQueueAddress, value);
}

void InvalidationQueue::set_tail(uint64_t value) {
  tail_ = value;
  page_.set64(kQueueTail, value);
  if (enabled_) process();
}

void InvalidationQueue::resume_after_error() {
  stopped_ = false;
  page_.set64(kQueueError, 0);
  if (enabled_) process();
}

void InvalidationQueue::resume_after_timeout() {
  timed_out_ = false;
  resume_after_error();
}

bool InvalidationQueue::fetch(Words* words) const {
  Pass pass(gate_);
  *words = {};
  for (unsigned i = 0; i < slot_bytes() / 8; ++i) {
    if (!memory_.load_coherent(base_ + head_ + 8 * i, &words->w[i])) return false;
  }
  return true;
}

void InvalidationQueue::process() {
  if (tail_ >= bytes_ || tail_ % slot_bytes() != 0) {
    if (tail_ != head_) stop_with(kQueueErrorField);
    return;
  }
  while (!stopped_ && head_ != tail_) {
    Words words;
    if (!fetch(&words)) return stop_with(kQueueErrorField);
    if (host_.needs_wide_descriptors() && !wide_) return stop_with(kQueueErrorField);
    if (!run(words)) return;
    executed_.fetch_add(1, std::memory_order_relaxed);
    head_ = (head_ + slot_bytes()) % bytes_;
    page_.set64(kQueueHead, head_);
    // A wait that will never complete: software looks at what is behind the head.
    if (timed_out_ && DescriptorType::get(words.w[0]) == kWait) stopped_ = true;
  }
}

bool InvalidationQueue::run(const Words& words) {
  const Descriptor descriptor{{words.w[0], words.w[1]}};
  if (words.w[2] != 0 || words.w[3] != 0) return stop_with(kQueueErrorReserved), false;
  const uint64_t type = DescriptorType::get(descriptor.w[0]);
  if (type == 0 || type > kPageGroupResponse) return stop_with(kQueueErrorType), false;
  if (type == kWait) {
    wait(descriptor);
    return true;
  }
  must_drain_ = must_drain_ || drains(descriptor);
  switch (host_.execute(descriptor)) {
    case Host::Outcome::kDone:
      return true;
    case Host::Outcome::kMalformed:
      stop_with(kQueueErrorField);
      return false;
    case Host::Outcome::kTimeout:
      timed_out_ = true;
      page_.set64(kQueueError, QueueErrorTimeoutSource::make(
                                   DescriptorType::get(descriptor.w[0]) == kDeviceTlb
                                       ? DeviceTlbSource::get(descriptor.w[0])
                                       : PasidDeviceTlbSource::get(descriptor.w[0])));
      host_.raise_queue_error(FaultTimeoutError::kMask);
      return true;
  }
  return true;
}

void InvalidationQueue::wait(const Descriptor& descriptor) {
  if (timed_out_) return;
  if (must_drain_) host_.drain();
  must_drain_ = false;
  if (WaitStatusWrite::get(descriptor.w[0]) != 0) {
    Pass pass(gate_);
    // Nowhere to write it: then nobody waits there.
    const PhysAddr status(descriptor.w[1] & ~uint64_t{3});
    [[maybe_unused]] bool written =
        memory_.store32(status, static_cast<uint32_t>(WaitData::get(descriptor.w[0])));
  }
  if (WaitInterrupt::get(descriptor.w[0]) != 0) page_.set32(kCompletionStatus, 1);
}

void InvalidationQueue::stop_with(QueueErrorCode code) {
  stopped_ = true;
  page_.set64(kQueueError, QueueErrorReason::make(code));
  host_.raise_queue_error(FaultQueueError::kMask);
}

}  // namespace causeway::machine::vtd
