#include "inspect/elf_core.h"

#include <elf.h>

#include <algorithm>
#include <cstring>

#include "inspect/abi/core_note.h"
#include "kho/abi/kho_v4.h"

namespace causeway::inspect {
namespace {

using Bytes = std::span<const std::byte>;

// The part of [offset, offset + size) that lies in the file.
Bytes clamped(Bytes file, uint64_t offset, uint64_t size) {
  if (offset >= file.size()) return {};
  return file.subspan(offset, std::min<uint64_t>(size, file.size() - offset));
}

template <typename T>
bool read(Bytes bytes, uint64_t offset, T& value) {
  if (bytes.size() < sizeof value || offset > bytes.size() - sizeof value) return false;
  std::memcpy(&value, bytes.data() + offset, sizeof value);
  return true;
}

void read_our_note(Bytes payload, ElfCore& core, Findings& findings) {
  abi::CoreNote note;
  if (!read(payload, 0, note)) {
    findings.warning("file.note-size", std::nullopt, "the Causeway note has {} bytes, want {}: it is ignored",
                     payload.size(), sizeof note);
    return;
  }
  if (note.version != abi::kCoreNoteVersion) {
    findings.warning("file.note-version", std::nullopt, "the Causeway note is of version {}, want {}: it is ignored",
                     note.version, abi::kCoreNoteVersion);
    return;
  }
  core.hints.fdt = PhysAddr(note.fdt_addr);
  core.hints.scratch_addr = PhysAddr(note.scratch_addr);
  core.hints.scratch_size = note.scratch_size;
  core.hints.generation = note.generation;
  core.hints.metadata_only = (note.flags & abi::kCoreMetadataOnly) != 0;
  core.hints.release.assign(note.release, strnlen(note.release, sizeof note.release));
  for (uint32_t i = 0; i < note.ram_count; ++i) {
    kho::abi::ScratchEntry entry;
    if (!read(payload, sizeof note + uint64_t{i} * sizeof entry, entry)) {
      findings.warning("file.note-ram", std::nullopt,
                       "the Causeway note lists {} RAM ranges and holds {}: what is RAM is not known", note.ram_count, i);
      core.ram.clear();
      return;
    }
    core.ram.push_back({PhysAddr(entry.addr), entry.size});
  }
}

void read_notes(Bytes notes, ElfCore& core, Findings& findings) {
  uint64_t offset = 0;
  Elf64_Nhdr header;
  while (read(notes, offset, header)) {
    const uint64_t name = offset + sizeof header;
    const uint64_t payload = name + align_up(header.n_namesz, 4);
    const uint64_t end = payload + align_up(header.n_descsz, 4);
    if (payload + header.n_descsz > notes.size()) {
      findings.warning("file.note-cut", std::nullopt, "a note of {} bytes goes beyond its segment", header.n_descsz);
      return;
    }
    if (header.n_type == abi::kCoreNoteType && header.n_namesz == sizeof abi::kCoreNoteName &&
        std::memcmp(notes.data() + name, abi::kCoreNoteName, sizeof abi::kCoreNoteName) == 0)
      read_our_note(notes.subspan(payload, header.n_descsz), core, findings);
    offset = end;
  }
}

}  // namespace

bool is_elf(Bytes bytes) { return bytes.size() >= SELFMAG && std::memcmp(bytes.data(), ELFMAG, SELFMAG) == 0; }

Result<ElfCore> parse_elf_core(Bytes bytes, int fd, Findings& findings) {
  Elf64_Ehdr header;
  if (!read(bytes, 0, header)) return fail(ENOEXEC, "elf: the file ends inside its header");
  if (header.e_ident[EI_CLASS] != ELFCLASS64 || header.e_ident[EI_DATA] != ELFDATA2LSB)
    return fail(ENOEXEC, "elf: not 64-bit little-endian");
  if (header.e_type != ET_CORE) return fail(ENOEXEC, "elf: not a core file");
  if (header.e_phentsize != sizeof(Elf64_Phdr)) return fail(ENOEXEC, "elf: program headers of another size than 56 bytes");
  uint64_t count = header.e_phnum;
  if (count == PN_XNUM) {
    Elf64_Shdr first;
    if (!read(bytes, header.e_shoff, first))
      return fail(ENOEXEC, "elf: the number of program headers is in a section header that is not there");
    count = first.sh_info;
  }
  if (header.e_phoff > bytes.size() || count > (bytes.size() - header.e_phoff) / sizeof(Elf64_Phdr)) {
    const uint64_t there =
        header.e_phoff > bytes.size() ? 0 : (bytes.size() - header.e_phoff) / sizeof(Elf64_Phdr);
    findings.error("file.headers-cut", std::nullopt, "{} program headers at offset {:#x}, the file holds {}", count,
                   header.e_phoff, there);
    count = there;
  }
  if (count == 0) return fail(ENOEXEC, "elf: no program headers");

  ElfCore core;
  for (uint64_t i = 0; i < count; ++i) {
    Elf64_Phdr segment;
    if (!read(bytes, header.e_phoff + i * sizeof segment, segment)) break;
    const Bytes contents = clamped(bytes, segment.p_offset, segment.p_filesz);
    if (segment.p_type == PT_NOTE) {
      read_notes(contents, core, findings);
      continue;
    }
    if (segment.p_type != PT_LOAD) continue;
    // Mapped, but nowhere in physical memory: how a dump says "address unknown".
    if (segment.p_paddr == ~uint64_t{0}) continue;
    if (contents.size() < segment.p_filesz)
      findings.error("file.truncated", PhysAddr(segment.p_paddr),
                     "the segment of {} bytes at file offset {:#x} goes beyond the end of the file at {:#x}",
                     segment.p_filesz, segment.p_offset, bytes.size());
    if (segment.p_filesz > segment.p_memsz)
      findings.warning("file.segment-size", PhysAddr(segment.p_paddr),
                       "a segment has {} bytes in the file and {} in memory: the rest is ignored", segment.p_filesz,
                       segment.p_memsz);
    core.segments.push_back({.base = PhysAddr(segment.p_paddr),
                             .ram_bytes = segment.p_memsz,
                             .content_bytes = contents.size(),
                             .data = contents.data(),
                             .fd = fd,
                             .fd_offset = segment.p_offset});
  }
  return core;
}

}  // namespace causeway::inspect
