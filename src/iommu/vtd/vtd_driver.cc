#include "iommu/vtd/vtd_driver.h"

#include <algorithm>

#include "base/log.h"
#include "base/point.h"
#include "iommu/vtd/paging_domain.h"
#include "iommu/vtd/program.h"

namespace causeway::iommu::vtd {

VtdDriver::VtdDriver(platform::Platform& platform, IommuPages& pages, LiveUpdate* live_update, VtdOptions options,
                     DmarTable firmware)
    : environment_{.platform = platform, .pages = pages, .live_update = live_update, .options = std::move(options), .faults = {}},
      firmware_(std::move(firmware)) {}
VtdDriver::~VtdDriver() = default;

Result<std::unique_ptr<VtdDriver>> VtdDriver::create(platform::Platform& platform, IommuPages& pages,
                                                     LiveUpdate* live_update, VtdOptions options,
                                                     const VtdFaults& faults) {
  DmarTable firmware = CW_TRY(parse_dmar(platform.firmware_table()));
  std::unique_ptr<VtdDriver> driver(
      new VtdDriver(platform, pages, live_update, std::move(options), std::move(firmware)));
  driver->set_faults(faults);
  driver->start_units();
  return driver;
}

void VtdDriver::start_units() {
  for (unsigned i = 0; i < firmware_.units.size(); ++i) {
    auto unit = VtdUnit::create(*this, environment_, firmware_.units[i], i);
    if (unit) {
      units_.push_back(std::move(*unit));
    } else {
      log::error("iommu", "the unit at {} is left out: {}", firmware_.units[i].register_base, to_string(unit.error()));
    }
  }
  // Of reading the handover as a whole; what a unit adds is its own.
  const bool unreadable = environment_.live_update != nullptr && !environment_.live_update->damage().empty();
  std::vector<VtdUnit*> prepared;
  for (const auto& unit : units_) {
    Status done = unit->prepare(unreadable);
    if (done) prepared.push_back(unit.get());
    else if (environment_.live_update != nullptr)
      environment_.live_update->report_damage(unit->name() + ": " + to_string(done.error()));
    else log::error("iommu", "{}: {}", unit->name(), to_string(done.error()));
  }
  for (VtdUnit* unit : prepared)
    if (Status done = unit->start(); !done)
      log::error("iommu", "{}: does not start: {}", unit->name(), to_string(done.error()));
}

std::vector<VtdUnit*> VtdDriver::units() const {
  std::vector<VtdUnit*> units;
  for (const auto& unit : units_) units.push_back(unit.get());
  return units;
}

VtdUnit* VtdDriver::unit_of(const DeviceInfo& info) const {
  const DmarUnit* found = info.pci ? firmware_.unit_of(info.segment, info.bdf) : nullptr;
  if (found == nullptr) return nullptr;
  for (const auto& unit : units_)
    if (unit->register_base() == found->register_base) return unit.get();
  return nullptr;
}

Result<Unit*> VtdDriver::probe_device(Device& device) {
  const DeviceInfo& info = device.info();
  VtdUnit* unit = unit_of(info);
  if (unit == nullptr) return fail(ENODEV, "no unit translates for the device");
  if (!unit->is_usable()) return fail(EIO, "the device's unit is not usable");
  auto data = std::make_unique<VtdDevice>(device, *unit);
  data->requesters.push_back(info.bdf);
  for (Bdf alias : info.aliases)
    if (std::find(data->requesters.begin(), data->requesters.end(), alias) == data->requesters.end())
      data->requesters.push_back(alias);
  data->can_ats = info.ats && !info.untrusted && unit->caps().device_tlb();

  data->can_request_pages = info.page_requests && data->can_ats && unit->page_requests() != nullptr;

  const abi::DeviceSer* ser = nullptr;
  if (environment_.live_update != nullptr && unit->is_adopted())
    ser = environment_.live_update->find_device(info.segment, info.bdf);
  CW_TRY(ser != nullptr ? adopt_tables(*data, *ser) : set_up_tables(*data));
  if (unit->scalable() && info.pasid_bits != 0 && unit->caps().pasid())
    device.set_max_pasids(1u << std::min(info.pasid_bits, unit->caps().pasid_bits()));
  devices_.with([&](auto& devices) { devices.push_back(data.get()); });
  device.set_data(std::move(data));
  return static_cast<Unit*>(unit);
}

Status VtdDriver::set_up_tables(VtdDevice& device) {
  // A crashed kernel's entry stays until its driver attaches.
  if (!device.unit.scalable() || device.is_copied()) return {};
  if (Status made = set_up_pasids(device); !made) {
    tear_down_pasids(device);
    return made;
  }
  return {};
}

void VtdDriver::release_device(Device& device) {
  VtdDevice& data = VtdDevice::of(device);
  while (!data.pasid_domains.empty()) block_pasid(data, data.pasid_domains.begin()->first);
  block(data);
  tear_down_pasids(data);
  devices_.with([&](auto& devices) { std::erase(devices, &data); });
  device.set_data(nullptr);
}

std::optional<DomainType> VtdDriver::default_domain_type(const Device& device) {
  if (!VtdDevice::of(device).unit.caps().pass_through()) return DomainType::kDma;
  return std::nullopt;
}

std::vector<ReservedRegion> VtdDriver::reserved_regions(const Device& device) {
  std::vector<ReservedRegion> regions;
  for (const DmarReserved& reserved : firmware_.reserved)
    if (reserved.segment == device.info().segment &&
        std::find(reserved.devices.begin(), reserved.devices.end(), device.bdf()) != reserved.devices.end())
      regions.push_back({Iova(reserved.base.value()), Iova(reserved.last.value()), ReservedRegion::Kind::kDirect});
  regions.push_back({Iova(hw::vtd::kInterruptStart.value()), Iova(hw::vtd::kInterruptEnd.value()),
                     ReservedRegion::Kind::kMsi});
  return regions;
}

Result<std::unique_ptr<Domain>> VtdDriver::alloc_paging(Device& device, DomainType type, uint32_t flags) {
  VtdUnit& unit = VtdDevice::of(device).unit;
  const Format format = CW_TRY(choose_format(unit.caps(), unit.scalable(), flags));
  return std::unique_ptr<Domain>(CW_TRY(PagingDomain::create(*this, environment_, type, format)));
}

bool VtdDriver::is_attach_deferred(const Device& device) { return VtdDevice::of(device).is_copied(); }

void VtdDriver::set_faults(const VtdFaults& faults) {
  environment_.faults = faults;
  environment_.skip_flush.store(faults.skip_flush, std::memory_order_relaxed);
  environment_.left_out.store(faults.left_out, std::memory_order_relaxed);
}

}  // namespace causeway::iommu::vtd
