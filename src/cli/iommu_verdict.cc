#include "cli/iommu_verdict.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>

namespace causeway::cli {
namespace {

// Of transfers that had to be translated: the ephemeral device's are meant to be refused.
uint64_t unexpected_faults(const MachineIommu& seen) {
  const uint64_t all = seen.sum(&IommuUnit::faults);
  return all - std::min(all, seen.faults_of(kEphemeralDevice));
}

uint64_t ephemeral_faults(const DemoRun& run) {
  return run.iommu.empty() ? 0 : run.iommu.back().end.faults_of(kEphemeralDevice);
}

// What the units say about it, one of many: ": TEXT", or nothing.
std::string first_text(const MachineIommu& seen, std::vector<std::string> IommuUnit::* texts,
                       const std::string& without = "") {
  for (const IommuUnit& unit : seen.units)
    for (const std::string& text : unit.*texts)
      if (without.empty() || text.find(without) == std::string::npos) return ": " + text;
  return "";
}

class IommuVerdict {
 public:
  explicit IommuVerdict(const DemoRun& run) : run_(run) {}

  std::vector<std::string> reach() {
    if (run_.iommu_mode == IommuMode::kOff || !run_.first) return {};
    if (run_.iommu.size() != run_.updates.size() + 1)
      problems_.push_back(fmt::format("generations whose IOMMU was looked at: {}, want {}", run_.iommu.size(),
                                      run_.updates.size() + 1));
    run_.for_each_generation([&](const Snapshot& snapshot) { check_kernel(snapshot); });
    for (const IommuGeneration& generation : run_.iommu) check_generation(generation);
    return std::move(problems_);
  }

 private:
  template <typename... Args>
  void say(fmt::format_string<Args...> format, Args&&... args) {
    problems_.push_back(fmt::format(format, std::forward<Args>(args)...));
  }

  void check_kernel(const Snapshot& snapshot) {
    if (snapshot.iommu.damage == 0 || !reported_.insert("damage").second) return;
    say("generation {}: IOMMU state not taken over (damage {}){}", snapshot.status.generation, snapshot.iommu.damage,
        snapshot.iommu.damage_texts.empty() ? "" : ": " + snapshot.iommu.damage_texts.front());
  }

  void check_generation(const IommuGeneration& generation) {
    const uint32_t number = generation.generation;
    if (generation.end.units.empty()) {
      say("generation {}: the machine has no IOMMU, want 1 or more", number);
      return;
    }
    for (const MachineIommu* seen : {&generation.start, &generation.end}) {
      for (size_t i = 0; i < seen->units.size(); ++i) {
        const IommuUnit& unit = seen->units[i];
        if (!unit.enabled)
          once(fmt::format("off {}", i), fmt::format("generation {}: iommu{} does not translate", number, i));
        else if (unit.mode != name_of(run_.iommu_mode))
          once(fmt::format("mode {}", i), fmt::format("generation {}: iommu{} translates in mode '{}', want '{}'", number,
                                                      i, unit.mode, name_of(run_.iommu_mode)));
      }
    }
    const uint64_t before = generation.start.sum(&IommuUnit::translations);
    const uint64_t after = generation.end.sum(&IommuUnit::translations);
    if (after <= before)
      say("generation {}: addresses translated by the IOMMU: {} at its start, {} at its end, want more", number, before,
          after);
    for (const MachineIommu* seen : {&generation.start, &generation.end}) check_counters(number, *seen);
  }

  // The counters run on: what was seen once is said once.
  void check_counters(uint32_t number, const MachineIommu& seen) {
    if (const uint64_t faults = unexpected_faults(seen); faults > 0)
      once("faults", fmt::format("transfers refused by the IOMMU (faults): {} in generation {}, want 0{}", faults, number,
                                 first_text(seen, &IommuUnit::fault_texts, kEphemeralDevice)));
    bool explained = false;
    for (const IommuEvidence& evidence : iommu_evidence()) {
      const uint64_t count = seen.sum(evidence.counter);
      if (count == 0) continue;
      explained = true;
      once(evidence.name, fmt::format("{} ({}): {} in generation {}, want 0{}", evidence.meaning, evidence.name, count,
                                      number, report_of(seen, evidence.name)));
    }
    if (const uint64_t reports = seen.sum(&IommuUnit::reports); reports > 0 && !explained)
      once("reports", fmt::format("reports of the IOMMU (reports): {} in generation {}, want 0{}", reports, number,
                                  first_text(seen, &IommuUnit::report_texts)));
  }

