#include "iommu/pt/vtdss.h"

#include "iommu/pt/page_table_live_update.h"
#include "iommu/pt/page_table_map.h"
#include "iommu/pt/page_table_unmap.h"
#include "iommu/pt/page_table_walk.h"

namespace causeway::iommu {

Result<std::unique_ptr<IoPageTable>> make_vtdss(const PageTableOptions& options) {
  return pt::PageTable<pt::Vtdss>::create(options);
}

}  // namespace causeway::iommu
