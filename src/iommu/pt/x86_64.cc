#include "iommu/pt/x86_64.h"

#include "iommu/pt/page_table_live_update.h"
#include "iommu/pt/page_table_map.h"
#include "iommu/pt/page_table_unmap.h"
#include "iommu/pt/page_table_walk.h"

namespace causeway::iommu {

Result<std::unique_ptr<IoPageTable>> make_x86_64(const PageTableOptions& options) {
  return pt::PageTable<pt::X86_64>::create(options);
}

}  // namespace causeway::iommu
