// From a unit's root table to a device's page table: what the entries say, against what the records say.
#include <algorithm>
#include <cstring>

#include "hw/vtd.h"
#include "inspect/iommu_decoder.h"
#include "inspect/iommu_tables.h"

namespace causeway::inspect {
namespace {

using namespace hw::vtd;

std::optional<Translation::Entry> entry_at(Context& context, PhysAddr at, unsigned words) {
  ++context.report.work;
  const std::byte* source = context.memory.at(at, words * 8);
  if (source == nullptr) return std::nullopt;
  Translation::Entry entry{at, std::vector<uint64_t>(words)};
  std::memcpy(entry.words.data(), source, words * 8);
  return entry;
}

class Device {
 public:
  Device(Context& context, IommuState& state, IommuDevice& device, UnitTables& unit)
      : context_(context), state_(state), device_(device), unit_(unit) {}

  Translation check() {
    check_domain_id();
    const bool scalable = device_.pasid_directory != 0;
    if (!unit_.readable) return std::move(way_);
    const unsigned devfn = device_.bdf.value() & 0xff, bus = device_.bdf.bus();
    const unsigned half = scalable ? devfn >> 7 : 0;
    way_.root = entry_at(context_, unit_.root + bus * sizeof(RootEntry) + half * 8, 1);
    const auto table = unit_.contexts.find(static_cast<uint16_t>(bus * 2 + half));
    if (table == unit_.contexts.end()) {
      error("iommu.context-missing", device_.record, "its context table, that of bus {:#04x}, is not among those preserved", bus);
      return std::move(way_);
    }
    const unsigned words = scalable ? 4 : 2;
    way_.context = entry_at(context_, table->second + (scalable ? devfn & 0x7f : devfn) * words * 8, words);
    if (!way_.context.has_value()) return std::move(way_);
    if (ContextPresent::get(way_.context->words[0]) == 0) {
      error("iommu.context-entry", way_.context->at, "its context entry is not present");
      return std::move(way_);
    }
    scalable ? scalable_entry() : legacy_entry();
    return std::move(way_);
  }

 private:
  template <typename... Args>
  void error(const char* rule, PhysAddr at, fmt::format_string<Args...> format, Args&&... args) {
    context_.findings.error(rule, at, "device {}: {}: {}", device_name(device_),
                            fmt::format(format, std::forward<Args>(args)...), kTableConsequence);
  }
  IommuDomain* domain() { return device_.domain.has_value() ? &state_.domains[*device_.domain] : nullptr; }

  void check_domain_id() {
    if (device_.domain_id == kReservedDomainId || device_.domain_id > 0xffff)
      error("iommu.domain-id", device_.record, "domain id {}, want 1 to 65535", device_.domain_id);
    if (domain() == nullptr) return;
    const auto [entry, is_new] = unit_.domain_ids.emplace(device_.domain_id, domain());
    if (!is_new && entry->second->top != domain()->top)
      error("iommu.domain-id-shared", device_.record,
            "domain id {} is that of the page tables at {} and at {}: what the IOTLB has of one is taken for the other",
            device_.domain_id, entry->second->top, domain()->top);
  }

  void reserved(PhysAddr at, const char* what, uint64_t bits) {
    if (bits != 0) error("iommu.reserved-bits", at, "its {} has reserved bits {:#x} set", what, bits);
  }

  void legacy_entry() {
    const auto& words = way_.context->words;
    const PhysAddr at = way_.context->at;
    reserved(at, "context entry", (words[0] & kContextReserved0) | (words[1] & kContextReserved1));
    if (ContextTranslation::get(words[0]) == kPassThrough) {
      error("iommu.pass-through", at, "its context entry passes addresses through, untranslated");
      return;
    }
    compare(at, "context entry", Stage::kSecond, words[0] & kAddressMask, ContextWidth::get(words[1]) + 1,
            ContextDomain::get(words[1]));
  }

  void scalable_entry() {
    const auto& words = way_.context->words;
    const PhysAddr at = way_.context->at;
    reserved(at, "context entry", words[0] & kScalableReserved0);
    const PhysAddr directory(words[0] & kAddressMask);
    if (directory.value() != device_.pasid_directory)
      error("iommu.pasid-pointer", at, "its context entry has the PASID directory at {}, its record at {:#x}", directory,
            device_.pasid_directory);
    const uint64_t entries = uint64_t{1} << (ScalableDirectorySize::get(words[0]) + 7);
    if (device_.max_pasid > entries * kPasidTableEntries)
      error("iommu.max-pasid", device_.record, "max_pasid {}, and its directory has room for {}", device_.max_pasid,
            entries * kPasidTableEntries);
    if (!read_directory(directory, entries)) return;
    way_.pasid_number = static_cast<uint32_t>(ScalableRidPasid::get(words[1]));
    if (way_.pasid_number / kPasidTableEntries >= entries) {
      error("iommu.rid-pasid", at, "requests without a PASID have PASID {:#x}, beyond its directory of {} entries",
            way_.pasid_number, entries);
      return;
    }
    way_.pasid_directory = entry_at(context_, directory + way_.pasid_number / kPasidTableEntries * 8, 1);
    if (!way_.pasid_directory.has_value()) return;
    const uint64_t word = way_.pasid_directory->words[0];
    if (PasidPresent::get(word) == 0) {
      error("iommu.pasid-entry", way_.pasid_directory->at, "the directory entry of PASID {} is not present",
            way_.pasid_number);
      return;
    }
    way_.pasid = entry_at(
        context_, PhysAddr((word & kAddressMask) + way_.pasid_number % kPasidTableEntries * sizeof(PasidEntry)), 8);
    if (way_.pasid.has_value()) pasid_entry();
  }

