#include "machine/vtd/fault_log.h"

#include <fmt/format.h>

#include "hw/vtd.h"

namespace causeway::machine::vtd {

using namespace hw::vtd;

namespace {
constexpr uint32_t kClearable =
    static_cast<uint32_t>(FaultOverflow::kMask | FaultQueueError::kMask | FaultCompletionError::kMask |
                          FaultTimeoutError::kMask | FaultPageRequestOverflow::kMask);
constexpr uint32_t kPending = static_cast<uint32_t>(FaultPending::kMask);
}  // namespace

FaultLog::FaultLog(RegisterPage page, InterruptSink& interrupts, unsigned records)
    : page_(page), event_(page.block(kFaultEventControl), interrupts), records_(records) {}

void FaultLog::record(const Fault& fault) {
  ++count_;
  ++count_of_[fault.requester];
  last_.push_back(fmt::format("{:02x}:{:02x}.{} {} {:#x}{}: reason {:#x}", fault.requester.bus(),
                              fault.requester.device(), fault.requester.function(),
                              fault.access == Access::kWrite ? "write" : "read", fault.address,
                              fault.pasid ? fmt::format(" pasid {}", *fault.pasid) : "", fault.reason));
  if (last_.size() > kKept) last_.pop_front();
  auto& record = records_[next_];
  if (RecordFault::get(record[1]) != 0) {
    // What overflows is lost; the event that said so has been sent.
    status_ |= static_cast<uint32_t>(FaultOverflow::kMask);
    return mirror();
  }
  record[0] = fault.address & kAddressMask;
  record[1] = RecordSource::make(fault.requester.value()) | RecordReason::make(fault.reason) |
              RecordRead::make(fault.access == Access::kRead) | RecordFault::make(1) |
              RecordPasidPresent::make(fault.pasid.has_value()) | RecordPasid::make(fault.pasid.value_or(0));
  page_.set64(kFaultRecordOffset + next_ * kFaultRecordBytes, record[0]);
  page_.set64(kFaultRecordOffset + next_ * kFaultRecordBytes + 8, record[1]);
  if ((status_ & kPending) == 0) oldest_ = next_;
  next_ = (next_ + 1) % static_cast<unsigned>(records_.size());
  const bool first = (status_ & kPending) == 0;
  status_ |= kPending;
  mirror();
  if (first) event_.raise();
}

void FaultLog::raise_error(uint64_t bit) {
  status_ |= static_cast<uint32_t>(bit);
  mirror();
  event_.raise();
}

void FaultLog::write_status(uint32_t ones) {
  status_ &= ~(ones & kClearable);
  if (status_ == 0) event_.forget();
  mirror();
}

void FaultLog::write_record(unsigned index, uint32_t high) {
  if (index >= records_.size() || RecordFault::get(uint64_t{high} << 32) == 0) return;
  records_[index][1] &= ~RecordFault::kMask;
  page_.set64(kFaultRecordOffset + index * kFaultRecordBytes + 8, records_[index][1]);
  const auto size = static_cast<unsigned>(records_.size());
  for (unsigned i = 0; i < size; ++i) {
    unsigned candidate = (oldest_ + i) % size;
    if (RecordFault::get(records_[candidate][1]) == 0) continue;
    oldest_ = candidate;
    return mirror();
  }
  oldest_ = next_;
  status_ &= ~kPending;
  if (status_ == 0) event_.forget();
  mirror();
}

void FaultLog::mirror() {
  page_.set32(kFaultStatus, static_cast<uint32_t>(FaultRecordIndex::set(status_, oldest_)));
}

}  // namespace causeway::machine::vtd
