// What invalidation commands do, from the queue or from registers, and what is looked at when they come.
#include <algorithm>

#include "machine/vtd/port.h"
#include "machine/vtd/unit.h"

namespace causeway::machine::vtd {

using namespace hw::vtd;

using Outcome = InvalidationQueue::Host::Outcome;

Outcome Unit::execute(const Descriptor& descriptor) {
  const uint64_t word = descriptor.w[0];
  const uint64_t granularity = DescriptorGranularity::get(word);
  const auto domain = static_cast<uint16_t>(DescriptorDomain::get(word));
  const auto pasid = static_cast<uint32_t>(DescriptorPasid::get(word));
  switch (DescriptorType::get(word)) {
    case kContextCache:
      return invalidate_contexts(granularity, domain, static_cast<uint16_t>(ContextCacheSource::get(word)),
                                 static_cast<unsigned>(ContextCacheMask::get(word)));
    case kIotlb:
      if (injector_.is_due(hw::control::Fault::kIommuSkipInvalidation)) return Outcome::kDone;
      return invalidate_iotlb(granularity, domain, descriptor.w[1]);
    case kPasidIotlb:
      if (injector_.is_due(hw::control::Fault::kIommuSkipInvalidation)) return Outcome::kDone;
      return invalidate_pasid_iotlb(granularity, {domain, pasid}, descriptor.w[1]);
    case kPasidCache:
      return invalidate_pasid_cache(granularity, domain, pasid);
    case kDeviceTlb:
      return invalidate_device_tlb(static_cast<uint16_t>(DeviceTlbSource::get(word)), kNoPasid,
                                   descriptor.w[1] & kAddressMask, DeviceTlbSize::get(descriptor.w[1]) != 0);
    case kPasidDeviceTlb:
      return invalidate_device_tlb(static_cast<uint16_t>(PasidDeviceTlbSource::get(word)), pasid,
                                   descriptor.w[1] & kAddressMask, PasidDeviceTlbSize::get(descriptor.w[1]) != 0);
    case kPageGroupResponse:
      return respond_to_page(descriptor);
    default:
      return Outcome::kDone;  // no interrupt remapping
  }
}

void Unit::raise_queue_error(uint64_t bit) {
  std::lock_guard lock(mutex_);
  log_.raise_error(bit);
}

Outcome Unit::invalidate_contexts(uint64_t granularity, uint16_t domain, uint16_t source, unsigned mask) {
  Pass pass(gate_);
  std::lock_guard lock(mutex_);
  ++invalidations_;
  changed_locked();
  switch (granularity) {
    case kGlobal:
      if (enabled()) look_for_dropped_contexts_locked();
      caches_.drop_contexts(scalable());
      refuse_page_requests_locked();
      return Outcome::kDone;
    case kDomain:
      caches_.drop_context_domain(scalable(), domain);
      refuse_page_requests_locked();
      return Outcome::kDone;
    case kDevice:
      caches_.drop_requester(scalable(), domain, source, mask);
      refuse_page_requests_locked();
      return Outcome::kDone;
    default:
      return Outcome::kMalformed;
  }
}

void Unit::drop_pages_locked(Iotlb::Tag tag, uint64_t address) {
  const auto order = static_cast<unsigned>(IvaMask::get(address));
  const TablesStay stay = IvaHint::get(address) != 0 ? TablesStay::kYes : TablesStay::kNo;
  address &= kAddressMask;
  // Software says that it freed no table, and all it has changed lies in one: its parent must still point there.
  if (stay == TablesStay::kYes && order <= 9) {
    if (Iotlb::Table* table = iotlb_.find_table(tag, address)) {
      bool elsewhere = false;
      if (!points_to(table->last.parent, table->last.table, &elsewhere)) table->kept = true;
    }
  }
  iotlb_.drop_pages(tag, address, order, stay);
}

Outcome Unit::invalidate_iotlb(uint64_t granularity, uint16_t domain, uint64_t address) {
  Pass pass(gate_);
  std::lock_guard lock(mutex_);
  ++invalidations_;
  changed_locked();
  switch (granularity) {
    case kGlobal:
      if (enabled()) look_for_changed_translations_locked();
      iotlb_.drop_all();
      return Outcome::kDone;
    case kDomain:
      iotlb_.drop_domain(domain);
      return Outcome::kDone;
    case kPage:
      if (IvaMask::get(address) > CapMaxAddressMask::get(page_.get64(kCap))) return Outcome::kMalformed;
      drop_pages_locked({domain, kNoPasid}, address);
      return Outcome::kDone;
    default:
      return Outcome::kMalformed;
  }
}

Outcome Unit::invalidate_pasid_iotlb(uint64_t granularity, Iotlb::Tag tag, uint64_t address) {
  Pass pass(gate_);
  std::lock_guard lock(mutex_);
  ++invalidations_;
  changed_locked();
  switch (granularity) {
    case kPasidAll:
      iotlb_.drop_space(tag);
      return Outcome::kDone;
    case kPasidPage:
      if (IvaMask::get(address) > CapMaxAddressMask::get(page_.get64(kCap))) return Outcome::kMalformed;
      drop_pages_locked(tag, address);
      return Outcome::kDone;
    default:
      return Outcome::kMalformed;
  }
}

Outcome Unit::invalidate_pasid_cache(uint64_t granularity, uint16_t domain, uint32_t pasid) {
  Pass pass(gate_);
  std::lock_guard lock(mutex_);
  ++invalidations_;
  changed_locked();
  switch (granularity) {
    case kCacheDomain:
      caches_.drop_pasid_domain(domain);
      return Outcome::kDone;
    case kCachePasid:
      caches_.drop_pasid(domain, pasid);
      return Outcome::kDone;
    case kCacheGlobal:
      if (enabled()) look_for_dropped_contexts_locked();
      caches_.drop_pasids();
      return Outcome::kDone;
    default:
      return Outcome::kMalformed;
  }
}

Outcome Unit::invalidate_device_tlb(uint16_t source, uint32_t pasid, uint64_t address, bool large) {
  {
    std::lock_guard lock(mutex_);
    ++invalidations_;
  }
  auto function = std::find_if(functions_.begin(), functions_.end(), [&](const PciFunction* candidate) {
    return candidate->bdf().value() == source;
  });
  // Nobody answers, or one who keeps no translations.
  if (function == functions_.end() || !(*function)->ats_enabled()) return Outcome::kTimeout;
  // The lowest zero bit of the address says how large: none at all up to bit 63, everything.
  unsigned order = large ? static_cast<unsigned>(std::countr_one(address >> kPageShift)) + 1 : 0;
  order = std::min(order, 64u - kPageShift);
  std::lock_guard lock(ports_mutex_);
  for (Port* port : ports_) {
    if (port->requester().value() == source) port->drop(pasid, address, order);
  }
  return Outcome::kDone;
}

// A device that masters the bus and was being translated loses what it is translated by.
void Unit::look_for_dropped_contexts_locked() {
  caches_.for_each([&](Bdf requester, std::optional<uint32_t> pasid, const Binding& binding) {
    if (binding.reason != 0) return;
    auto function = std::find_if(functions_.begin(), functions_.end(),
                                 [&](const PciFunction* candidate) { return candidate->bdf() == requester; });
    if (function == functions_.end() || !(*function)->bus_master()) return;
    if (read_binding(requester, pasid).reason != 0)
      report_locked(ReportKind::kContextDropped, {requester, pasid, 0, Access::kRead}, binding.stage.top.value(), 0);
  });
}

void Unit::look_for_changed_translations_locked() {
  if (spec_.strict == 0) return;
  iotlb_.for_each([&](Iotlb::Tag, const Iotlb::Entry& entry) {
    if (entry.leaf.reason != 0) return;
    const Question question{entry.requester, entry.request_pasid, entry.leaf.start,
                            entry.leaf.read ? Access::kRead : Access::kWrite};
    const Leaf now = fresh(question);
    if (now.reason == 0 && now.target(question.address).value() != entry.leaf.base)
      report_locked(ReportKind::kTranslationChanged, question, entry.leaf.base, now.target(question.address).value());
  });
}

}  // namespace causeway::machine::vtd
