#include "inspect/core_writer.h"

#include <elf.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "base/point.h"
#include "inspect/abi/core_note.h"
#include "kho/abi/kho_v4.h"

namespace causeway::inspect {
namespace {

constexpr uint64_t kCopyBytes = MiB(1);

// A run of memory: in the file with its contents, or named alone.
struct Run {
  uint64_t base;
  uint64_t bytes;
  bool contents;
  uint64_t end() const { return base + bytes; }
};

// Sorts, and joins what touches or overlaps.
void merge(std::vector<Run>& runs) {
  std::sort(runs.begin(), runs.end(), [](const Run& a, const Run& b) { return a.base < b.base; });
  std::vector<Run> merged;
  for (const Run& run : runs) {
    if (!merged.empty() && run.base <= merged.back().end())
      merged.back().bytes = std::max(merged.back().end(), run.end()) - merged.back().base;
    else
      merged.push_back(run);
  }
  runs = std::move(merged);
}

// `blocks` without what `pages` covers, and `pages`: both merged.
std::vector<Run> layered(const std::vector<Run>& blocks, const std::vector<Run>& pages) {
  std::vector<Run> result = pages;
  auto page = pages.begin();
  for (const Run& block : blocks) {
    uint64_t from = block.base;
    while (page != pages.end() && page->end() <= from) ++page;
    for (auto cover = page; cover != pages.end() && cover->base < block.end(); ++cover) {
      if (cover->base > from) result.push_back({from, cover->base - from, false});
      from = std::max(from, cover->end());
    }
    if (from < block.end()) result.push_back({from, block.end() - from, false});
  }
  std::sort(result.begin(), result.end(), [](const Run& a, const Run& b) { return a.base < b.base; });
  return result;
}

Status write_at(int fd, const void* data, uint64_t bytes, uint64_t offset) {
  const auto* source = static_cast<const std::byte*>(data);
  while (bytes > 0) {
    const ssize_t done = ::pwrite(fd, source, bytes, static_cast<off_t>(offset));
    if (done < 0 && errno == EINTR) continue;
    if (done <= 0) return fail_with_errno("cannot write the dump");
    source += done;
    offset += static_cast<uint64_t>(done);
    bytes -= static_cast<uint64_t>(done);
  }
  return {};
}

bool is_zero(const std::byte* page) {
  return page[0] == std::byte{0} && std::memcmp(page, page + 1, kPageSize - 1) == 0;
}

// Copies what has contents; pages of zeros stay holes.
Status write_contents(const Memory& memory, const Run& run, int fd, uint64_t offset, uint64_t& written) {
  Status status;
  memory.for_each_extent(PhysAddr(run.base), run.bytes, [&](PhysAddr base, uint64_t bytes) {
    // Extents of a file may begin and end inside a page; runs do not.
    uint64_t from = std::max(align_down(base.value(), kPageSize), run.base);
    const uint64_t to = std::min(align_up(base.value() + bytes, kPageSize), run.end());
    std::vector<std::byte> buffer;
    while (from < to && status.has_value()) {
      const uint64_t piece = std::min(kCopyBytes, to - from);
      uint64_t used = 0;
      buffer.resize(piece);
      for (uint64_t at = 0; at < piece; at += kPageSize) {
        const std::byte* page = memory.at(PhysAddr(from + at), kPageSize);
        const bool skip = page == nullptr || is_zero(page);
        if (!skip) {
          std::memcpy(buffer.data() + used, page, kPageSize);
          used += kPageSize;
        }
        if ((skip || at + kPageSize == piece) && used > 0) {
          const uint64_t end = skip ? at : at + kPageSize;
          status = write_at(fd, buffer.data(), used, offset + (from - run.base) + end - used);
          if (!status.has_value()) return false;
          written += used;
          used = 0;
        }
      }
      from += piece;
    }
    return status.has_value();
  });
  return status;
}

std::vector<std::byte> make_note(const CoreSource& source, CoreContents contents) {
  abi::CoreNote note{.version = abi::kCoreNoteVersion,
                     .flags = contents == CoreContents::kMetadataOnly ? abi::kCoreMetadataOnly : 0,
                     .fdt_addr = source.fdt.value(),
                     .fdt_size = source.fdt_size,
                     .scratch_addr = source.scratch_addr.value(),
                     .scratch_size = source.scratch_size,
                     .generation = source.generation,
                     .ram_count = static_cast<uint32_t>(source.ram.size())};
  std::memcpy(note.release, source.release.data(), std::min(source.release.size(), sizeof note.release - 1));

  const uint64_t payload = sizeof note + source.ram.size() * sizeof(kho::abi::ScratchEntry);
  const Elf64_Nhdr header{.n_namesz = sizeof abi::kCoreNoteName,
                          .n_descsz = static_cast<Elf64_Word>(payload),
                          .n_type = abi::kCoreNoteType};
  std::vector<std::byte> bytes(sizeof header + align_up(sizeof abi::kCoreNoteName, 4) + payload);
  std::byte* out = bytes.data();
  std::memcpy(out, &header, sizeof header);
  out += sizeof header;
  std::memcpy(out, abi::kCoreNoteName, sizeof abi::kCoreNoteName);
  out += align_up(sizeof abi::kCoreNoteName, 4);
  std::memcpy(out, &note, sizeof note);
  out += sizeof note;
  for (const mm::MemRange& range : source.ram) {
    const kho::abi::ScratchEntry entry{range.base.value(), range.size};
    std::memcpy(out, &entry, sizeof entry);
    out += sizeof entry;
  }
  return bytes;
}

Elf64_Ehdr make_header(uint64_t program_headers) {
  Elf64_Ehdr header{};
  std::memcpy(header.e_ident, ELFMAG, SELFMAG);
  header.e_ident[EI_CLASS] = ELFCLASS64;
  header.e_ident[EI_DATA] = ELFDATA2LSB;
  header.e_ident[EI_VERSION] = EV_CURRENT;
  header.e_type = ET_CORE;
  header.e_machine = EM_X86_64;
  header.e_version = EV_CURRENT;
  header.e_ehsize = sizeof(Elf64_Ehdr);
  header.e_phentsize = sizeof(Elf64_Phdr);
  header.e_phoff = sizeof(Elf64_Ehdr);
  header.e_phnum = static_cast<Elf64_Half>(program_headers);
  if (program_headers >= PN_XNUM) {
    // The number is in the first section header, which lies between.
    header.e_phnum = PN_XNUM;
    header.e_shoff = sizeof(Elf64_Ehdr);
    header.e_shnum = 1;
    header.e_shentsize = sizeof(Elf64_Shdr);
    header.e_phoff += sizeof(Elf64_Shdr);
  }
  return header;
}

}  // namespace

CoreSource core_source(const platform::Handover& handover, std::vector<mm::MemRange> ram) {
  return {.fdt = handover.fdt_addr,
          .fdt_size = handover.fdt_size,
          .scratch_addr = handover.scratch_addr,
          .scratch_size = handover.scratch_size,
          .generation = handover.generation,
          .release = handover.release,
          .ram = std::move(ram)};
}

Result<CoreSummary> write_core(const Memory& memory, const CoreSource& source, int fd, CoreContents contents) {
  CoreSummary summary;
  std::vector<Run> structure, blocks;
  Options options;
  options.fdt = source.fdt;
  options.hints.scratch_addr = source.scratch_addr;
  options.hints.scratch_size = source.scratch_size;
  options.max_files = options.max_folios = 0;  // only what it leads to is of interest
  options.on_structure_page = [&](PhysAddr page) { structure.push_back({page.value(), kPageSize, true}); };
  options.on_tree = [&](const Tree& tree) {
    tree.for_each_block([&](const kho::Block& block) {
      const uint64_t base = block.pfn.address().value(), bytes = block.order.bytes();
      uint64_t end = 0;
      if (!checked_add(base, bytes, &end)) return true;
      // Neighbours of one order come one after the other.
      if (!blocks.empty() && blocks.back().end() == base)
        blocks.back().bytes += bytes;
      else
        blocks.push_back({base, bytes, contents == CoreContents::kEverything});
      return true;
    });
  };
  const Report report = decode(memory, options);
  if (report.fdt_bytes == 0) return fail(EINVAL, "no root FDT of a handover at that address");
  summary.problems = report.findings.problems();
  summary.structure_pages = structure.size();
  summary.preserved_bytes = report.map.bytes;
  if (source.scratch_size > 0) {
    const uint64_t first = align_down(source.scratch_addr.value(), kPageSize);
    const uint64_t last = source.scratch_addr.value() + std::min<uint64_t>(source.scratch_size, MiB(1)) - 1;
    structure.push_back({first, align_down(last, kPageSize) + kPageSize - first, true});
  }
  merge(structure);
  merge(blocks);
  std::vector<Run> runs;
  if (contents == CoreContents::kEverything) {
    runs = std::move(blocks);
    runs.insert(runs.end(), structure.begin(), structure.end());
    merge(runs);
  } else {
    runs = layered(blocks, structure);
  }
  CW_POINT("inspect.core.before_write");

  const std::vector<std::byte> note = make_note(source, contents);
  const Elf64_Ehdr header = make_header(runs.size() + 1);
  const uint64_t note_offset = header.e_phoff + (runs.size() + 1) * sizeof(Elf64_Phdr);
  uint64_t offset = align_up(note_offset + note.size(), kPageSize);
  std::vector<Elf64_Phdr> segments;
  segments.reserve(runs.size() + 1);
  segments.push_back({.p_type = PT_NOTE, .p_offset = note_offset, .p_filesz = note.size(), .p_align = 4});
  for (const Run& run : runs) {
    segments.push_back({.p_type = PT_LOAD,
                        .p_flags = PF_R | PF_W,
                        .p_offset = offset,
                        .p_paddr = run.base,
                        .p_filesz = run.contents ? run.bytes : 0,
                        .p_memsz = run.bytes,
                        .p_align = kPageSize});
    if (run.contents && !checked_add(offset, run.bytes, &offset)) return fail(EFBIG, "the dump is larger than any file");
  }
  constexpr uint64_t kMaxOffset = uint64_t{1} << 62;
  if (offset > kMaxOffset) return fail(EFBIG, "the dump is larger than any file");

  for (size_t i = 0; i < runs.size(); ++i)
    if (runs[i].contents) CW_TRY(write_contents(memory, runs[i], fd, segments[i + 1].p_offset, summary.written_bytes));
  if (::ftruncate(fd, static_cast<off_t>(offset)) != 0) return fail_with_errno("cannot size the dump");
  CW_TRY(write_at(fd, segments.data(), segments.size() * sizeof(Elf64_Phdr), header.e_phoff));
  CW_TRY(write_at(fd, note.data(), note.size(), note_offset));
  if (header.e_phnum == PN_XNUM) {
    const Elf64_Shdr first{.sh_type = SHT_NULL, .sh_info = static_cast<Elf64_Word>(segments.size())};
    CW_TRY(write_at(fd, &first, sizeof first, header.e_shoff));
  }
  CW_POINT("inspect.core.before_header");
  // Last: a dump that was cut short is no ELF file.
  CW_TRY(write_at(fd, &header, sizeof header, 0));
  summary.segments = runs.size();
  summary.file_bytes = offset;
  return summary;
}

}  // namespace causeway::inspect
