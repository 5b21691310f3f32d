// Which of the two kinds of page table a domain has: the second stage, which every unit can walk, or the first stage, in
// the processor's format, in scalable mode alone.
#pragma once

#include <cstdint>
#include <memory>

#include "base/result.h"
#include "iommu/driver.h"
#include "iommu/pt/io_page_table.h"
#include "iommu/vtd/capabilities.h"

namespace causeway::iommu::vtd {

enum class Stage : uint8_t { kFirst, kSecond };

// What a paging domain is made of, whatever its stage.
struct Format {
  Stage stage = Stage::kSecond;
  unsigned address_bits = 48;
  uint64_t page_sizes = KiB(4);
  bool coherent = true;        // the hardware snoops its walks
  bool dirty_tracking = false; // the domain was asked to be able to
  bool nest_parent = false;
  bool forced_snoop = false;
};

// What a domain for devices of a unit is to be (spec 3.1): the first stage where there is one, unless `flags` need the second.
// EOPNOTSUPP: a flag, or the unit has neither.
Result<Format> choose_format(const Capabilities& caps, bool scalable, uint32_t flags);
// The largest of a stage that the unit walks.
Result<Format> format_of(Stage stage, const Capabilities& caps);
// Can a unit walk it? EINVAL with the reason.
Status check_compatible(const Format& format, const Capabilities& caps, bool scalable);

Result<std::unique_ptr<IoPageTable>> make_table(const Format& format, IommuPages& pages, IoPageTable::Hooks hooks);

}  // namespace causeway::iommu::vtd
