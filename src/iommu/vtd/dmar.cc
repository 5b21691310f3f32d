#include "iommu/vtd/dmar.h"

#include <algorithm>
#include <cstring>

#include "base/log.h"
#include "hw/dmar.h"

namespace causeway::iommu::vtd {
namespace {

using Bytes = std::span<const std::byte>;

// The start of `bytes` as a T, which need not be aligned.
template <typename T>
Result<T> take(Bytes bytes) {
  if (bytes.size() < sizeof(T)) return fail(EINVAL, "a DMAR structure is too short");
  T value;
  std::memcpy(&value, bytes.data(), sizeof value);
  return value;
}

Result<std::vector<Bdf>> parse_scopes(Bytes bytes) {
  std::vector<Bdf> devices;
  while (!bytes.empty()) {
    auto scope = CW_TRY(take<hw::DmarScope>(bytes));
    if (scope.length < sizeof scope || scope.length > bytes.size())
      return fail(EINVAL, "a DMAR device scope has a length that cannot be");
    if (scope.type == hw::kScopeEndpoint) {
      if (scope.length != sizeof scope) return fail(EINVAL, "a DMAR device scope leads through a bridge");
      if (scope.device > 31 || scope.function > 7) return fail(EINVAL, "a DMAR device scope names no function");
      devices.emplace_back(scope.bus, scope.device, scope.function);
    }
    bytes = bytes.subspan(scope.length);
  }
  return devices;
}

Result<DmarUnit> parse_unit(Bytes bytes) {
  auto unit = CW_TRY(take<hw::DmarUnit>(bytes));
  if (unit.register_base == 0 || !is_aligned(unit.register_base, kPageSize))
    return fail(EINVAL, "the registers of a DMAR unit are not on a page");
  return DmarUnit{.segment = unit.segment,
                  .register_base = PhysAddr(unit.register_base),
                  .include_all = (unit.flags & hw::kIncludeAll) != 0,
                  .devices = CW_TRY(parse_scopes(bytes.subspan(sizeof unit)))};
}

Result<DmarReserved> parse_reserved(Bytes bytes) {
  auto memory = CW_TRY(take<hw::DmarReservedMemory>(bytes));
  if (memory.limit < memory.base || !is_aligned(memory.base, kPageSize) || !is_aligned(memory.limit + 1, kPageSize))
    return fail(EINVAL, "reserved memory in the DMAR table is not whole pages");
  return DmarReserved{.segment = memory.segment,
                      .base = PhysAddr(memory.base),
                      .last = PhysAddr(memory.limit),
                      .devices = CW_TRY(parse_scopes(bytes.subspan(sizeof memory)))};
}

Status check_against_others(const DmarUnit& unit, const std::vector<DmarUnit>& others) {
  for (const DmarUnit& other : others) {
    if (other.register_base == unit.register_base) return fail(EINVAL, "two DMAR units have the same registers");
    if (other.segment != unit.segment) continue;
    if (other.include_all && unit.include_all) return fail(EINVAL, "two DMAR units include all devices of a segment");
    for (Bdf device : unit.devices) {
      if (std::find(other.devices.begin(), other.devices.end(), device) != other.devices.end())
        return fail(EINVAL, "a device is behind two DMAR units");
    }
  }
  return {};
}

}  // namespace

const DmarUnit* DmarTable::unit_of(uint16_t segment, Bdf bdf) const {
  const DmarUnit* rest = nullptr;
  for (const DmarUnit& unit : units) {
    if (unit.segment != segment) continue;
    if (std::find(unit.devices.begin(), unit.devices.end(), bdf) != unit.devices.end()) return &unit;
    if (unit.include_all) rest = &unit;
  }
  return rest;
}

Result<DmarTable> parse_dmar(Bytes bytes) {
  if (bytes.size() < sizeof(hw::DmarHeader)) return fail(ENODEV, "there is no DMAR table");
  auto header = CW_TRY(take<hw::DmarHeader>(bytes));
  if (std::memcmp(header.signature, "DMAR", sizeof header.signature) != 0)
    return fail(ENODEV, "there is no DMAR table");
  if (header.length < sizeof header || header.length > bytes.size())
    return fail(EINVAL, "the DMAR table has a length that cannot be");
  bytes = bytes.first(header.length);
  unsigned sum = 0;
  for (std::byte byte : bytes) sum += std::to_integer<unsigned>(byte);
  if ((sum & 0xff) != 0) return fail(EINVAL, "the DMAR table has a wrong checksum");

  DmarTable table;
  table.host_address_bits = header.host_address_width + 1u;
  for (bytes = bytes.subspan(sizeof header); !bytes.empty();) {
    auto structure = CW_TRY(take<hw::DmarStructure>(bytes));
    if (structure.length < sizeof structure || structure.length > bytes.size())
      return fail(EINVAL, "a DMAR structure has a length that cannot be");
    Bytes own = bytes.first(structure.length);
    switch (structure.type) {
      case hw::DmarType::kHardwareUnit: {
        DmarUnit unit = CW_TRY(parse_unit(own));
        CW_TRY(check_against_others(unit, table.units));
        table.units.push_back(std::move(unit));
        break;
      }
      case hw::DmarType::kReservedMemory:
        table.reserved.push_back(CW_TRY(parse_reserved(own)));
        break;
      default:
        log::debug("iommu", "DMAR structure of type {} skipped", static_cast<unsigned>(structure.type));
    }
    bytes = bytes.subspan(structure.length);
  }
  return table;
}

}  // namespace causeway::iommu::vtd
