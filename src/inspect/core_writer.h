// Writes a standing handover as an ELF core: what the inspector, crash or gdb can read.
//
//   CoreSource source{.fdt = handover.fdt_addr, .fdt_size = 4096, .scratch_addr = ..., .release = "7.3.4", .ram = ram};
//   CoreSummary summary = CW_TRY(write_core(memory, source, fd, {}));
//
// One PT_LOAD, by physical address, per run of memory that is preserved or that a structure of the handover lies in (tree
// nodes, FDT, blobs, LUO and DMA records, scratch array); and the note of abi/core_note.h. Pages of zeros are
// holes of the file. A metadata-only dump leaves out the contents of preserved memory no structure lies in: their PT_LOADs
// have no bytes in the file, so everything is the same in a report but the printable heads of files.
//
// Memory: 24 bytes per run, 56 per program header. The source may change meanwhile; what is written is what was
// there when it was reached.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/types.h"
#include "inspect/decode.h"
#include "inspect/memory.h"
#include "mm/boot_memory.h"
#include "platform/mailbox.h"

namespace causeway::inspect {

struct CoreSource {
  PhysAddr fdt;
  uint64_t fdt_size = kPageSize;
  PhysAddr scratch_addr;
  uint64_t scratch_size = 0;  // bytes of the array, 0: none
  uint32_t generation = 0;
  std::string release;
  std::vector<mm::MemRange> ram;  // all of it; empty: not known
};

// Of the handover that stands in a machine's mailbox.
CoreSource core_source(const platform::Handover& handover, std::vector<mm::MemRange> ram);

enum class CoreContents : uint8_t { kEverything, kMetadataOnly };

struct CoreSummary {
  uint64_t segments = 0;
  uint64_t file_bytes = 0;     // length of the file, holes included
  uint64_t written_bytes = 0;
  uint64_t structure_pages = 0;
  uint64_t preserved_bytes = 0;
  uint64_t problems = 0;       // that decoding it found
};

// `fd`: a regular file, empty. Errors: those of write(2); EINVAL: there is no FDT at the address.
Result<CoreSummary> write_core(const Memory& memory, const CoreSource& source, int fd, CoreContents contents);

}  // namespace causeway::inspect
