// What an image says of its IOMMUs, decoded: which units, domains and devices are handed over, and how one device's
// addresses are translated.
//
//   for (const IommuState& state : report.iommu)
//     for (const IommuDevice& device : state.devices) use(device.bdf, state.domains[*device.domain].mapped_bytes);
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/types.h"

namespace causeway::inspect {

inline constexpr unsigned kTableLevels = 5;  // level 0 has the leaves of 4 KiB
inline constexpr unsigned kLeafLevels = 3;   // 4 KiB, 2 MiB, 1 GiB

enum class Stage : uint8_t { kUnknown, kFirst, kSecond };

struct IommuUnit {
  PhysAddr record;
  uint64_t type = 0;      // of abi::UnitType
  uint64_t registers = 0;
  PhysAddr root_table;
  uint32_t users = 0;     // ref_count
  bool scalable = false;  // some device has a PASID directory
  std::vector<uint16_t> context_tables;  // preserved: bus * 2 + (devfn >> 7)
};

struct IommuDomain {
  PhysAddr record;
  PhysAddr top;
  uint64_t level = 0;  // of the top table
  uint32_t vasz = 0;   // bits of address
  bool sign_extend = false;
  Stage stage = Stage::kUnknown;  // as the devices on it say; without one, as the entries look
  std::array<uint64_t, kLeafLevels> leaves{};
  std::array<uint64_t, kTableLevels> tables{};
  std::array<uint64_t, kTableLevels> links{};  // entries of that level's tables that lead to a table
  uint64_t mapped_bytes = 0;
  uint64_t table_pages() const;
};

struct IommuDevice {
  PhysAddr record;
  uint64_t segment = 0;
  Bdf bdf{0, 0, 0};
  uint64_t owner_token = 0;
  uint64_t domain_id = 0;
  uint64_t domain_phys = 0, unit_phys = 0;
  std::optional<size_t> domain, unit;  // of the same IommuState
  uint64_t pasid_directory = 0;        // 0: legacy mode
  uint64_t max_pasid = 0;
};

// What one carrier has.
struct IommuState {
  std::string carrier;  // "KHO subtree" or "LUO FLB"
  PhysAddr phys;
  uint64_t version = 0;
  std::vector<IommuUnit> units;
  std::vector<IommuDomain> domains;
  std::vector<IommuDevice> devices;
  uint64_t deleted_units = 0, deleted_domains = 0, deleted_devices = 0;
  uint64_t omitted = 0;  // records beyond Options::max_iommu_records
};

// Consecutive addresses that lead to consecutive memory.
struct MappedRange {
  enum class Memory : uint8_t { kPreserved, kNotPreserved, kNotRam, kUnchecked };
  uint64_t iova = 0;
  uint64_t phys = 0;
  uint64_t bytes = 0;
  bool read = false, write = false;
  std::array<uint64_t, kLeafLevels> leaves{};
  Memory memory = Memory::kUnchecked;
};
const char* name_of(MappedRange::Memory memory);
// "00:01.0" of segment 0, else "0001:00:01.0".
std::string device_name(const IommuDevice& device);

// How the addresses of one device are translated: what stands in the tables, from the unit on; nullopt where the way ends.
struct Translation {
  size_t state = 0;   // of Report::iommu
  size_t device = 0;  // of its devices
  struct Entry {
    PhysAddr at;
    std::vector<uint64_t> words;
  };
  std::optional<Entry> root, context, pasid_directory, pasid;
  uint32_t pasid_number = 0;
  std::vector<MappedRange> ranges;
  uint64_t ranges_omitted = 0;
  uint64_t unpreserved_bytes = 0;
};

}  // namespace causeway::inspect
