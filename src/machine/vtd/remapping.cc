#include "machine/vtd/remapping.h"

#include <algorithm>
#include <cstring>

#include "hw/address_map.h"
#include "hw/dmar.h"
#include "machine/vtd/port.h"

namespace causeway::machine::vtd {
namespace {

bool has(const std::vector<Bdf>& scope, Bdf bdf) {
  return std::find(scope.begin(), scope.end(), bdf) != scope.end();
}

template <typename T>
void append(std::vector<std::byte>& bytes, const T& value) {
  const auto* from = reinterpret_cast<const std::byte*>(&value);
  bytes.insert(bytes.end(), from, from + sizeof value);
}

void append_scopes(std::vector<std::byte>& bytes, const std::vector<Bdf>& devices) {
  for (Bdf bdf : devices)
    append(bytes, hw::DmarScope{hw::kScopeEndpoint, sizeof(hw::DmarScope), 0, 0, 0, static_cast<uint8_t>(bdf.bus()),
                                static_cast<uint8_t>(bdf.device()), static_cast<uint8_t>(bdf.function())});
}

}  // namespace

Status Remapping::add(const IommuSpec& spec, const Unit::Environment& environment) {
  if (units_.size() == hw::kMaxIommus) return fail(EINVAL, "more iommus than there is room for");
  for (const auto& unit : units_) {
    const std::vector<Bdf>& other = unit->spec().scope;
    if (spec.scope.empty() && other.empty())
      return fail(EINVAL, "two iommus are responsible for all other devices");
    for (Bdf bdf : spec.scope) {
      if (has(other, bdf)) return fail(EINVAL, "two iommus are responsible for one device");
    }
  }
  units_.push_back(std::make_unique<Unit>(spec, environment));
  return {};
}

Unit* Remapping::unit_of(Bdf requester) const {
  Unit* rest = nullptr;
  for (const auto& unit : units_) {
    if (has(unit->spec().scope, requester)) return unit.get();
    if (unit->spec().scope.empty()) rest = unit.get();
  }
  return rest;
}

std::unique_ptr<TranslationPort> Remapping::open(Bdf requester) {
  if (Unit* unit = unit_of(requester)) return std::make_unique<Port>(*unit, requester);
  return identity_.open(requester);
}

Status Remapping::write_table(std::byte* page) const {
  if (units_.empty()) return {};
  std::vector<std::byte> bytes(sizeof(hw::DmarHeader));
  // The unit that is responsible for the rest comes last, as the specification wants it.
  std::vector<const Unit*> ordered;
  for (const auto& unit : units_) ordered.push_back(unit.get());
  std::stable_partition(ordered.begin(), ordered.end(), [](const Unit* unit) { return !unit->spec().scope.empty(); });
  unsigned width = 0;
  for (const Unit* unit : ordered) {
    const std::vector<Bdf>& scope = unit->spec().scope;
    width = std::max(width, unit->spec().address_width);
    hw::DmarUnit entry{};
    entry.header.type = hw::DmarType::kHardwareUnit;
    entry.header.length = static_cast<uint16_t>(sizeof entry + scope.size() * sizeof(hw::DmarScope));
    entry.flags = scope.empty() ? hw::kIncludeAll : 0;
    entry.register_base = unit->mmio_base().value();
    append(bytes, entry);
    append_scopes(bytes, scope);
  }
  for (const Unit* unit : ordered) {
    for (const ReservedMemory& memory : unit->spec().reserved) {
      hw::DmarReservedMemory entry{};
      entry.header.type = hw::DmarType::kReservedMemory;
      entry.header.length = static_cast<uint16_t>(sizeof entry + memory.devices.size() * sizeof(hw::DmarScope));
      entry.base = memory.base;
      entry.limit = memory.last;
      append(bytes, entry);
      append_scopes(bytes, memory.devices);
    }
  }
  if (bytes.size() > kPageSize) return fail(EINVAL, "the table of iommus is longer than a page");
  hw::DmarHeader header{};
  std::memcpy(header.signature, "DMAR", 4);
  header.length = static_cast<uint32_t>(bytes.size());
  header.revision = 1;
  std::memcpy(header.oem_id, "CAUSWY", 6);
  std::memcpy(header.oem_table_id, "CAUSEWAY", 8);
  std::memcpy(header.creator_id, "CWAY", 4);
  header.host_address_width = static_cast<uint8_t>(width - 1);
  std::memcpy(bytes.data(), &header, sizeof header);
  uint8_t sum = 0;
  for (std::byte byte : bytes) sum = static_cast<uint8_t>(sum + static_cast<uint8_t>(byte));
  bytes[offsetof(hw::DmarHeader, checksum)] = static_cast<std::byte>(-sum);
  std::memcpy(page, bytes.data(), bytes.size());
  return {};
}

}  // namespace causeway::machine::vtd
