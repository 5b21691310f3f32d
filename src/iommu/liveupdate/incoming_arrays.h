// Reads what another kernel has left, which is not trusted, and changes nothing.
//
//   IncomingArrays arrays = CW_TRY(read_arrays(pages, where));
//   for (PhysAddr page : arrays.chains[0]) ...             // unit arrays, in the order they are linked
//
// Checked is what anybody goes by without a check of his own: that every page of the chains is preserved and in one chain
// once; counts; unknown flags and types; that no two records are of one unit, one domain's tables, or one device; that what a
// record names is a record of the right kind, live, and from its beginning; ranges of ids, geometry and alignment. Not
// checked: the tables behind the records, which whoever restores them checks.
#pragma once

#include <array>
#include <optional>
#include <vector>

#include "base/result.h"
#include "iommu/iommu_pages.h"
#include "iommu/liveupdate/record_kind.h"

namespace causeway::iommu {

struct IncomingArrays {
  std::array<std::vector<PhysAddr>, kRecordKinds> chains;
};

// ENOENT: a page was not preserved, or it was restored before; EPROTONOSUPPORT: another version; EBADMSG: damaged;
// EOPNOTSUPP: there is no handover. The message says what and why; the log says where.
Result<IncomingArrays> read_arrays(IommuPages& pages, PhysAddr where);

// Which of the `count` records of an array's page begins at `phys`.
std::optional<uint64_t> index_in(PhysAddr page, RecordKind kind, uint64_t count, uint64_t phys);

}  // namespace causeway::iommu
