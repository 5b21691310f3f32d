// Where the next kernel finds the standing carrier: a KHO subtree whose blob is the IommuFlbSer.
//
//   CW_TRY(publish_standing(kho, CW_TRY(live_update.create(Carrier::kStanding))));    // before kho.commit()
//
//   if (auto where = find_standing(kho)) CW_TRY(live_update.retrieve(Carrier::kStanding, *where));
#pragma once

#include "base/result.h"
#include "base/types.h"
#include "kho/kho.h"

namespace causeway::iommu {

// Errors of Kho::add_subtree().
Status publish_standing(kho::Kho& kho, PhysAddr where);
// Before the arrays are destroyed.
void unpublish_standing(kho::Kho& kho, PhysAddr where);
// ENOENT: not a KHO boot, or the old kernel had none; EBADMSG: its blob cannot be one; EINVAL: it is not preserved.
Result<PhysAddr> find_standing(const kho::Kho& kho);

}  // namespace causeway::iommu
