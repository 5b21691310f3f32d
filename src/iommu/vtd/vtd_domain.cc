#include "iommu/vtd/vtd_domain.h"

#include "iommu/vtd/program.h"

namespace causeway::iommu::vtd {

Status VtdDomain::attach(Device& device, Domain*) {
  VtdDevice& data = VtdDevice::of(device);
  if (data.domain == this) return {};
  if (data.handed_over.load(std::memory_order_acquire))
    return fail(EBUSY, "the device is handed over with the domain it is on");
  block(data);
  return program(data, *this);
}

Status VtdDomain::attach_pasid(Device& device, Pasid pasid, Domain*) {
  VtdDevice& data = VtdDevice::of(device);
  if (device.info().real_dma_sub_device) return fail(EOPNOTSUPP, "requests carry another function's id");
  if (data.is_copied()) return fail(EBUSY, "the device is still translated for the crashed kernel");
  if (data.pasids == nullptr || device.max_pasids() == 0) return fail(EOPNOTSUPP, "the device has no address spaces");
  if (data.handed_over.load(std::memory_order_acquire)) return fail(EBUSY, "the device is handed over");
  block_pasid(data, pasid);
  return program_pasid(data, pasid, *this);
}

Status IdentityDomain::check(VtdUnit& unit) const {
  if (!unit.caps().pass_through()) return fail(EINVAL, "the unit passes nothing through");
  return {};
}

LegacyContext IdentityDomain::legacy_entry(const VtdUnit& unit, DomainId id, bool) const {
  return {.type = hw::vtd::kPassThrough, .width = unit.caps().widest(), .top = {}, .domain = id};
}

PasidContext IdentityDomain::pasid_entry(const VtdUnit& unit, DomainId id) const {
  return pass_through_entry(id, unit.caps());
}

Status BlockedDomain::attach(Device& device, Domain*) {
  block(VtdDevice::of(device));
  return {};
}

Status BlockedDomain::attach_pasid(Device& device, Pasid pasid, Domain*) {
  VtdDevice& data = VtdDevice::of(device);
  if (data.pasids == nullptr) return fail(EOPNOTSUPP, "the device has no address spaces");
  block_pasid(data, pasid);
  return {};
}

}  // namespace causeway::iommu::vtd
