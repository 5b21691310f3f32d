#include <cstring>

#include "inspect/iommu_decoder.h"
#include "inspect/iommu_tables.h"

namespace causeway::inspect {
namespace {

namespace abi = iommu::abi;

constexpr const char* kRefused = "the next kernel cannot take over what is in it, and gives none of it to anybody";

}  // namespace

bool IommuRecords::read(uint64_t size) {
  constexpr uint64_t kSize = sizeof(abi::IommuFlbSer);
  if (size < kSize) {
    context_.findings.error("iommu.blob-size", state_.phys, "the IOMMU record has {} bytes, want {}: {}", size, kSize,
                            kRefused);
    return false;
  }
  const auto bytes = context_.blob(state_.phys, kSize, kSize, "the IOMMU record", kRefused);
  if (bytes.size() < kSize) return false;
  abi::IommuFlbSer ser;
  std::memcpy(&ser, bytes.data(), sizeof ser);
  state_.version = ser.version;
  if (ser.version != abi::kVersion) {
    // Another layout: what lies behind it would be guesswork.
    context_.findings.error("iommu.version", state_.phys, "the IOMMU record is of version {}, want {}: {}", state_.version,
                            uint64_t{abi::kVersion}, kRefused);
    return false;
  }
  array<abi::IommuHwSer>(
      ser.iommu_array_phys, "a page of IOMMU units", state_.deleted_units, [&](const abi::IommuHwSer& unit, PhysAddr at) {
        IommuUnit one{.record = at, .type = static_cast<uint64_t>(unit.type), .registers = unit.token, .root_table = {},
                      .users = unit.hdr.ref_count, .context_tables = {}};
        if (unit.type == abi::UnitType::kIntel) {
          one.root_table = PhysAddr(unit.intel.root_table);
          for (uint16_t slot = 0; slot < 512; ++slot)
            if ((unit.intel.context_tables_bitmap[slot / 64] >> slot % 64 & 1) != 0) one.context_tables.push_back(slot);
          if (const uint64_t registers = unit.intel.phys_addr; registers != one.registers)
            context_.findings.error("iommu.unit-token", at, "the unit is named {:#x} and has its registers at {:#x}: {}",
                                    one.registers, registers, kTableConsequence);
        } else {
          context_.findings.warning("iommu.unit-type", at, "a unit of type {}: only VT-d units ({}) are decoded", one.type,
                                    static_cast<uint64_t>(abi::UnitType::kIntel));
        }
        state_.units.push_back(std::move(one));
      });
  array<abi::DomainSer>(
      ser.iommu_domain_array_phys, "a page of IOMMU domains", state_.deleted_domains,
      [&](const abi::DomainSer& domain, PhysAddr at) {
        IommuDomain one{.record = at, .top = PhysAddr(domain.top_table_phys), .level = domain.top_level,
                        .vasz = domain.vasz, .sign_extend = domain.sign_extend != 0};
        state_.domains.push_back(one);
      });
  array<abi::DeviceSer>(
      ser.device_array_phys, "a page of IOMMU devices", state_.deleted_devices,
      [&](const abi::DeviceSer& device, PhysAddr at) {
        if (device.devid > 0xffff)
          context_.findings.error("iommu.device-id", at, "device id {:#x}, want at most 0xffff", uint32_t{device.devid});
        IommuDevice one{.record = at, .segment = device.pci_domain_nr, .bdf = Bdf(static_cast<uint16_t>(device.devid)),
                        .owner_token = device.dma_owner_token, .domain_id = device.map.attachment_id,
                        .domain_phys = device.map.domain_phys, .unit_phys = device.map.iommu_phys,
                        .domain = {}, .unit = {}, .pasid_directory = device.intel.pasid_table,
                        .max_pasid = device.intel.max_pasid};
        state_.devices.push_back(one);
      });
  resolve();
  return true;
}

template <typename Object>
void IommuRecords::array(uint64_t first, const char* what, uint64_t& deleted,
                         const std::function<void(const Object&, PhysAddr)>& visit) {
  bool begun = false;
  for (PhysAddr next(first); next != PhysAddr(0) || !begun;) {
    begun = true;
    const auto page = context_.follow(next, what, kRefused);
    if (!page.has_value()) return;
    const auto header = page->as<abi::IommuArrayHdrSer>(0);
    const uint64_t count = header.nr_objects;
    if (count > abi::kPerPage<Object>) {
      context_.findings.error("iommu.count", next, "{} says {} objects, want at most {}: {}", what, count,
                              uint64_t{abi::kPerPage<Object>}, kRefused);
      return;
    }
    for (uint64_t i = 0; i < count; ++i) {
      ++context_.report.work;
      const uint64_t offset = sizeof header + i * sizeof(Object);
      const auto object = page->as<Object>(offset);
      const PhysAddr at = next + offset;
      if (const uint32_t flags = object.hdr.flags; (flags & abi::kDeleted) != 0) {
        ++deleted;
        if (budget_ > 0) --budget_, deleted_.emplace(at.value(), true);
        continue;
      }
      if (budget_ == 0) {
        ++state_.omitted;
        continue;
      }
      --budget_;
      visit(object, at);
    }
    next = PhysAddr(header.next_array_phys);
  }
}

// Devices name their unit and domain by the address of its record.
void IommuRecords::resolve() {
  std::unordered_map<uint64_t, size_t> units, domains;
  for (size_t i = 0; i < state_.units.size(); ++i) units.emplace(state_.units[i].record.value(), i);
  for (size_t i = 0; i < state_.domains.size(); ++i) domains.emplace(state_.domains[i].record.value(), i);
  const auto find = [&](const std::unordered_map<uint64_t, size_t>& of, uint64_t phys, const IommuDevice& device,
                        const char* what) -> std::optional<size_t> {
    if (auto found = of.find(phys); found != of.end()) return found->second;
    const char* why = deleted_.contains(phys) ? "that is deleted" : "that is not in the arrays";
    if (state_.omitted == 0)
      context_.findings.error("iommu.reference", device.record, "device {} names a {} record at {:#x} {}: {}",
                              device_name(device), what, phys, why, kTableConsequence);
    return std::nullopt;
  };
  for (IommuDevice& device : state_.devices) {
    device.unit = find(units, device.unit_phys, device, "unit");
    device.domain = find(domains, device.domain_phys, device, "domain");
    if (device.unit.has_value() && device.pasid_directory != 0) state_.units[*device.unit].scalable = true;
  }
}

}  // namespace causeway::inspect