  static std::string report_of(const MachineIommu& seen, const char* name) {
    for (const IommuUnit& unit : seen.units)
      for (const std::string& text : unit.report_texts)
        if (text.find(name) != std::string::npos) return ": " + text;
    return "";
  }

  void once(const std::string& what, std::string problem) {
    if (reported_.insert(what).second) problems_.push_back(std::move(problem));
  }

  const DemoRun& run_;
  std::vector<std::string> problems_;
  std::set<std::string> reported_;
};

const KernelIommu* last_kernel(const DemoRun& run) {
  const Snapshot* last = run.later ? &*run.later : run.last ? &*run.last : nullptr;
  return last != nullptr && last->iommu.told ? &last->iommu : nullptr;
}

}  // namespace

std::vector<std::string> find_iommu_problems(const DemoRun& run) { return IommuVerdict(run).reach(); }

std::vector<std::string> iommu_summary(const DemoRun& run) {
  if (run.iommu_mode == IommuMode::kOff || run.iommu.empty()) return {};
  const MachineIommu& seen = run.iommu.back().end;
  const uint64_t hits = seen.sum(&IommuUnit::iotlb_hits), misses = seen.sum(&IommuUnit::iotlb_misses);
  std::string text = fmt::format(
      "iommu      {}, {} translations, {:.1f} % of them by the IOTLB, {} invalidations, {} faults, {} reports",
      name_of(run.iommu_mode), seen.sum(&IommuUnit::translations),
      hits + misses == 0 ? 0.0 : 100.0 * static_cast<double>(hits) / static_cast<double>(hits + misses),
      seen.sum(&IommuUnit::invalidations), unexpected_faults(seen), seen.sum(&IommuUnit::reports));
  if (const KernelIommu* kernel = last_kernel(run))
    text += fmt::format("; restored {} devices on {} domains", kernel->restored_devices, kernel->restored_domains);
  return {text, fmt::format("           unpreserved device {}: {} refused accesses after updates", kEphemeralDevice,
                            ephemeral_faults(run))};
}

nlohmann::json iommu_json(const DemoRun& run) {
  nlohmann::json generations = nlohmann::json::array();
  for (const IommuGeneration& generation : run.iommu)
    generations.push_back({{"generation", generation.generation},
                           {"translations", generation.end.sum(&IommuUnit::translations) -
                                                std::min(generation.start.sum(&IommuUnit::translations),
                                                         generation.end.sum(&IommuUnit::translations))}});
  const MachineIommu seen = run.iommu.empty() ? MachineIommu{} : run.iommu.back().end;
  nlohmann::json json = {{"mode", name_of(run.iommu_mode)},
                         {"units", seen.units.size()},
                         {"translations", seen.sum(&IommuUnit::translations)},
                         {"iotlb_hits", seen.sum(&IommuUnit::iotlb_hits)},
                         {"iotlb_misses", seen.sum(&IommuUnit::iotlb_misses)},
                         {"invalidations", seen.sum(&IommuUnit::invalidations)},
                         {"faults", unexpected_faults(seen)},
                         {"reports", seen.sum(&IommuUnit::reports)},
                         {"unpreserved_device", {{"bdf", kEphemeralDevice}, {"refused", ephemeral_faults(run)}}},
                         {"generations", generations}};
  for (const IommuEvidence& evidence : iommu_evidence()) json[evidence.name] = seen.sum(evidence.counter);
  const KernelIommu* kernel = last_kernel(run);
  json["restored_devices"] = kernel != nullptr ? kernel->restored_devices : 0;
  json["restored_domains"] = kernel != nullptr ? kernel->restored_domains : 0;
  uint64_t damage = 0;
  run.for_each_generation([&](const Snapshot& snapshot) { damage += snapshot.iommu.damage; });
  json["damage"] = damage;
  return json;
}

}  // namespace causeway::cli
