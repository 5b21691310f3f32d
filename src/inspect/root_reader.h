// The root FDT of an untrusted image: found, checked, and its properties. Private to this room.
//
//   auto candidates = find_roots(memory, limit);
//   Root root = read_root(memory, fdt, findings);
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/types.h"
#include "inspect/finding.h"
#include "inspect/memory.h"
#include "inspect/report.h"
#include "kho/key.h"

namespace causeway::inspect {

struct Root {
  uint64_t bytes = 0;       // in use; 0: not an FDT
  std::string compatible;
  kho::Format format = kho::Format::kV4;
  PhysAddr map_root;        // 0: none
  std::vector<Subtree> subtrees;  // well-formed ones, in FDT order
};

// Reads as much as it can; every broken rule is a finding.
Root read_root(const Memory& memory, PhysAddr fdt, Findings& findings);

// Page-aligned addresses that hold an FDT of a handover, the most likely first: its map decodes, then more kexecs,
// then the lower address. At most `limit`; holes of a sparse file are skipped.
std::vector<Candidate> find_roots(const Memory& memory, size_t limit);

// The value of an 8-byte property, host-endian. nullopt: missing, or of another length.
std::optional<uint64_t> fdt_u64(const void* fdt, int node, const char* name);

}  // namespace causeway::inspect
