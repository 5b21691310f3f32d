// The register side of a unit: capabilities, commands and what software writes.
#include "hw/address_map.h"
#include "machine/vtd/unit.h"

namespace causeway::machine::vtd {

using namespace hw::vtd;

namespace {

constexpr unsigned kPasidBits = 20;
constexpr uint8_t kMaxAddressMask = 18;  // 2^18 pages: 1 GiB

Traits traits_of(const IommuSpec& spec) {
  return {spec.scalable, spec.scalable && spec.first_stage, spec.address_width, spec.domains, spec.ats};
}

uint64_t capabilities(const IommuSpec& spec) {
  // Every width up to the largest.
  const uint64_t agaw = spec.address_width == 39 ? 0x2 : spec.address_width == 48 ? 0x6 : 0xe;
  const auto domains = static_cast<uint64_t>(std::countr_zero(spec.domains) - 4) / 2;
  return CapDomains::make(domains) | CapWriteBufferFlush::make(spec.write_buffer_flush) | CapProtectedLow::make(1) |
         CapProtectedHigh::make(1) | CapCachingMode::make(spec.caching_mode) | CapAgaw::make(agaw) |
         CapMgaw::make(spec.address_width - 1) | CapFaultOffset::make(kFaultRecordOffset / 16) |
         CapLargePages::make(3) | CapPageSelective::make(1) | CapFaultRecords::make(spec.fault_records - 1) |
         CapMaxAddressMask::make(kMaxAddressMask) | CapDrainWrites::make(1) | CapDrainReads::make(1) |
         CapFirstStage1G::make(1) | CapFirstStage5Level::make(spec.address_width == 57) |
         CapEnhancedSetRoot::make(spec.enhanced_set_root);
}

uint64_t extended_capabilities(const IommuSpec& spec) {
  uint64_t value = EcapCoherent::make(spec.coherent) | EcapQueuedInvalidation::make(spec.queued_invalidation) |
                   EcapDeviceTlb::make(spec.ats) | EcapPassThrough::make(1) | EcapSnoopControl::make(1) |
                   EcapIotlbOffset::make(kIotlbOffset / 16) | EcapMaxHandleMask::make(15);
  if (!spec.scalable) return value;
  return value | EcapPasidBits::make(kPasidBits - 1) | EcapPasid::make(1) | EcapScalableMode::make(1) |
         EcapSecondStageDirty::make(1) | EcapSecondStage::make(1) | EcapFirstStage::make(spec.first_stage) |
         EcapPageWalkCoherent::make(spec.coherent) | EcapRidPasid::make(1) |
         EcapPageRequest::make(spec.page_requests) | EcapPageDrain::make(spec.page_requests);
}

}  // namespace

Unit::Unit(const IommuSpec& spec, const Environment& environment)
    : index_(environment.index),
      spec_(spec),
      traits_(traits_of(spec)),
      base_(hw::kIommuBase + environment.index * kPageSize),
      page_(environment.page),
      regions_(environment.regions),
      injector_(environment.faults),
      memory_(environment.regions, spec.coherent ? nullptr : environment.lines),
      queue_(*this, memory_, gate_, page_),
      log_(page_, environment.interrupts, spec.fault_records),
      page_requests_(page_, environment.interrupts, memory_) {
  page_.set32(kVersion, 0x10);
  page_.set64(kCap, capabilities(spec_));
  page_.set64(kEcap, extended_capabilities(spec_));
  regions_.register_gate(gate_);
}

Unit::~Unit() {
  regions_.unregister_gate(gate_);
}

uint64_t Unit::read_mmio(uint32_t offset, uint32_t width) {
  if (width == 8) return page_.get64(offset);
  return page_.get32(offset & ~3u) >> (8 * (offset & 3));
}

bool Unit::write_mmio(uint32_t offset, uint32_t width, uint64_t value, const char** why) {
  if (width < 4) return *why = "registers of an iommu are 32 or 64 bits wide", false;
  if (offset >= kFaultRecordOffset) {
    const uint32_t at = offset - kFaultRecordOffset;
    std::lock_guard lock(mutex_);
    if (at % kFaultRecordBytes == 8 && width == 8)
      log_.write_record(at / kFaultRecordBytes, static_cast<uint32_t>(value >> 32));
    if (at % kFaultRecordBytes == 12 && width == 4)
      log_.write_record(at / kFaultRecordBytes, static_cast<uint32_t>(value));
    return true;
  }
  switch (offset & ~7u) {
    case kRootTable:
    case kContextCommand:
    case kQueueHead:
    case kQueueTail:
    case kQueueAddress:
    case kQueueError:
    case kInterruptTable:
    case kPageRequestHead:
    case kPageRequestTail:
    case kPageRequestAddress:
    case kProtectedHighBase:
    case kProtectedHighLimit:
    case kIotlbOffset:
    case kIotlbOffset + 8: {
      // A half that is written alone goes with the other one as it is.
      const uint32_t at = offset & ~7u;
      if (width == 8) return write64(at, value), true;
      const uint64_t now = page_.get64(at);
      const unsigned shift = 8 * (offset & 4);
      write64(at, (now & ~(uint64_t{0xffff'ffff} << shift)) | (value & 0xffff'ffff) << shift);
      return true;
    }
    default:
      break;
  }
  if (width == 4) return write32(offset, static_cast<uint32_t>(value)), true;
  write32(offset, static_cast<uint32_t>(value));
  write32(offset + 4, static_cast<uint32_t>(value >> 32));
  return true;
}

void Unit::write32(uint32_t offset, uint32_t value) {
  switch (offset) {
    case kGlobalCommand:
      return command(value);
    case kFaultStatus: {
      {
        std::lock_guard lock(mutex_);
        log_.write_status(value);
      }
      if (FaultQueueError::get(value) != 0) queue_.resume_after_error();
      if (FaultTimeoutError::get(value) != 0) queue_.resume_after_timeout();
      return;
    }
    case kFaultEventControl:
    case kFaultEventData:
    case kFaultEventAddress:
    case kFaultEventUpper: {
      std::lock_guard lock(mutex_);
      return log_.write_event(offset - kFaultEventControl, value);
    }
    case kPageRequestStatus: {
      std::lock_guard lock(mutex_);
      return page_requests_.write_status(value);
    }
    case kPageRequestControl:
    case kPageRequestData:
    case kPageRequestEventAddress:
    case kPageRequestUpper: {
      std::lock_guard lock(mutex_);
      return page_requests_.write_event(offset - kPageRequestControl, value);
    }
    case kCompletionStatus:
      return page_.set32(kCompletionStatus, page_.get32(kCompletionStatus) & ~value);
    // Kept, and without effect: nothing here protects memory by range.
    case kProtectedEnable:
      // PRS follows EPM.
      return page_.set32(kProtectedEnable, (value & 0x8000'0000u) | value >> 31);
    case kProtectedLowBase:
    case kProtectedLowLimit:
      return page_.set32(offset, value);
    default:
      return;  // read-only, or none
  }
}

void Unit::write64(uint32_t offset, uint64_t value) {
  switch (offset) {
    case kRootTable:
      root_register_ = value;
      return page_.set64(kRootTable, value);
    case kContextCommand:
      return context_command(value);
    case kIotlbOffset:
      iva_ = value;
      return page_.set64(kIotlbOffset, value);
    case kIotlbOffset + 8:
      return iotlb_command(value);
    case kQueueTail:
      return queue_.set_tail(value);
    case kQueueAddress:
      return queue_.set_address(value);
    case kPageRequestHead:
    case kPageRequestTail:
    case kPageRequestAddress: {
      std::lock_guard lock(mutex_);
      if (offset == kPageRequestHead) return page_requests_.write_head(value);
      if (offset == kPageRequestTail) return page_requests_.write_tail(value);
      return page_requests_.write_address(value);
    }
    case kInterruptTable:
    case kProtectedHighBase:
    case kProtectedHighLimit:
      return page_.set64(offset, value);
    default:
      return;  // read-only
  }
}

// The whole state comes with every command; what is one-shot has happened when the write has been applied.
void Unit::command(uint32_t value) {
  if (GlobalSetRoot::get(value) != 0) set_root();
  const bool queue = spec_.queued_invalidation && GlobalQueue::get(value) != 0;
  status_ = static_cast<uint32_t>(GlobalQueue::set(status_, queue));
  queue_.enable(queue);
  const bool translation = GlobalTranslation::get(value) != 0;
  if (translation != enabled()) set_translation(translation);
  status_ = static_cast<uint32_t>(GlobalTranslation::set(status_, translation));
  page_.set32(kGlobalStatus, status_);
}

void Unit::set_translation(bool on) {
  {
    Pass pass(gate_);
    std::lock_guard lock(mutex_);
    changed_locked();
    enabled_.store(on, std::memory_order_seq_cst);
    if (!on) {
      refuse_page_requests_locked();
      ++off_transitions_;
      for (const PciFunction* function : functions_) {
        if (function->bus_master())
          report_locked(ReportKind::kTranslationOffLive, {function->bdf(), std::nullopt, 0, Access::kRead}, 0, 0);
      }
    }
  }
  drain();
}

void Unit::set_root() {
  {
    Pass pass(gate_);
    std::lock_guard lock(mutex_);
    changed_locked();
    root_.store(root_register_, std::memory_order_release);
    if (enabled()) {
      look_for_dropped_contexts_locked();
      look_for_changed_translations_locked();
    }
    if (spec_.enhanced_set_root) {
      caches_.drop_contexts(false);
      caches_.drop_contexts(true);
      iotlb_.drop_all();
    }
  }
  drain();
  status_ |= static_cast<uint32_t>(GlobalSetRoot::kMask);
}

void Unit::context_command(uint64_t value) {
  if (ContextCommandStart::get(value) != 0) {
    invalidate_contexts(ContextCommandGranularity::get(value),
                        static_cast<uint16_t>(ContextCommandDomain::get(value)),
                        static_cast<uint16_t>(ContextCommandSource::get(value)),
                        static_cast<unsigned>(ContextCommandMask::get(value)));
  }
  // CAIG (bits 60:59) says what was done: as asked.
  const uint64_t done = ContextCommandGranularity::get(value) << 59;
  page_.set64(kContextCommand, (value & ~(ContextCommandStart::kMask | uint64_t{3} << 59)) | done);
}

void Unit::iotlb_command(uint64_t value) {
  if (IotlbStart::get(value) != 0) {
    invalidate_iotlb(IotlbGranularity::get(value), static_cast<uint16_t>(IotlbDomain::get(value)), iva_);
    if (IotlbDrainReads::get(value) != 0 || IotlbDrainWrites::get(value) != 0) drain();
  }
  page_.set64(kIotlbOffset + 8,
              IotlbActual::set(value & ~IotlbStart::kMask, IotlbGranularity::get(value)));
}

}  // namespace causeway::machine::vtd
