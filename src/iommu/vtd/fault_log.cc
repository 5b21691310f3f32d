#include "iommu/vtd/fault_log.h"

#include <fmt/format.h>

#include "base/log.h"
#include "hw/address_map.h"

namespace causeway::iommu::vtd {

using namespace hw::vtd;

namespace {

FaultReport decode_record(uint64_t low, uint64_t high) {
  FaultReport fault;
  fault.source = Bdf(static_cast<uint16_t>(RecordSource::get(high)));
  if (RecordPasidPresent::get(high) != 0) fault.pasid = static_cast<Pasid>(RecordPasid::get(high));
  fault.address = Iova(low & kAddressMask);
  fault.write = RecordRead::get(high) == 0;
  fault.reason = static_cast<uint8_t>(RecordReason::get(high));
  fault.text = describe_fault_reason(fault.reason);
  return fault;
}

}  // namespace

Result<std::unique_ptr<FaultLog>> FaultLog::create(UnitRegisters& regs, platform::Interrupts& interrupts,
                                                   Report report) {
  uint8_t vector = CW_TRY(interrupts.allocate());
  std::unique_ptr<FaultLog> faults(new FaultLog(regs, interrupts, vector, std::move(report)));
  interrupts.set_handler(vector, [log = faults.get()] { log->handle(); });
  regs.write32(kFaultEventControl, EventMask::kMask);
  regs.write32(kFaultEventData, vector);
  regs.write32(kFaultEventAddress, static_cast<uint32_t>(hw::kMsiBase.value()));
  regs.write32(kFaultEventUpper, 0);
  // An event that fires only when a first record is made would never come for what is there already.
  faults->handle();
  regs.write32(kFaultEventControl, 0);
  return faults;
}

FaultLog::FaultLog(UnitRegisters& regs, platform::Interrupts& interrupts, uint8_t vector, Report report)
    : regs_(regs), interrupts_(interrupts), vector_(vector), report_(std::move(report)) {}

FaultLog::~FaultLog() { interrupts_.release(vector_); }

void FaultLog::stop() { regs_.write32(kFaultEventControl, EventMask::kMask); }

unsigned FaultLog::handle() {
  sync::MutexLock lock(mutex_);
  unsigned count = 0;
  const Capabilities& caps = regs_.caps();
  uint32_t status = regs_.read32(kFaultStatus);
  if (status == ~uint32_t{0}) return 0;  // the unit is gone
  if (FaultPending::get(status) != 0) {
    // To the last one: the next event comes only after none was pending.
    auto index = static_cast<unsigned>(FaultRecordIndex::get(status)) % caps.fault_records();
    for (;; index = (index + 1) % caps.fault_records()) {
      uint32_t record = caps.fault_record_offset() + index * kFaultRecordBytes;
      uint64_t high = regs_.read64(record + 8);
      if (RecordFault::get(high) == 0 || high == ~uint64_t{0}) break;
      FaultReport fault = decode_record(regs_.read64(record), high);
      // F is in the upper half. That alone is written: once it is cleared the unit may use the record again.
      regs_.write32(record + 12, uint32_t{1} << 31);
      ++count;
      if (report_) report_(fault);
    }
  }
  if (FaultOverflow::get(status) != 0) {
    log::warn("iommu", "{}: faults were lost, the {} records were full", regs_.name(), caps.fault_records());
    ++stats_.overflows;
  }
  stats_.faults += count;
  // Errors of the queue are whoever's to clear who submits to it.
  regs_.write32(kFaultStatus, FaultOverflow::kMask | FaultPending::kMask | FaultPageRequestOverflow::kMask);
  return count;
}

FaultLog::Stats FaultLog::stats() const {
  sync::MutexLock lock(mutex_);
  return stats_;
}

}  // namespace causeway::iommu::vtd
