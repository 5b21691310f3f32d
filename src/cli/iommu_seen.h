// What IOMMUs did, as the machine tells (iommuI.* lines of its status) and as the kernel does (iommu.* lines).
//
//   MachineIommu seen = parse_machine_iommu(CW_TRY(machine.status()));
//   for (const IommuUnit& unit : seen.units) total += unit.translations;
//
// The machine's counters run from power-on, whatever kernel runs; the kernel's are those of one boot.
#pragma once

#include <cstdint>
#include <map>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "server/control.h"

namespace causeway::cli {

struct IommuUnit {
  bool enabled = false;
  std::string mode;  // "legacy", "scalable"
  uint64_t translations = 0, iotlb_hits = 0, iotlb_misses = 0, invalidations = 0;
  uint64_t faults = 0;
  std::map<std::string, uint64_t> faults_of;  // by "BB:DD.F", where the machine says so
  std::vector<std::string> fault_texts;
  // What the unit watches for: it saw the software do something that hardware would not forgive.
  uint64_t reports = 0;
  uint64_t stale_translation = 0;     // an IOTLB entry was used that the tables do not say any more
  uint64_t domain_id_shared = 0;      // one domain id, two page tables
  uint64_t translation_off_live = 0;  // switched off while devices ran
  uint64_t context_dropped = 0;       // the context of a device with transfers under way went away
  uint64_t translation_changed = 0;   // an address of a device led elsewhere without an unmapping
  uint64_t te_off_transitions = 0;
  std::vector<std::string> report_texts;
};

struct MachineIommu {
  std::vector<IommuUnit> units;
  // Over all units.
  uint64_t sum(uint64_t IommuUnit::* counter) const;
  uint64_t faults_of(const std::string& bdf) const;
};

struct KernelIommu {
  bool told = false;  // the kernel has such lines
  uint64_t units = 0, devices = 0;
  uint64_t restored_devices = 0, restored_domains = 0;  // from the kernel before
  uint64_t damage = 0;
  std::vector<std::string> damage_texts;  // what could not be taken over
};

// Lines that are missing leave their field 0.
MachineIommu parse_machine_iommu(std::string_view status);
KernelIommu parse_kernel_iommu(const server::Reply& reply);

// A counter by which the unit accuses: its name in the status, and what it means.
struct IommuEvidence {
  const char* name;
  uint64_t IommuUnit::* counter;
  const char* meaning;
};
const std::vector<IommuEvidence>& iommu_evidence();

}  // namespace causeway::cli