  // All of it is handed over, not only what is on the way.
  bool read_directory(PhysAddr directory, uint64_t entries) {
    const uint64_t pages = std::max<uint64_t>(1, entries * 8 / kPageSize);
    for (uint64_t i = 0; i < pages; ++i) {
      const auto page = read_table(context_, directory + i * kPageSize, "a page of a PASID directory");
      if (!page.has_value()) return false;
      for (uint64_t k = 0; k < std::min(entries, kPageSize / 8); ++k) {
        const auto word = page->as<uint64_t>(k * 8);
        if (PasidPresent::get(word) == 0) continue;
        reserved(page->address + k * 8, "PASID directory", word & kPasidDirectoryReserved);
        (void)read_table(context_, PhysAddr(word & kAddressMask), "a PASID table");
      }
    }
    return true;
  }

  void pasid_entry() {
    const auto& words = way_.pasid->words;
    const PhysAddr at = way_.pasid->at;
    if (PasidPresent::get(words[0]) == 0) {
      error("iommu.pasid-entry", at, "the entry of PASID {} is not present", way_.pasid_number);
      return;
    }
    reserved(at, "PASID entry", words[0] & kPasidReserved0);
    const uint64_t did = PasidDomain::get(words[1]);
    switch (PasidType::get(words[0])) {
      case kFirstStage:
        return compare(at, "PASID entry", Stage::kFirst, words[2] & kAddressMask, PasidFirstStageMode::get(words[2]) + 3, did);
      case kSecondStage:
        return compare(at, "PASID entry", Stage::kSecond, words[0] & kAddressMask, PasidWidth::get(words[0]) + 1, did);
      default:
        error("iommu.pasid-type", at, "its PASID entry is of type {}, want first stage (1) or second (2)",
              PasidType::get(words[0]));
    }
  }

  void compare(PhysAddr at, const char* what, Stage stage, uint64_t top, uint64_t level, uint64_t did) {
    if (did != device_.domain_id)
      error("iommu.domain-id-differs", at, "its {} has domain id {}, its record {}", what, did, device_.domain_id);
    if (domain() == nullptr) return;
    if (top != domain()->top.value())
      error("iommu.table-pointer", at, "its {} has the page table at {:#x}, its domain at {}", what, top, domain()->top);
    if (level != domain()->level)
      error("iommu.table-level", at, "its {} has a top table of level {}, its domain one of level {}", what, level,
            domain()->level);
    if (domain()->stage != Stage::kUnknown && domain()->stage != stage)
      error("iommu.stage", at, "its {} takes the page table for one of the {} stage, that of another device does not", what,
            stage == Stage::kFirst ? "first" : "second");
    else
      domain()->stage = stage;
  }

  Context& context_;
  IommuState& state_;
  IommuDevice& device_;
  UnitTables& unit_;
  Translation way_;
};

}  // namespace

Translation check_device(Context& context, IommuState& state, IommuDevice& device, UnitTables& unit) {
  return Device(context, state, device, unit).check();
}

void read_unit(Context& context, IommuUnit& unit, UnitTables& tables) {
  if (unit.type != static_cast<uint64_t>(iommu::abi::UnitType::kIntel)) return;
  if (tables.root == PhysAddr(0)) {
    tables.root = unit.root_table;
    tables.readable = read_table(context, unit.root_table, "the root table of a unit").has_value();
  } else if (tables.root != unit.root_table) {
    context.findings.error("iommu.unit-twice", unit.record, "the unit at {:#x} has root tables at {} and at {}: {}",
                           unit.registers, tables.root, unit.root_table, kTableConsequence);
    return;
  }
  if (!tables.readable) return;
  for (const uint16_t slot : unit.context_tables) {
    // One table is for a whole bus, in legacy mode: both bits may stand for it.
    const auto half = static_cast<uint16_t>(unit.scalable ? slot & 1 : 0);
    const auto key = static_cast<uint16_t>((slot & ~1) + half);
    if (tables.contexts.contains(key)) continue;
    const auto root = entry_at(context, tables.root + uint64_t{slot} / 2 * sizeof(RootEntry) + half * 8u, 1);
    if (!root.has_value()) return;
    const uint64_t word = root->words[0];
    if (RootPresent::get(word) == 0) {
      context.findings.error("iommu.root-entry", root->at,
                             "the context table of bus {:#04x} is said to be preserved, and its root entry is not present: {}",
                             slot / 2, kTableConsequence);
      continue;
    }
    if ((word & kRootReserved) != 0)
      context.findings.error("iommu.reserved-bits", root->at, "a root entry is {:#x}, with reserved bits set: {}", word,
                             kTableConsequence);
    const PhysAddr table(word & kAddressMask);
    if (read_table(context, table, "a context table").has_value()) tables.contexts.emplace(key, table);
  }
}

}  // namespace causeway::inspect
