#include "inspect/decode.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "base/point.h"
#include "inspect/context.h"
#include "inspect/decoders.h"
#include "inspect/iommu_decoder.h"
#include "inspect/root_reader.h"

namespace causeway::inspect {
namespace {

constexpr size_t kMaxCandidates = 16;

std::vector<mm::MemRange> read_scratch(const Memory& memory, const Hints& hints, Findings& findings) {
  using kho::abi::ScratchEntry;
  std::vector<mm::MemRange> scratch;
  const PhysAddr array = hints.scratch_addr;
  if (hints.scratch_size == 0) return scratch;
  if (hints.scratch_size % sizeof(ScratchEntry) != 0 || hints.scratch_size > kho::kMaxScratch * sizeof(ScratchEntry)) {
    findings.error("scratch.size", array, "the scratch array has {} bytes, want 1 to {} entries of {}",
                   hints.scratch_size, kho::kMaxScratch, sizeof(ScratchEntry));
    return scratch;
  }
  const std::byte* source = memory.at(array, hints.scratch_size);
  if (source == nullptr) {
    findings.error("scratch.not-in-image", array, "the image does not hold the scratch array");
    return scratch;
  }
  for (uint64_t offset = 0; offset < hints.scratch_size; offset += sizeof(ScratchEntry)) {
    ScratchEntry entry;
    std::memcpy(&entry, source + offset, sizeof entry);
    const mm::MemRange area{PhysAddr(entry.addr), entry.size};
    uint64_t end = 0;
    if (area.size == 0 || !area.base.is_aligned(kPageSize) || !is_aligned(area.size, kPageSize) ||
        !checked_add(entry.addr, entry.size, &end)) {
      findings.error("scratch.area", area.base, "a scratch area of {:#x} bytes is empty, not page aligned, or wraps",
                     area.size);
      continue;
    }
    if (memory.ram_is_known() && !memory.is_ram(area.base, area.size))
      findings.error("scratch.not-ram", area.base, "a scratch area of {:#x} bytes is not in RAM", area.size);
    for (const mm::MemRange& other : scratch)
      if (area.base < other.end() && other.base < area.end())
        findings.error("scratch.overlap", area.base, "a scratch area overlaps the one at {}", other.base);
    scratch.push_back(area);
  }
  return scratch;
}

// Whether the FDT lies where the next kernel may write.
void check_fdt_page(const Tree& tree, const Report& report, Findings& findings) {
  const PhysAddr fdt = *report.fdt_phys;
  if (!tree.is_preserved(fdt, kPageSize))
    findings.warning("fdt.not-preserved", fdt, "the page of the root FDT is not preserved itself");
  for (const mm::MemRange& area : report.scratch)
    if (area.base <= fdt && fdt < area.end())
      findings.error("fdt.in-scratch", fdt, "the root FDT lies in scratch at {}: the next kernel's boot memory overwrites it",
                     area.base);
}

std::optional<PhysAddr> choose_fdt(const Memory& memory, const Options& options, Report& report) {
  if (options.fdt.has_value()) {
    report.fdt_found_by = "option";
    return options.fdt;
  }
  if (options.hints.fdt.has_value()) {
    report.fdt_found_by = "note";
    return options.hints.fdt;
  }
  report.fdt_found_by = "search";
  report.candidates = find_roots(memory, kMaxCandidates);
  if (report.candidates.empty()) {
    report.findings.error("fdt.none", std::nullopt,
                          "no root FDT of a handover is in the image: give its address with --fdt, or it holds none");
    return std::nullopt;
  }
  return report.candidates.front().fdt;
}

}  // namespace

Options options_for(const ImageFile& image) {
  Options options;
  options.hints = image.hints();
  options.kind = name_of(image.kind());
  options.file_bytes = image.file_bytes();
  options.compressed = image.compressed();
  options.file_findings = &image.findings();
  return options;
}

Report decode(const Memory& memory, const Options& options) {
  Report report;
  report.findings = Findings(options.max_findings);
  report.kind = options.kind;
  report.file_bytes = options.file_bytes;
  report.compressed = options.compressed;
  report.metadata_only = options.hints.metadata_only;
  report.image_pages = memory.content_bytes() >> kPageShift;
  if (options.file_findings != nullptr) report.findings.append(*options.file_findings);

  report.fdt_phys = choose_fdt(memory, options, report);
  report.scratch = read_scratch(memory, options.hints, report.findings);
  if (!report.fdt_phys.has_value()) return report;
  Root root = read_root(memory, *report.fdt_phys, report.findings);
  CW_POINT("inspect.decode.after_root");
  report.fdt_bytes = root.bytes;
  report.compatible = std::move(root.compatible);
  report.format = root.format;
  report.map_root = root.map_root;
  report.subtrees = std::move(root.subtrees);

  Tree tree(memory, root.format, options.tree);
  if (root.map_root != PhysAddr(0)) tree.read(root.map_root, report.findings);
  tree.check_blocks(report.scratch, report.findings);
  CW_POINT("inspect.decode.after_tree");
  report.map = tree.stats();
  report.work += tree.stats().nodes;
  if (root.bytes > 0) check_fdt_page(tree, report, report.findings);
  if (options.on_structure_page)
    for (PhysAddr node : tree.nodes()) options.on_structure_page(node);

  Context context(memory, tree, options, report);
  if (root.bytes > 0) (void)context.claim(report.fdt_phys->aligned_down(kPageSize), "the root FDT");
  for (Subtree& subtree : report.subtrees) decode_subtree(context, subtree);
  decode_iommu(context);
  context.check_folios();
  if (options.on_tree) options.on_tree(tree);
  return report;
}

}  // namespace causeway::inspect
