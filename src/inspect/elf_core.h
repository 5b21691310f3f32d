// The segments and our note of an ELF core file. Private to this room.
//
//   ElfCore core = CW_TRY(parse_elf_core(bytes, fd, findings));
#pragma once

#include <span>
#include <vector>

#include "base/result.h"
#include "inspect/finding.h"
#include "inspect/image_file.h"
#include "inspect/memory.h"

namespace causeway::inspect {

struct ElfCore {
  std::vector<Segment> segments;
  Hints hints;
  std::vector<mm::MemRange> ram;  // empty: not known
};

bool is_elf(std::span<const std::byte> bytes);
// ENOEXEC: not a 64-bit little-endian core, or its program headers do not lie in the file.
Result<ElfCore> parse_elf_core(std::span<const std::byte> bytes, int fd, Findings& findings);

}  // namespace causeway::inspect
