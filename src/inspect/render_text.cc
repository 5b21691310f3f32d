#include <fmt/format.h>

#include <algorithm>

#include "inspect/render_iommu.h"
#include "memfd/abi/memfd_v2.h"

namespace causeway::inspect {
namespace {

constexpr size_t kShownRuns = 8;
constexpr size_t kShownFiles = 64;
constexpr size_t kShownSessions = 256;

template <typename... Args>
void line(std::string& out, unsigned indent, fmt::format_string<Args...> format, Args&&... args) {
  out.append(indent * 2, ' ');
  out += fmt::format(format, std::forward<Args>(args)...);
  out += '\n';
}

const char* plural(uint64_t n) { return n == 1 ? "" : "s"; }

std::string shown(const Item& item) {
  if (const auto* text = std::get_if<std::string>(&item.value)) return *text;
  const auto* number = std::get_if<uint64_t>(&item.value);
  if (number == nullptr) return "";
  switch (item.show) {
    case Item::Show::kAddress:
      return fmt::format("{:#x}", *number);
    case Item::Show::kBytes:
      return human_size(*number);
    case Item::Show::kNumber:
      break;
  }
  return fmt::format("{}", *number);
}

// One line for a record whose fields have no fields of their own.
std::string in_a_line(const std::vector<Item>& items) {
  std::string text;
  for (const Item& item : items) text += fmt::format("{}{} {}", text.empty() ? "" : ", ", item.name, shown(item));
  return text;
}

void header(std::string& out, const Report& report, const TextOptions& options) {
  line(out, 0, "image      {}{}{}, {}{}, {} page{} with contents", options.name, options.name.empty() ? "" : ": ",
       report.kind, report.file_bytes > 0 ? human_size(report.file_bytes) : "of a running machine",
       report.compressed ? " compressed" : "", report.image_pages, plural(report.image_pages));
  if (report.metadata_only) line(out, 0, "           metadata only: contents of preserved memory were left out");
  if (!report.fdt_phys.has_value()) return;
  line(out, 0, "handover   \"{}\", root FDT at {} ({} bytes), found by {}", report.compatible, *report.fdt_phys,
       report.fdt_bytes, report.fdt_found_by);
  if (report.candidates.size() > 1) {
    for (const Candidate& candidate : report.candidates)
      line(out, 0, "  candidate at {}: \"{}\", {} block{}{}{}", candidate.fdt, candidate.compatible, candidate.entries,
           plural(candidate.entries), candidate.intact ? "" : ", its map does not decode",
           candidate.fdt == *report.fdt_phys ? " (shown; --fdt chooses)" : "");
  }
  if (report.kexec_metadata.has_value())
    line(out, 0, "kexec      number {} in a row, the kernel before was \"{}\"", report.kexec_metadata->kexec_count,
         report.kexec_metadata->previous_release);
}

void memory_map(std::string& out, const Report& report) {
  const Tree::Stats& map = report.map;
  line(out, 0, "");
  line(out, 0, "preserved memory: {} in {} block{}; map at {}, {} node page{}, {} of them leaves", human_size(map.bytes),
       map.blocks, plural(map.blocks), report.map_root, map.nodes, plural(map.nodes), map.leaves);
  if (map.blocks > 0) line(out, 1, "{:>5} {:>10} {:>12} {:>12}", "order", "each", "blocks", "total");
  for (unsigned order = 0; order < kOrders; ++order) {
    const uint64_t blocks = map.by_order[order];
    if (blocks == 0) continue;
    uint64_t total = 0;
    const bool fits = order < 64 - kPageShift && !__builtin_mul_overflow(blocks, kPageSize << order, &total);
    line(out, 1, "{:>5} {:>10} {:>12} {:>12}", order, order < 64 - kPageShift ? human_size(kPageSize << order) : "-",
         blocks, fits ? human_size(total) : "-");
  }
  if (report.format == kho::Format::kTyped) line(out, 1, "{} of them split: every page counted by itself", map.split);
  for (const mm::MemRange& area : report.scratch)
    line(out, 1, "scratch {}..{:#x}, {}", area.base, area.base.value() + area.size - 1, human_size(area.size));
}

void subtrees(std::string& out, const Report& report) {
  line(out, 0, "");
  line(out, 0, "subtrees: {}", report.subtrees.size());
  for (const Subtree& subtree : report.subtrees) {
    line(out, 1, "{} at {}, {} bytes{}{}", subtree.name, subtree.phys, subtree.size, subtree.format.empty() ? "" : ", ",
         subtree.format);
    std::vector<Item> simple;
    for (const Item& item : subtree.fields)
      if (item.children.empty()) simple.push_back(item);
    if (!simple.empty()) line(out, 2, "{}", in_a_line(simple));
    for (const Item& item : subtree.fields) {
      if (item.children.empty()) continue;
      const std::string value = shown(item);
      line(out, 2, "{}{}{}: {}", item.name, value.empty() ? "" : " ", value, in_a_line(item.children));
    }
  }
}

void memfd(std::string& out, const Memfd& memfd, const TextOptions& options) {
  line(out, 3, "{} ({} bytes), position {}, seals {}, {} folio{}", human_size(memfd.size), memfd.size, memfd.pos,
       seal_names(memfd.seals), memfd.nr_folios, plural(memfd.nr_folios));
  const size_t count = options.all ? memfd.runs.size() : std::min(memfd.runs.size(), kShownRuns);
  for (size_t i = 0; i < count; ++i) {
    const FolioRun& run = memfd.runs[i];
    const uint64_t pages = run.folios * run.pages_each();
    const uint64_t base = run.pfn << kPageShift;
    line(out, 4, "pages {}..{} at {:#x}..{:#x}, {} folio{} {}{}", run.index, run.index + (pages - 1), base,
         base + ((pages << kPageShift) - 1), run.folios, plural(run.folios),
         run.order.has_value() ? fmt::format("of order {}", *run.order) : "not preserved",
         run.flags == (memfd::abi::kFolioDirty | memfd::abi::kFolioUptodate) ? ""
                                                                             : fmt::format(", flags {:#x}", run.flags));
  }
  if (const uint64_t more = memfd.runs.size() - count + memfd.runs_omitted; more > 0)
    line(out, 4, "... and {} more run{}", more, plural(more));
  if (!memfd.folios.empty() && memfd.folios.front().head.has_value() && !memfd.folios.front().head->empty())
    line(out, 4, "starts with \"{}\"", *memfd.folios.front().head);
}

void luo(std::string& out, const Luo& luo, const TextOptions& options) {
  line(out, 0, "");
  line(out, 0, "LUO \"{}\", live update number {}: {} session{}, {} FLB{}", luo.compatible, luo.liveupdate_num,
       luo.sessions.size(), plural(luo.sessions.size()), luo.flbs.size(), plural(luo.flbs.size()));
  const size_t sessions = options.all ? luo.sessions.size() : std::min(luo.sessions.size(), kShownSessions);
  for (size_t i = 0; i < sessions; ++i) {
    const Session& session = luo.sessions[i];
    line(out, 1, "session \"{}\": {} file{}", session.name, session.count, plural(session.count));
    const size_t files = options.all ? session.files.size() : std::min(session.files.size(), kShownFiles);
    for (size_t k = 0; k < files; ++k) {
      const File& file = session.files[k];
      line(out, 2, "token {:#x}: {}, data {:#x}", file.token, file.compatible, file.data);
      if (file.memfd.has_value()) memfd(out, *file.memfd, options);
    }
    if (const uint64_t more = session.files.size() - files + session.files_omitted; more > 0)
      line(out, 2, "... and {} more file{}", more, plural(more));
  }
  if (sessions < luo.sessions.size()) line(out, 1, "... and {} more sessions", luo.sessions.size() - sessions);
  for (const Flb& flb : luo.flbs)
    line(out, 1, "FLB \"{}\": data {:#x}, {} file{} depend{} on it", flb.name, flb.data, flb.count, plural(flb.count),
         flb.count == 1 ? "s" : "");
}

void findings(std::string& out, const Report& report) {
  const Findings& all = report.findings;
  line(out, 0, "");
  if (all.problems() == 0)
    line(out, 0, "no problems");
  else
    line(out, 0, "problems: {}", all.problems());
  auto print = [&](const Finding& finding) {
    line(out, 1, "{} [{}]{}: {}", name_of(finding.severity), finding.rule,
         finding.address.has_value() ? fmt::format(" at {}", *finding.address) : "", finding.text);
  };
  for (const Finding& finding : all.list())
    if (finding.severity != Severity::kNote) print(finding);
  for (const Finding& finding : all.list())
    if (finding.severity == Severity::kNote) print(finding);
  if (all.dropped() > 0) line(out, 1, "... and {} more", all.dropped());
}

}  // namespace

std::string human_size(uint64_t bytes) {
  constexpr const char* kUnits[] = {"bytes", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
  if (bytes == 1) return "1 byte";
  unsigned unit = 0;
  while (unit + 1 < std::size(kUnits) && bytes >> 10 * (unit + 1) != 0) ++unit;
  if (unit == 0 || (bytes & ((uint64_t{1} << 10 * unit) - 1)) == 0)
    return fmt::format("{} {}", bytes >> 10 * unit, kUnits[unit]);
  return fmt::format("{:.1f} {}", static_cast<double>(bytes) / static_cast<double>(uint64_t{1} << 10 * unit),
                     kUnits[unit]);
}

std::string seal_names(uint32_t seals) {
  constexpr const char* kNames[] = {"SEAL", "SHRINK", "GROW", "WRITE", "FUTURE_WRITE", "EXEC"};
  std::string text;
  for (unsigned bit = 0; bit < std::size(kNames); ++bit)
    if ((seals >> bit & 1) != 0) text += fmt::format("{}{}", text.empty() ? "" : "|", kNames[bit]);
  if (const uint32_t rest = seals & ~((1u << std::size(kNames)) - 1); rest != 0)
    text += fmt::format("{}{:#x}", text.empty() ? "" : "|", rest);
  return text.empty() ? "none" : text;
}

std::string render_text(const Report& report, const TextOptions& options) {
  std::string out;
  header(out, report, options);
  if (report.translation.has_value()) {
    out += translation_text(report, options);
  } else if (report.fdt_phys.has_value()) {
    memory_map(out, report);
    subtrees(out, report);
    if (report.luo.has_value()) luo(out, *report.luo, options);
    out += iommu_text(report, options);
  }
  findings(out, report);
  return out;
}

}  // namespace causeway::inspect
