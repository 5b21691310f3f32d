#include "inspect/iommu_decoder.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>
#include <utility>

#include "inspect/iommu_tables.h"

namespace causeway::inspect {
namespace {

// Where the memory behind one device's addresses belongs; one walk of the tree for each block, up to a limit.
class Ranges {
 public:
  Ranges(Context& context, Translation& translation) : context_(context), translation_(translation) {}

  void add(const Leaf& leaf) {
    const MappedRange::Memory memory = memory_of(leaf.phys, leaf.bytes());
    if (memory == MappedRange::Memory::kNotPreserved) translation_.unpreserved_bytes += leaf.bytes();
    std::vector<MappedRange>& ranges = translation_.ranges;
    if (!ranges.empty() && translation_.ranges_omitted == 0) {
      MappedRange& last = ranges.back();
      if (last.iova + last.bytes == leaf.iova && last.phys + last.bytes == leaf.phys && last.read == leaf.read &&
          last.write == leaf.write && last.memory == memory) {
        last.bytes += leaf.bytes();
        ++last.leaves[leaf.level];
        return;
      }
    }
    if (ranges.size() >= context_.options.max_ranges) {
      ++translation_.ranges_omitted;
      return;
    }
    ranges.push_back({leaf.iova, leaf.phys, leaf.bytes(), leaf.read, leaf.write, {}, memory});
    ++ranges.back().leaves[leaf.level];
  }

 private:
  MappedRange::Memory memory_of(uint64_t phys, uint64_t bytes) {
    using enum MappedRange::Memory;
    if (context_.memory.ram_is_known() && !context_.memory.is_ram(PhysAddr(phys), bytes)) return kNotRam;
    for (const uint64_t end = phys + bytes; phys < end;) {
      if (lookups_ == 0) return kUnchecked;
      --lookups_;
      const auto block = context_.tree.block_at(Pfn(phys >> kPageShift));
      if (!block.has_value()) return kNotPreserved;
      if (block->order.value() >= 40) break;
      phys = block->pfn.address().value() + block->order.bytes();
    }
    return kPreserved;
  }

  Context& context_;
  Translation& translation_;
  uint64_t lookups_ = uint64_t{1} << 22;
};

class Decoder {
 public:
  explicit Decoder(Context& context) : context_(context), states_(context.report.iommu) {}

  void run() {
    uint64_t budget = context_.options.max_iommu_records;
    for (const IommuCarrier& carrier : context_.iommu_carriers) {
      IommuState state{.carrier = carrier.name, .phys = carrier.phys, .units = {}, .domains = {}, .devices = {}};
      if (IommuRecords(context_, state, budget).read(carrier.size)) states_.push_back(std::move(state));
    }
    // A device's mode is said by its own record, a unit's by any device of it.
    for (IommuState& state : states_)
      for (IommuUnit& unit : state.units)
        if (unit.scalable) scalable_.insert(unit.registers);
    for (IommuState& state : states_) read_units(state);
    for (size_t i = 0; i < states_.size(); ++i) check_devices(i);
    for (size_t i = 0; i < states_.size(); ++i) walk_domains(i);
    for (const IommuState& state : states_)
      if (state.omitted > 0)
        context_.findings.note("iommu.unchecked", state.phys, "{} records beyond the first {} are not looked at",
                               state.omitted, context_.options.max_iommu_records);
    warn_of_unpreserved();
  }

 private:
  void read_units(IommuState& state) {
    std::set<uint64_t> seen;  // a second record has nothing more to say
    for (IommuUnit& unit : state.units) {
      unit.scalable = scalable_.contains(unit.registers);
      if (!seen.insert(unit.registers).second)
        context_.findings.error("iommu.unit-twice", unit.record, "two records are of the unit at {:#x}: {}", unit.registers,
                                kTableConsequence);
      else
        read_unit(context_, unit, units_[unit.registers]);
    }
  }

  void check_devices(size_t index) {
    IommuState& state = states_[index];
    for (size_t i = 0; i < state.devices.size(); ++i) {
      IommuDevice& device = state.devices[i];
      if (!devices_.insert({device.segment, device.bdf.value()}).second)
        context_.findings.error("iommu.device-twice", device.record, "two records are of device {}: {}", device_name(device),
                                kTableConsequence);
      const bool selected = is_selected(device);
      if (!device.unit.has_value()) {
        if (selected && !context_.report.translation.has_value()) select({}, index, i);
        continue;
      }
      Translation way = check_device(context_, state, device, units_[state.units[*device.unit].registers]);
      if (selected && !context_.report.translation.has_value()) select(std::move(way), index, i);
    }
  }
  bool is_selected(const IommuDevice& device) const {
    const auto& wanted = context_.options.device;
    return wanted.has_value() && wanted->segment == device.segment && wanted->bdf == device.bdf;
  }
  void select(Translation way, size_t state, size_t device) {
    way.state = state;
    way.device = device;
    context_.report.translation = std::move(way);
  }

  void walk_domains(size_t index) {
    IommuState& state = states_[index];
    auto& shown = context_.report.translation;
    for (size_t i = 0; i < state.domains.size(); ++i) {
      std::optional<Ranges> ranges;
      if (shown.has_value() && shown->state == index && state.devices[shown->device].domain == i)
        ranges.emplace(context_, *shown);
      walk_domain(context_, state.domains[i], [&](const Leaf& leaf) {
        if (ranges.has_value()) ranges->add(leaf);
      });
    }
  }

  void warn_of_unpreserved() {
    const auto& shown = context_.report.translation;
    if (!shown.has_value() || shown->unpreserved_bytes == 0) return;
    const IommuDevice& device = states_[shown->state].devices[shown->device];
    context_.findings.warning("iommu.memory-not-preserved", device.record,
                              "device {} reaches {} bytes of memory that are not preserved: the next kernel gives them to "
                              "others while the device can still write to them",
                              device_name(device), shown->unpreserved_bytes);
  }

  Context& context_;
  std::vector<IommuState>& states_;
  std::map<uint64_t, UnitTables> units_;  // by register base
  std::set<uint64_t> scalable_;
  std::set<std::pair<uint64_t, uint16_t>> devices_;
};

}  // namespace

uint64_t IommuDomain::table_pages() const {
  uint64_t pages = 0;
  for (uint64_t of_level : tables) pages += of_level;
  return pages;
}

const char* name_of(MappedRange::Memory memory) {
  switch (memory) {
    case MappedRange::Memory::kPreserved:
      return "preserved";
    case MappedRange::Memory::kNotPreserved:
      return "not preserved";
    case MappedRange::Memory::kNotRam:
      return "not RAM";
    case MappedRange::Memory::kUnchecked:
      return "not checked";
  }
  return "?";
}

std::string device_name(const IommuDevice& device) {
  return device.segment == 0 ? fmt::format("{}", device.bdf) : fmt::format("{:04x}:{}", device.segment, device.bdf);
}

void decode_iommu(Context& context) {
  if (!context.iommu_carriers.empty()) Decoder(context).run();
}

}  // namespace causeway::inspect
