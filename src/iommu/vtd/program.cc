#include "iommu/vtd/program.h"

#include "base/log.h"
#include "base/point.h"

namespace causeway::iommu::vtd {

namespace {

void complain(const VtdDevice& device, const Status& done) {
  if (!done) log::error("iommu", "{}: {}: {}", device.unit.name(), device.device.name(), to_string(done.error()));
}

void set_ats(VtdDevice& device, bool on) {
  if (device.ats_on == on) return;
  device.ats_on = on;
  if (device.device.info().set_ats) device.device.info().set_ats(on);
}

// One address space's entry, and what was cached through it. Two steps: hardware that is in the middle of reading it finds the
// whole entry, or none.
void clear_pasid(VtdDevice& device, Pasid pasid) {
  const PasidContext old = device.pasids->get(pasid);
  if (!old.present) return;
  device.pasids->retire(pasid);
  FlushBatch batch(device.unit.flush());
  batch.add(fence(false));
  batch.pasid_cache(old.domain, pasid);
  if (old.type == hw::vtd::kFirstStage || old.type == hw::vtd::kPasidPassThrough) {
    batch.pasid_iotlb(old.domain, pasid);
  } else {
    batch.iotlb_domain(old.domain);
  }
  if (device.ats_on) {
    const unsigned depth = device.device.info().ats_queue_depth;
    if (pasid == kNoPasid) {
      batch.device_tlb(device.device.bdf(), depth);
    } else {
      batch.pasid_device_tlb(device.device.bdf(), pasid, depth);
    }
  }
  complain(device, batch.submit());
  device.pasids->wipe(pasid);
}

Status set_pasid(VtdDevice& device, Pasid pasid, VtdDomain& domain, DomainId id) {
  CW_TRY(device.pasids->set(pasid, domain.pasid_entry(device.unit, id)));
  return device.unit.flush_new_pasid(id, pasid);
}

// Of the context entry: whether the device may ask for pages.
Status let_ask(VtdDevice& device, bool on) {
  for (Bdf source : device.requesters) {
    std::optional<ContextSlot> slot = device.unit.root().find(source);
    if (!slot || !slot->present()) continue;
    slot->set_page_requests(on);
    CW_TRY(device.unit.flush().flush_context_device(DomainId(hw::vtd::kReservedDomainId), source));
  }
  return {};
}

Status begin_page_requests(VtdDevice& device, Pasid pasid, const VtdDomain& domain) {
  if (!device.can_request_pages || !device.ats_on || !domain.page_request_handler()) return {};
  for (Bdf source : device.requesters)
    device.unit.page_requests()->add(source, pasid, domain.page_request_handler());
  device.asking.insert(pasid);
  return device.asking.size() == 1 ? let_ask(device, true) : Status{};
}

// The address space's entry is gone. Everything that was asked for in it has an answer afterwards.
void end_page_requests(VtdDevice& device, Pasid pasid, DomainId id) {
  if (device.asking.erase(pasid) == 0) return;
  if (device.asking.empty()) complain(device, let_ask(device, false));
  const DeviceInfo& info = device.device.info();
  for (Bdf source : device.requesters) {
    device.unit.page_requests()->remove(source, pasid);
    complain(device, device.unit.page_requests()->drain(source, pasid, id, info.ats_queue_depth,
                                                        device.ats_on && source == info.bdf));
  }
}

void clear_contexts(VtdDevice& device) {
  for (Bdf source : device.requesters) {
    std::optional<ContextSlot> slot = device.unit.root().find(source);
    if (!slot || !slot->present()) continue;
    const DomainId old = slot->legacy().domain;
    slot->clear();
    device.unit.root().clear_copied(source);
    complain(device, device.unit.flush_old_context(source, old));
  }
}

Status set_contexts(VtdDevice& device, VtdDomain& domain, DomainId id, bool ats) {
  const LegacyContext wanted = domain.legacy_entry(device.unit, id, ats);
  for (Bdf source : device.requesters) {
    ContextSlot slot = CW_TRY(device.unit.root().slot(source));
    // Functions that share an alias are in one group, and so on one domain.
    if (slot.present()) {
      const LegacyContext old = slot.legacy();
      if (old == wanted) continue;
      slot.clear();
      CW_TRY(device.unit.flush_old_context(source, old.domain));
    }
    slot.set(wanted);
    CW_TRY(device.unit.flush_new_context(source, id));
  }
  return {};
}

// What a crashed kernel's entry translates is dropped only now that the device has a driver again.
Status drop_copied(VtdDevice& device) {
  if (!device.is_copied()) return {};
  if (!device.unit.scalable()) {
    clear_contexts(device);
    return {};
  }
  for (Bdf source : device.requesters) {
    if (auto slot = device.unit.root().find(source); slot && slot->present()) slot->clear();
    device.unit.root().clear_copied(source);
  }
  // Under which ids it was cached is in tables that are not ours.
  CW_TRY(device.unit.flush().flush_context_global());
  CW_TRY(device.unit.flush().flush_pasid_cache_global());
  CW_TRY(device.unit.flush().flush_iotlb_global());
  return set_up_pasids(device);
}

}  // namespace

Status set_up_pasids(VtdDevice& device) {
  const DeviceInfo& info = device.device.info();
  VtdUnit& unit = device.unit;
  const bool pasid = unit.caps().pasid() && info.pasid_bits != 0;
  if (device.pasids == nullptr)
    device.pasids = CW_TRY(PasidTable::create(unit.memory(), pasid ? 1u << info.pasid_bits : 0, unit.caps()));
  const ScalableContext wanted{.device_tlb = device.can_ats,
                               .pasid = pasid,
                               .directory_size = device.pasids->directory_size(),
                               .directory = device.pasids->directory()};
  for (Bdf source : device.requesters) {
    ContextSlot slot = CW_TRY(unit.root().slot(source));
    if (slot.present()) return fail(EBUSY, "the device has a context entry");
    slot.set(wanted);
    CW_TRY(unit.caps().caching_mode() ? unit.flush().flush_context_device(DomainId(hw::vtd::kReservedDomainId), source)
                                      : unit.flush().flush_write_buffer());
  }
  // In this order: a device must not change its mind about PASIDs while it has a TLB.
  if (pasid && info.set_pasid) info.set_pasid(true);
  if (device.can_ats) set_ats(device, true);
  return {};
}

void tear_down_pasids(VtdDevice& device) {
  if (device.pasids == nullptr) return;
  VtdUnit& unit = device.unit;
  set_ats(device, false);
  const DeviceInfo& info = device.device.info();
  if (unit.caps().pasid() && info.pasid_bits != 0 && info.set_pasid) info.set_pasid(false);
  for (Bdf source : device.requesters) {
    std::optional<ContextSlot> slot = unit.root().find(source);
    if (!slot || !slot->present() || slot->scalable().directory != device.pasids->directory()) continue;
    slot->clear();
    complain(device, unit.flush().flush_context_device(DomainId(hw::vtd::kReservedDomainId), source));
  }
  complain(device, unit.flush().flush_pasid_cache_global());
  complain(device, unit.flush().flush_iotlb_global());
  device.pasids->release();
  device.pasids.reset();
}

Status program(VtdDevice& device, VtdDomain& domain) {
  VtdUnit& unit = device.unit;
  CW_TRY(drop_copied(device));
  CW_TRY(domain.check(unit));
  CW_FAIL_POINT("iommu.vtd.attach.id");
  const DomainId id = CW_TRY(domain.hold_id(unit));
  const bool ats = device.can_ats && domain.allows_ats(unit);
  // Whoever unmaps from now on flushes for this device too.
  domain.add_user(device, kNoPasid, id);
  if (ats) domain.add_device_tlb(device, kNoPasid, id);
  auto write = [&]() -> Status {
    CW_FAIL_POINT("iommu.vtd.attach.entry");
    if (unit.scalable()) return set_pasid(device, kNoPasid, domain, id);
    return set_contexts(device, domain, id, ats);
  };
  device.domain = &domain;
  device.id = id;
  if (Status written = write(); !written) {
    block(device);
    return fail(written.error());
  }
  if (ats) set_ats(device, true);
  if (Status begun = begin_page_requests(device, kNoPasid, domain); !begun) {
    block(device);
    return fail(begun.error());
  }
  return {};
}

void block(VtdDevice& device) {
  if (device.domain == nullptr) return complain(device, drop_copied(device));
  if (device.unit.scalable()) {
    clear_pasid(device, kNoPasid);
    end_page_requests(device, kNoPasid, device.id);
  } else {
    // Before its entry goes: afterwards nothing of its TLB could be invalidated.
    if (device.ats_on)
      complain(device, device.unit.flush().flush_device_tlb(device.device.bdf(), device.device.info().ats_queue_depth));
    set_ats(device, false);
    clear_contexts(device);
  }
  forget_entries(device);
}

void adopt_entries(VtdDevice& device, VtdDomain& domain, DomainId id) {
  device.domain = &domain;
  device.id = id;
  domain.add_user(device, kNoPasid, id);
  if (device.ats_on && domain.allows_ats(device.unit)) domain.add_device_tlb(device, kNoPasid, id);
}

void forget_entries(VtdDevice& device) {
  VtdDomain& domain = *device.domain;
  if (device.can_ats && domain.allows_ats(device.unit)) domain.remove_device_tlb(device, kNoPasid, device.id);
  domain.remove_user(device, kNoPasid, device.id);
  // What it tags has been flushed.
  domain.drop_id(device.unit);
  device.domain = nullptr;
  device.id = DomainId(0);
}

Status program_pasid(VtdDevice& device, Pasid pasid, VtdDomain& domain) {
  VtdUnit& unit = device.unit;
  CW_TRY(domain.check(unit));
  if (device.pasids->present(pasid)) return fail(EBUSY, "the address space is in use");
  CW_FAIL_POINT("iommu.vtd.attach_pasid.id");
  const DomainId id = CW_TRY(domain.hold_id(unit));
  domain.add_user(device, pasid, id);
  if (device.ats_on) domain.add_device_tlb(device, pasid, id);
  device.pasid_domains[pasid] = {&domain, id};
  auto write = [&]() -> Status {
    CW_FAIL_POINT("iommu.vtd.attach_pasid.entry");
    return set_pasid(device, pasid, domain, id);
  };
  Status written = write();
  if (written) written = begin_page_requests(device, pasid, domain);
  if (!written) {
    block_pasid(device, pasid);
    return fail(written.error());
  }
  return {};
}

void block_pasid(VtdDevice& device, Pasid pasid) {
  auto found = device.pasid_domains.find(pasid);
  if (found == device.pasid_domains.end()) return;
  const VtdDevice::PasidUse use = found->second;
  clear_pasid(device, pasid);
  end_page_requests(device, pasid, use.id);
  if (device.ats_on) use.domain->remove_device_tlb(device, pasid, use.id);
  use.domain->remove_user(device, pasid, use.id);
  use.domain->drop_id(device.unit);
  device.pasid_domains.erase(found);
}

}  // namespace causeway::iommu::vtd
