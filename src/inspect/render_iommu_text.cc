#include <fmt/format.h>

#include <algorithm>

#include "hw/vtd.h"
#include "iommu/abi/iommu_v1.h"
#include "inspect/render_iommu.h"

namespace causeway::inspect {
namespace {

constexpr size_t kShownRecords = 64;

template <typename... Args>
void line(std::string& out, unsigned indent, fmt::format_string<Args...> format, Args&&... args) {
  out.append(indent * 2, ' ');
  out += fmt::format(format, std::forward<Args>(args)...);
  out += '\n';
}

std::string count(uint64_t n, const char* noun) { return fmt::format("{} {}{}", n, noun, n == 1 ? "" : "s"); }

constexpr const char* kLeafSizes[] = {"4 KiB", "2 MiB", "1 GiB"};

std::string leaf_counts(const std::array<uint64_t, kLeafLevels>& leaves) {
  std::string text;
  for (unsigned level = 0; level < kLeafLevels; ++level)
    if (leaves[level] > 0)
      text += fmt::format("{}{} x {}", text.empty() ? "" : ", ", leaves[level], kLeafSizes[level]);
  return text.empty() ? "nothing mapped" : text;
}

std::string unit_type(uint64_t type) {
  return type == static_cast<uint64_t>(iommu::abi::UnitType::kIntel) ? "VT-d" : fmt::format("type {}", type);
}

void unit(std::string& out, const IommuUnit& unit) {
  line(out, 1, "unit {:#x}: {}, {} mode, root table {}, {} preserved, {}", unit.registers, unit_type(unit.type),
       unit.scalable ? "scalable" : "legacy", unit.root_table, count(unit.context_tables.size(), "context table"),
       count(unit.users, "user"));
}

void domain(std::string& out, const IommuDomain& domain) {
  line(out, 1, "domain {}: {} stage, {} levels, {} bits{}, top {}; {}: {}; {}", domain.record, name_of(domain.stage),
       domain.level + 1, domain.vasz, domain.sign_extend ? " sign-extended" : "", domain.top,
       human_size(domain.mapped_bytes), leaf_counts(domain.leaves), count(domain.table_pages(), "table page"));
}

void device(std::string& out, const IommuState& state, const IommuDevice& device) {
  std::string text = fmt::format("device {}: domain id {}, domain {:#x}", device_name(device), device.domain_id,
                                 device.domain_phys);
  text += device.unit.has_value() ? fmt::format(", unit {:#x}", state.units[*device.unit].registers)
                                  : fmt::format(", unit record {:#x}", device.unit_phys);
  if (device.pasid_directory != 0)
    text += fmt::format(", PASID directory {:#x}, max_pasid {}", device.pasid_directory, device.max_pasid);
  text += device.owner_token != 0 ? fmt::format(", owner token {:#x}", device.owner_token) : ", of a kernel driver";
  line(out, 1, "{}", text);
}

template <typename Record, typename Show>
void list(std::string& out, const std::vector<Record>& records, const TextOptions& options, const char* noun, Show show) {
  const size_t shown = options.all ? records.size() : std::min(records.size(), kShownRecords);
  for (size_t i = 0; i < shown; ++i) show(records[i]);
  if (shown < records.size()) line(out, 1, "... and {}", count(records.size() - shown, noun));
}

// A box of lines, and what leads on from it.
class Picture {
 public:
  explicit Picture(std::string& out) : out_(out) {}
  void box(const std::vector<std::string>& lines) {
    size_t width = 58;
    for (const std::string& text : lines) width = std::max(width, text.size());
    const std::string edge = "  +" + std::string(width + 2, '-') + "+\n";
    out_ += edge;
    for (const std::string& text : lines) out_ += fmt::format("  | {:<{}} |\n", text, width);
    out_ += edge;
  }
  void arrow(const std::string& label) { out_ += fmt::format("      |\n      |  {}\n      v\n", label); }
  void broken(const std::string& why) { out_ += fmt::format("      |\n      x  {}\n", why); }

