#include "iommu/pt/table_store.h"

#include <utility>

#include "base/point.h"
#include "base/warn_once.h"

namespace causeway::iommu::pt {

Result<uint64_t*> TableStore::make() {
  if (frozen()) return fail(EBUSY, "the page table keeps its shape until the handover is committed");
  CW_FAIL_POINT("iommu.pt.make_table");
  uint64_t* table = CW_TRY(pages_.allocate(kOrder0, mm::kGfpAtomic));
  flush(table, kPageSize);
  // Before anybody can find it: this kernel may end right after it was linked.
  if (preserving()) {
    if (Status kept = preserve(table); !kept) {
      pages_.free(table);
      return fail(kept.error());
    }
    CW_POINT("iommu.pt.make_table.preserved");
  }
  return table;
}

void TableStore::flush_and_free(Iova iova, uint64_t size, FreeList&& freed) {
  Gather gather;
  gather.add(iova, size);
  gather.freed = std::move(freed);
  if (hooks_.sync) hooks_.sync(gather);
  CW_POINT("iommu.pt.before_free");
  pages_.free(gather.freed);
}

Status TableStore::preserve(uint64_t* table) {
  CW_FAIL_POINT("iommu.pt.preserve_table");
  return pages_.preserve(table);
}

Status TableStore::restore(PhysAddr table) {
  CW_FAIL_POINT("iommu.pt.restore_table");
  CW_TRY(pages_.restore(table, kOrder0));
  return {};
}

Status refuse_access(const char* format, uint32_t prot) {
  CW_WARN_ONCE("iommu", "{}: a mapping with access {} is refused", format, describe_prot(prot));
  return fail(EINVAL, "a mapping without access, or with access that the format does not have");
}

}  // namespace causeway::iommu::pt
