#include "iommu/liveupdate/standing.h"

#include "iommu/abi/iommu_v1.h"

namespace causeway::iommu {

namespace {

void* blob_at(kho::Kho& kho, PhysAddr where) {
  return kho.map().direct_map().to_virt<void>(where);
}

}  // namespace

Status publish_standing(kho::Kho& kho, PhysAddr where) {
  return kho.add_subtree(abi::kCompatible, blob_at(kho, where), sizeof(abi::IommuFlbSer));
}

void unpublish_standing(kho::Kho& kho, PhysAddr where) {
  kho.remove_subtree(blob_at(kho, where));
}

Result<PhysAddr> find_standing(const kho::Kho& kho) {
  const kho::Subtree found = CW_TRY(kho.retrieve_subtree(abi::kCompatible));
  // A larger one has fields that this version does not know; its version will say so.
  if (found.size < sizeof(abi::IommuFlbSer) || !found.phys.is_aligned(kPageSize))
    return fail(EBADMSG, "the standing carrier's blob is too small, or not at the beginning of a page");
  return found.phys;
}

}  // namespace causeway::iommu
