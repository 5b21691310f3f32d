// The VT-d driver between two kernels: what of a device is handed over, and how the next kernel takes it on without touching
// what the hardware reads.
#include "base/log.h"
#include "base/point.h"
#include "iommu/vtd/paging_domain.h"
#include "iommu/vtd/program.h"
#include "iommu/vtd/vtd_driver.h"

namespace causeway::iommu::vtd {

namespace {

uint32_t device_pasids(const VtdDevice& device) {
  const unsigned bits = device.device.info().pasid_bits;
  return device.unit.caps().pasid() && bits != 0 ? 1u << bits : 0;
}

// Does the hardware translate the device as the record says?
Status check_entry(VtdDevice& device, const PagingDomain& domain, DomainId id) {
  if (device.unit.scalable()) {
    PasidContext wanted = domain.pasid_entry(device.unit, id);
    const PasidContext found = device.pasids->get(kNoPasid);
    if (!found.present || found.type != wanted.type || found.domain != id) return fail(EINVAL, "the entry is another domain's");
    const bool same = domain.format().stage == Stage::kFirst
                          ? found.first_stage == wanted.first_stage && found.five_levels == wanted.five_levels
                          : found.second_stage == wanted.second_stage && found.width == wanted.width;
    if (!same) return fail(EINVAL, "the entry has other tables than the domain");
    return {};
  }
  std::optional<ContextSlot> slot = device.unit.root().find(device.device.bdf());
  if (!slot || !slot->present()) return fail(EINVAL, "the device has no context entry");
  const LegacyContext found = slot->legacy();
  const LegacyContext wanted = domain.legacy_entry(device.unit, id, found.type == hw::vtd::kTranslateDeviceTlb);
  if (found.type == hw::vtd::kPassThrough || found.domain != id) return fail(EINVAL, "the entry is another domain's");
  if (found.top != wanted.top || found.width != wanted.width)
    return fail(EINVAL, "the entry has other tables than the domain");
  device.ats_on = found.type == hw::vtd::kTranslateDeviceTlb;
  return {};
}

}  // namespace

Status VtdDriver::preserve_device(Device& device, Domain& domain, abi::DeviceSer& ser) {
  VtdDevice& data = VtdDevice::of(device);
  if (!device.info().pci || device.info().real_dma_sub_device)
    return fail(EOPNOTSUPP, "the device's requests cannot be told from another's");
  if (!data.pasid_domains.empty()) return fail(EOPNOTSUPP, "address spaces of the device cannot be handed over");
  auto* paging = dynamic_cast<PagingDomain*>(&domain);
  if (paging == nullptr || data.domain != paging) return fail(EINVAL, "the device is not attached to the domain");
  CW_FAIL_POINT("iommu.vtd.preserve.device");
  if (data.pasids != nullptr) {
    CW_TRY(data.pasids->preserve());
    ser.intel.pasid_table = data.pasids->directory().value();
    ser.intel.max_pasid = data.pasids->max_pasid();
  }
  data.handed_over.store(true, std::memory_order_release);
  CW_POINT("iommu.vtd.preserve.tables");
  ser.map.attachment_id = static_cast<uint16_t>(data.id);
  data.unit.update_record();
  return {};
}

void VtdDriver::unpreserve_device(Device& device, abi::DeviceSer&) {
  VtdDevice& data = VtdDevice::of(device);
  data.handed_over.store(false, std::memory_order_release);
  if (data.pasids != nullptr) data.pasids->unpreserve();
}

Status VtdDriver::adopt_tables(VtdDevice& device, const abi::DeviceSer& ser) {
  std::optional<ContextSlot> slot = device.unit.root().find(device.device.bdf());
  if (!slot || !slot->present()) return fail(EIO, "a preserved device has no context entry");
  if (!device.unit.scalable()) return {};
  if (ser.intel.max_pasid != PasidTable::max_pasid_for(device_pasids(device), device.unit.caps()))
    return fail(EIO, "the preserved PASID table has another size");
  const ScalableContext context = slot->scalable();
  if (context.directory.value() != ser.intel.pasid_table)
    return fail(EIO, "the device uses another PASID table than the one handed over");
  CW_FAIL_POINT("iommu.vtd.restore.pasid_table");
  device.pasids = CW_TRY(PasidTable::adopt(device.unit.memory(), context.directory, ser.intel.max_pasid));
  if (context.directory_size != device.pasids->directory_size())
    return fail(EIO, "the context entry has another size than the PASID table");
  device.ats_on = context.device_tlb;
  device.can_ats = context.device_tlb;
  CW_POINT("iommu.vtd.restore.pasid_table_taken");
  return {};
}

Result<std::unique_ptr<Domain>> VtdDriver::alloc_restored(Device& device, const abi::DeviceSer&, const abi::DomainSer& ser,
                                                          DomainType type) {
  VtdDevice& data = VtdDevice::of(device);
  VtdUnit& unit = data.unit;
  if (!unit.is_adopted()) return fail(EINVAL, "the device's unit was not taken over");
  Format format;
  format.coherent = unit.caps().coherent_page_walks(unit.scalable());
  if (unit.scalable()) {
    const PasidContext entry = data.pasids->get(kNoPasid);
    if (!entry.present || (entry.type != hw::vtd::kFirstStage && entry.type != hw::vtd::kSecondStage))
      return fail(EINVAL, "the device's entry has no page table");
    format.stage = entry.type == hw::vtd::kFirstStage ? Stage::kFirst : Stage::kSecond;
    // Another device of the domain would not be coherent; of the second stage the leaves themselves say it.
    format.forced_snoop = format.stage == Stage::kFirst && entry.page_snoop;
  }
  if ((ser.sign_extend != 0) != (format.stage == Stage::kFirst)) return fail(EINVAL, "the page table is of the other stage");
  if (ser.vasz < 30 || ser.vasz > 57) return fail(EINVAL, "no page table has so many address bits");
  // The leaves that are there are; new ones are of sizes that the unit has.
  format.page_sizes = CW_TRY(format_of(format.stage, unit.caps())).page_sizes;
  format.address_bits = ser.vasz;
  return std::unique_ptr<Domain>(CW_TRY(PagingDomain::create(*this, environment_, type, format)));
}

Status VtdDriver::restore_device(Device& device, Domain& domain, const abi::DeviceSer& ser) {
  VtdDevice& data = VtdDevice::of(device);
  auto* paging = dynamic_cast<PagingDomain*>(&domain);
  if (paging == nullptr || paging->owner() != this) return fail(EINVAL, "the domain is another driver's");
  if (data.domain != nullptr) return fail(EBUSY, "the device has a domain");
  if (ser.map.attachment_id >= data.unit.caps().domains()) return fail(EINVAL, "the unit has no such domain id");
  const auto id = static_cast<DomainId>(ser.map.attachment_id);
  CW_TRY(check_entry(data, *paging, id));
  CW_FAIL_POINT("iommu.vtd.restore.id");
  CW_TRY(paging->adopt_id(data.unit, id));
  adopt_entries(data, *paging, id);
  auto finish = [&]() -> Status {
    CW_FAIL_POINT("iommu.vtd.restore.tags");
    if (!device.info().set_ats || !data.ats_on) return {};
    device.info().set_ats(true);
    CW_FAIL_POINT("iommu.vtd.restore.ats");
    return {};
  };
  if (Status done = finish(); !done) {
    // The software's part alone: the device goes on with the entry it has.
    forget_entries(data);
    return done;
  }
  return {};
}

Status VtdDriver::shut_down() {
  LiveUpdate* live_update = environment_.live_update;
  std::vector<VtdDevice*> devices = devices_.with([](const auto& all) { return all; });
  Status result;
  for (const auto& unit : units_) {
    std::optional<std::set<Bdf>> keep;
    if (live_update != nullptr && live_update->is_preserved(*unit) && !environment_.faults.translation_off_at_shutdown) {
      keep.emplace();
      for (const VtdDevice* device : devices)
        if (&device->unit == unit.get() && live_update->is_preserved(device->device))
          keep->insert(device->requesters.begin(), device->requesters.end());
    }
    if (Status done = unit->shut_down(keep); !done) {
      log::error("iommu", "{}: is not shut down: {}", unit->name(), to_string(done.error()));
      if (result) result = fail(done.error());
    }
  }
  return result;
}

Status VtdDriver::undo_shut_down() {
  Status result;
  for (const auto& unit : units_)
    if (Status done = unit->undo_shut_down(); !done && result) result = fail(done.error());
  return result;
}

}  // namespace causeway::iommu::vtd
