// What the bus says about a PCI function, as the core wants it.
//
//   Device* nic = CW_TRY(core.probe_device(describe(function)));
#pragma once

#include "iommu/device.h"
#include "platform/pci.h"

namespace causeway::iommu {

// Reads its capabilities; switches of the result work on the function itself. Segment 0, the machine's only one.
DeviceInfo describe(const platform::PciFunction& function);

}  // namespace causeway::iommu
