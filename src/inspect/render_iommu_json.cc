#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "inspect/render_iommu.h"

namespace causeway::inspect {
namespace {

using nlohmann::json;

// By the size of the leaf, in bytes.
json leaves_of(const std::array<uint64_t, kLeafLevels>& leaves) {
  json object = json::object();
  for (unsigned level = 0; level < kLeafLevels; ++level) object[std::to_string(kPageSize << 9 * level)] = leaves[level];
  return object;
}

json of(const IommuUnit& unit) {
  return {{"record", unit.record.value()},   {"type", unit.type},   {"registers", unit.registers},
          {"root_table", unit.root_table.value()}, {"users", unit.users}, {"scalable", unit.scalable},
          {"context_tables", unit.context_tables}};
}

json of(const IommuDomain& domain) {
  return {{"record", domain.record.value()},
          {"top", domain.top.value()},
          {"level", domain.level},
          {"vasz", domain.vasz},
          {"sign_extend", domain.sign_extend},
          {"stage", name_of(domain.stage)},
          {"leaves", leaves_of(domain.leaves)},
          {"mapped_bytes", domain.mapped_bytes},
          {"tables", domain.tables},
          {"table_pages", domain.table_pages()}};
}

json of(const IommuState& state, const IommuDevice& device) {
  json one{{"record", device.record.value()},
           {"bdf", fmt::format("{}", device.bdf)},
           {"segment", device.segment},
           {"owner_token", device.owner_token},
           {"domain_id", device.domain_id},
           {"domain", device.domain_phys},
           {"unit_record", device.unit_phys},
           {"unit", device.unit.has_value() ? json(state.units[*device.unit].registers) : json()}};
  if (device.pasid_directory != 0) {
    one["pasid_directory"] = device.pasid_directory;
    one["max_pasid"] = device.max_pasid;
  }
  return one;
}

json of(const std::optional<Translation::Entry>& entry) {
  if (!entry.has_value()) return {};
  return {{"phys", entry->at.value()}, {"words", entry->words}};
}

}  // namespace

json iommu_json(const Report& report) {
  json carriers = json::array();
  for (const IommuState& state : report.iommu) {
    json units = json::array(), domains = json::array(), devices = json::array();
    for (const IommuUnit& unit : state.units) units.push_back(of(unit));
    for (const IommuDomain& domain : state.domains) domains.push_back(of(domain));
    for (const IommuDevice& device : state.devices) devices.push_back(of(state, device));
    carriers.push_back({{"carrier", state.carrier},
                        {"phys", state.phys.value()},
                        {"version", state.version},
                        {"units", std::move(units)},
                        {"domains", std::move(domains)},
                        {"devices", std::move(devices)},
                        {"deleted",
                         {{"units", state.deleted_units},
                          {"domains", state.deleted_domains},
                          {"devices", state.deleted_devices}}},
                        {"omitted", state.omitted}});
  }
  return carriers;
}

json translation_json(const Report& report) {
  if (!report.translation.has_value()) return {};
  const Translation& way = *report.translation;
  const IommuState& state = report.iommu[way.state];
  const IommuDevice& device = state.devices[way.device];
  json ranges = json::array();
  for (const MappedRange& range : way.ranges)
    ranges.push_back({{"iova", range.iova},
                      {"size", range.bytes},
                      {"phys", range.phys},
                      {"read", range.read},
                      {"write", range.write},
                      {"leaves", leaves_of(range.leaves)},
                      {"memory", name_of(range.memory)}});
  return {{"carrier", state.carrier},
          {"device", of(state, device)},
          {"unit", device.unit.has_value() ? of(state.units[*device.unit]) : json()},
          {"domain", device.domain.has_value() ? of(state.domains[*device.domain]) : json()},
          {"root_entry", of(way.root)},
          {"context_entry", of(way.context)},
          {"pasid_directory_entry", of(way.pasid_directory)},
          {"pasid_entry", of(way.pasid)},
          {"pasid", way.pasid_number},
          {"ranges", std::move(ranges)},
          {"ranges_omitted", way.ranges_omitted},
          {"unpreserved_bytes", way.unpreserved_bytes}};
}

}  // namespace causeway::inspect
