#include "cli/iommu_seen.h"

#include <algorithm>
#include <charconv>

namespace causeway::cli {
namespace {

// More than any machine has: a status that says otherwise is not to cost memory.
constexpr size_t kMaxUnits = 64;
constexpr std::string_view kPrefix = "iommu";

uint64_t to_number(std::string_view text) {
  uint64_t value = 0;
  std::from_chars(text.data(), text.data() + text.size(), value);
  return value;
}

struct Counter {
  std::string_view name;
  uint64_t IommuUnit::* place;
};
constexpr Counter kCounters[] = {
    {"translations", &IommuUnit::translations},
    {"iotlb_hits", &IommuUnit::iotlb_hits},
    {"iotlb_misses", &IommuUnit::iotlb_misses},
    {"invalidations", &IommuUnit::invalidations},
    {"faults", &IommuUnit::faults},
    {"reports", &IommuUnit::reports},
    {"stale_translation", &IommuUnit::stale_translation},
    {"domain_id_shared", &IommuUnit::domain_id_shared},
    {"translation_off_live", &IommuUnit::translation_off_live},
    {"context_dropped", &IommuUnit::context_dropped},
    {"translation_changed", &IommuUnit::translation_changed},
    {"te_off_transitions", &IommuUnit::te_off_transitions},
};

void parse_field(IommuUnit& unit, std::string_view field, std::string_view value) {
  if (field == "enabled") unit.enabled = to_number(value) != 0;
  if (field == "mode") unit.mode = value;
  for (const Counter& counter : kCounters)
    if (field == counter.name) unit.*counter.place = to_number(value);
  if (field.starts_with("fault.")) unit.fault_texts.emplace_back(value);
  if (field.starts_with("report.")) unit.report_texts.emplace_back(value);
  constexpr std::string_view kFaultsOf = "faults.";
  if (field.starts_with(kFaultsOf)) unit.faults_of[std::string(field.substr(kFaultsOf.size()))] = to_number(value);
}

// "iommu3.faults" -> unit 3, "faults"; false: another line.
bool parse_line(std::string_view line, MachineIommu& seen) {
  if (!line.starts_with(kPrefix)) return false;
  const size_t equals = line.find('=');
  if (equals == std::string_view::npos) return false;
  std::string_view name = line.substr(kPrefix.size(), equals - kPrefix.size());
  const size_t dot = name.find('.');
  if (dot == 0 || dot == std::string_view::npos) return false;
  size_t unit = 0;
  const auto [end, error] = std::from_chars(name.data(), name.data() + dot, unit);
  if (error != std::errc{} || end != name.data() + dot || unit >= kMaxUnits) return false;
  if (seen.units.size() <= unit) seen.units.resize(unit + 1);
  parse_field(seen.units[unit], name.substr(dot + 1), line.substr(equals + 1));
  return true;
}

}  // namespace

MachineIommu parse_machine_iommu(std::string_view status) {
  MachineIommu seen;
  while (!status.empty()) {
    const size_t end = std::min(status.find('\n'), status.size());
    (void)parse_line(status.substr(0, end), seen);
    status.remove_prefix(std::min(end + 1, status.size()));
  }
  return seen;
}

KernelIommu parse_kernel_iommu(const server::Reply& reply) {
  KernelIommu seen;
  for (const auto& [name, value] : reply.lines) {
    seen.told = seen.told || name.starts_with("iommu.");
    if (name.starts_with("iommu.damage.")) seen.damage_texts.push_back(value);
  }
  seen.units = reply.number("iommu.units");
  seen.devices = reply.number("iommu.devices");
  seen.restored_devices = reply.number("iommu.restored_devices");
  seen.restored_domains = reply.number("iommu.restored_domains");
  seen.damage = reply.number("iommu.damage");
  return seen;
}

uint64_t MachineIommu::sum(uint64_t IommuUnit::* counter) const {
  uint64_t total = 0;
  for (const IommuUnit& unit : units) total += unit.*counter;
  return total;
}

uint64_t MachineIommu::faults_of(const std::string& bdf) const {
  uint64_t total = 0;
  for (const IommuUnit& unit : units)
    if (auto found = unit.faults_of.find(bdf); found != unit.faults_of.end()) total += found->second;
  return total;
}

const std::vector<IommuEvidence>& iommu_evidence() {
  static const std::vector<IommuEvidence> evidence{
      {"stale_translation", &IommuUnit::stale_translation, "transfers by a translation that was gone"},
      {"domain_id_shared", &IommuUnit::domain_id_shared, "domain ids with two page tables"},
      {"translation_off_live", &IommuUnit::translation_off_live, "transfers while translation was off"},
      {"context_dropped", &IommuUnit::context_dropped, "contexts dropped under a device at work"},
      {"translation_changed", &IommuUnit::translation_changed, "addresses that led elsewhere without an unmapping"},
      {"te_off_transitions", &IommuUnit::te_off_transitions, "times that translation was switched off"},
  };
  return evidence;
}

}  // namespace causeway::cli
