#include "iommu/pci_device.h"

#include <fmt/format.h>

namespace causeway::iommu {

DeviceInfo describe(const platform::PciFunction& function) {
  DeviceInfo info;
  info.bdf = function.bdf();
  info.name = fmt::format("0000:{}", function.bdf());
  info.ats_queue_depth = function.ats_queue_depth();
  info.ats = info.ats_queue_depth != 0;
  info.pasid_bits = function.pasid_bits();
  info.set_ats = [f = function](bool on) mutable { (void)f.set_ats(on); };
  info.set_pasid = [f = function](bool on) mutable { (void)f.set_pasid(on); };
  return info;
}

}  // namespace causeway::iommu
