// The entries of one device in its unit's tables: written, cleared, and flushed as the specification asks for (spec 2.5).
#pragma once

#include "iommu/vtd/vtd_domain.h"

namespace causeway::iommu::vtd {

// Scalable mode: the device's PASID table, and the context entries that lead to it. ENOMEM, errors of IommuPages::preserve().
Status set_up_pasids(VtdDevice& device);
void tear_down_pasids(VtdDevice& device);

// The device is blocked. Afterwards it is translated, or still blocked.
Status program(VtdDevice& device, VtdDomain& domain);
// Not translated any more, and nothing of it is cached. Nothing if it is blocked.
void block(VtdDevice& device);

// The same for one address space of a device. EBUSY: the entry is there.
Status program_pasid(VtdDevice& device, Pasid pasid, VtdDomain& domain);
void block_pasid(VtdDevice& device, Pasid pasid);

// After restore: everything but the entries themselves.
void adopt_entries(VtdDevice& device, VtdDomain& domain, DomainId id);
void forget_entries(VtdDevice& device);

}  // namespace causeway::iommu::vtd
