// The ELF note that a dump made by Causeway carries: where the handover is, so that nobody has to search.
//
//   PT_NOTE: name "Causeway", type kCoreNoteType, payload CoreNote, then ram_count x kho::abi::ScratchEntry
//
// Host-endian (little). A reader takes a payload that is longer than it knows.
#pragma once

#include <cstddef>
#include <cstdint>

namespace causeway::inspect::abi {

inline constexpr char kCoreNoteName[] = "Causeway";
inline constexpr uint32_t kCoreNoteType = 0x314f484b;  // "KHO1"
inline constexpr uint32_t kCoreNoteVersion = 1;

// Contents of preserved memory that no structure lies in were left out: their segments have no bytes in the file.
inline constexpr uint32_t kCoreMetadataOnly = 1u << 0;

struct CoreNote {
  uint32_t version;
  uint32_t flags;          // kCore*
  uint64_t fdt_addr;       // physical
  uint64_t fdt_size;       // bytes, as the boot protocol says
  uint64_t scratch_addr;   // of the array of scratch areas
  uint64_t scratch_size;   // bytes of that array
  uint32_t generation;     // of the kernel that published the handover, 0: not known
  uint32_t ram_count;      // {addr, size} pairs behind this structure: all RAM of the machine. 0: not known
  char release[64];        // of the kernel that published it, NUL-terminated
};
static_assert(sizeof(CoreNote) == 112 && offsetof(CoreNote, scratch_addr) == 24);
static_assert(offsetof(CoreNote, ram_count) == 44 && offsetof(CoreNote, release) == 48);

}  // namespace causeway::inspect::abi
