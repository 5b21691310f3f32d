// Walks the page table of a domain, as the IOMMU would. Private to this room.
//
//   walk_domain(context, domain, [&](const Leaf& leaf) { ... });     // ascending
#pragma once

#include <functional>
#include <optional>

#include "inspect/context.h"
#include "inspect/iommu_report.h"

namespace causeway::inspect {

struct Leaf {
  uint64_t iova = 0;
  uint64_t phys = 0;
  unsigned level = 0;
  bool read = false, write = false;
  uint64_t bytes() const { return kPageSize << 9 * level; }
};

// Fills in stage, if it is not known, and the counts of `domain`; findings: tables that are not preserved, in scratch or used
// twice, reserved bits. Each table is read once.
void walk_domain(Context& context, IommuDomain& domain, const std::function<void(const Leaf&)>& visit);

// A page of a table that hardware reads: Context::follow(), and that it is not in scratch.
std::optional<PageCopy> read_table(Context& context, PhysAddr page, const char* what);

// What is made of a handover whose tables cannot be trusted.
inline constexpr const char* kTableConsequence = "the device cannot be taken over, and is translated by what is there";

}  // namespace causeway::inspect