 private:
  std::string& out_;
};

// What the entries say.
std::string present(uint64_t word, const std::string& text) { return hw::vtd::RootPresent::get(word) != 0 ? text : "not present"; }

std::string root_says(const Translation::Entry& entry) {
  return present(entry.words[0], fmt::format("context table {:#x}", entry.words[0] & hw::vtd::kAddressMask));
}
std::string context_says(const Translation::Entry& entry, bool scalable) {
  using namespace hw::vtd;
  const uint64_t word = entry.words[0];
  if (scalable)
    return present(word, fmt::format("PASID directory {:#x} of {} entries", word & kAddressMask,
                                     uint64_t{1} << (ScalableDirectorySize::get(word) + 7)));
  if (ContextTranslation::get(word) == kPassThrough) return present(word, "passes addresses through");
  return present(word, fmt::format("domain id {}, page table {:#x}, {} levels", ContextDomain::get(entry.words[1]),
                                   word & kAddressMask, ContextWidth::get(entry.words[1]) + 2));
}
std::string pasid_says(const Translation::Entry& entry) {
  using namespace hw::vtd;
  const uint64_t did = PasidDomain::get(entry.words[1]);
  switch (PasidType::get(entry.words[0])) {
    case kFirstStage:
      return present(entry.words[0],
                     fmt::format("domain id {}, first stage, page table {:#x}", did, entry.words[2] & kAddressMask));
    case kSecondStage:
      return present(entry.words[0],
                     fmt::format("domain id {}, second stage, page table {:#x}", did, entry.words[0] & kAddressMask));
    default:
      return present(entry.words[0], fmt::format("domain id {}, type {}", did, PasidType::get(entry.words[0])));
  }
}

std::string words_of(const Translation::Entry& entry) {
  std::string text;
  for (size_t i = 0; i < entry.words.size(); ++i)
    if (i < 2 || entry.words[i] != 0) text += fmt::format("{}{:#x}", text.empty() ? "" : " ", entry.words[i]);
  return text;
}

void page_table(std::string& out, const IommuDomain& domain) {
  const auto top = static_cast<unsigned>(std::min<uint64_t>(domain.level, kTableLevels - 1));
  for (unsigned depth = 0; depth <= top; ++depth) {
    const unsigned level = top - depth;
    if (domain.tables[level] == 0 && depth > 0) continue;
    std::string holds;
    if (domain.links[level] > 0) holds = fmt::format("{} to a table", count(domain.links[level], "link"));
    if (level < kLeafLevels && domain.leaves[level] > 0)
      holds += fmt::format("{}{} x {}", holds.empty() ? "" : ", ", domain.leaves[level], kLeafSizes[level]);
    const std::string branch = depth == 0 ? "" : std::string((depth - 1) * 3, ' ') + "`- ";
    line(out, 2, "{}level {}: {}{}{}", branch, level, count(domain.tables[level], "table"), holds.empty() ? "" : ": ", holds);
  }
}

void ranges(std::string& out, const Translation& way, const TextOptions& options) {
  const size_t rows = options.all ? way.ranges.size() : std::min(way.ranges.size(), options.max_ranges);
  line(out, 0, "");
  if (rows == 0) {
    line(out, 1, "nothing is mapped");
    return;
  }
  line(out, 1, "{:<39}  {:>9}    {:<18}  {:<6}  {:<24}  {}", "addresses of the device", "size", "memory", "access", "leaves",
       "handed over");
  for (size_t i = 0; i < rows; ++i) {
    const MappedRange& range = way.ranges[i];
    line(out, 1, "{:<39}  {:>9} -> {:<18}  {:<6}  {:<24}  {}", fmt::format("{:#x}..{:#x}", range.iova, range.iova + (range.bytes - 1)),
         human_size(range.bytes), fmt::format("{:#x}", range.phys),
         fmt::format("{}{}", range.read ? "r" : "-", range.write ? "w" : "-"), leaf_counts(range.leaves), name_of(range.memory));
  }
  if (const uint64_t more = way.ranges.size() - rows + way.ranges_omitted; more > 0)
    line(out, 1, "... and {} more range{}", more, more == 1 ? "" : "s");
  if (way.unpreserved_bytes > 0)
    line(out, 1, "warning: {} of it not preserved: the next kernel gives this memory to others", human_size(way.unpreserved_bytes));
}

}  // namespace

const char* name_of(Stage stage) {
  return stage == Stage::kFirst ? "first" : stage == Stage::kSecond ? "second" : "unknown";
}

std::string iommu_text(const Report& report, const TextOptions& options) {
  std::string out;
  for (const IommuState& state : report.iommu) {
    line(out, 0, "");
    line(out, 0, "IOMMU of the {} \"{}\" at {}: {}, {}, {}; deleted {}, {}, {}", state.carrier, iommu::abi::kCompatible,
         state.phys, count(state.units.size(), "unit"), count(state.domains.size(), "domain"),
         count(state.devices.size(), "device"), state.deleted_units, state.deleted_domains, state.deleted_devices);
    list(out, state.units, options, "more unit", [&](const IommuUnit& one) { unit(out, one); });
    list(out, state.domains, options, "more domain", [&](const IommuDomain& one) { domain(out, one); });
    list(out, state.devices, options, "more device", [&](const IommuDevice& one) { device(out, state, one); });
    if (state.omitted > 0) line(out, 1, "... and {} that are not looked at", count(state.omitted, "record"));
  }
  return out;
}

std::string translation_text(const Report& report, const TextOptions& options) {
  const Translation& way = *report.translation;
  const IommuState& state = report.iommu[way.state];
  const IommuDevice& device = state.devices[way.device];
  const IommuUnit* unit = device.unit.has_value() ? &state.units[*device.unit] : nullptr;
  const bool scalable = device.pasid_directory != 0;
  std::string out;
  line(out, 0, "");
  line(out, 0, "device {}, {} mode, domain id {}, from the {}", device_name(device), scalable ? "scalable" : "legacy",
       device.domain_id, state.carrier);
  line(out, 0, "");
  Picture picture(out);
  if (unit == nullptr) {
    picture.broken("its unit's record is not in the image");
    return out;
  }
  picture.box({fmt::format("unit {:#x}, {}", unit->registers, unit_type(unit->type)),
               fmt::format("root table {}", unit->root_table)});
  if (!way.root.has_value()) {
    picture.broken("the root table cannot be read");
    return out;
  }
  const unsigned devfn = device.bdf.value() & 0xff;
  picture.arrow(scalable ? fmt::format("bus {:#04x}, {} half", device.bdf.bus(), devfn < 0x80 ? "lower" : "upper")
                         : fmt::format("bus {:#04x}", device.bdf.bus()));
  picture.box({fmt::format("root entry at {}: {}", way.root->at, words_of(*way.root)), root_says(*way.root)});
  if (!way.context.has_value()) {
    picture.broken("its context table is not there");
    return out;
  }
  picture.arrow(fmt::format("devfn {:#04x}", devfn));
  picture.box({fmt::format("{} context entry at {}: {}", scalable ? "scalable" : "legacy", way.context->at,
                           words_of(*way.context)),
               context_says(*way.context, scalable)});
  if (scalable) {
    if (!way.pasid_directory.has_value() || !way.pasid.has_value()) {
      picture.broken("its PASID entry is not there");
      return out;
    }
    picture.arrow(fmt::format("requests without a PASID: PASID {}", way.pasid_number));
    picture.box({fmt::format("PASID directory entry at {}: {}", way.pasid_directory->at, words_of(*way.pasid_directory)),
                 fmt::format("PASID entry at {}: {}", way.pasid->at, words_of(*way.pasid)), pasid_says(*way.pasid)});
  }
  if (!device.domain.has_value()) {
    picture.broken("its domain's record is not in the image");
    return out;
  }
  const IommuDomain& domain = state.domains[*device.domain];
  picture.arrow(fmt::format("{} stage, {} levels", name_of(domain.stage), domain.level + 1));
  picture.box({fmt::format("page table {}, {} bits{}", domain.top, domain.vasz, domain.sign_extend ? ", sign-extended" : ""),
               fmt::format("{} mapped, {}", human_size(domain.mapped_bytes), count(domain.table_pages(), "table page"))});
  page_table(out, domain);
  ranges(out, way, options);
  return out;
}

}  // namespace causeway::inspect
