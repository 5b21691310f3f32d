#include "iommu/pt/amdv1.h"

#include "iommu/pt/page_table_live_update.h"
#include "iommu/pt/page_table_map.h"
#include "iommu/pt/page_table_unmap.h"
#include "iommu/pt/page_table_walk.h"

namespace causeway::iommu {

Result<std::unique_ptr<IoPageTable>> make_amdv1(const PageTableOptions& options) {
  return pt::PageTable<pt::Amdv1>::create(options);
}

Result<std::unique_ptr<IoPageTable>> make_amdv1_mock(const PageTableOptions& options) {
  return pt::PageTable<pt::Amdv1Mock>::create(options);
}

}  // namespace causeway::iommu
