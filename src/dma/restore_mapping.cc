// Streaming maps that a predecessor made and a device still uses.

#include <algorithm>

#include "dma/debug/debug.h"
#include "dma/iommu/iommu_dma.h"
#include "dma/map.h"
#include "dma/map_dispatch.h"
#include "dma/state.h"
#include "dma/two_step.h"

namespace causeway::dma {

Status restore_mapping(Device& device, DmaAddr address, size_t size, Direction direction, Attr attrs) {
  check_direction(device, direction);
  if (device.iommu() == nullptr) return fail(EOPNOTSUPP, "the device is not behind an IOMMU");
  CW_TRY(device.iommu()->claim(address, size, direction));
  Debug* debug = device.dma().state().debug.get();
  if (debug == nullptr) return {};
  // All of it was mapped a moment ago.
  PhysAddr phys = device.iommu()->domain().iova_to_phys(Iova(address.value())).value_or(PhysAddr{0});
  debug->map_phys(device, phys, size, direction, address, attrs);
  // The predecessor has looked whether it failed.
  debug->mapping_error(device, address);
  return {};
}

Status iova_restore(Device& device, IovaState& state, DmaAddr address, uint64_t size, Direction direction, Attr attrs) {
  check_direction(device, direction);
  state = {};
  if (device.iommu() == nullptr) return fail(EOPNOTSUPP, "the device is not behind an IOMMU");
  if ((size & IovaState::kUsedSwiotlb) != 0) return fail(EINVAL, "a bounced mapping cannot be restored");
  CW_TRY(device.iommu()->claim(address, size, direction));
  state.address = address;
  state.size_and_flag = size;
  Debug* debug = device.dma().state().debug.get();
  if (debug == nullptr) return {};
  // One piece for each run of memory: how it was linked nobody has written down.
  const iommu::Domain& domain = device.iommu()->domain();
  const uint64_t granule = device.iommu()->merge_boundary() + 1;
  auto at = [&](uint64_t offset) {
    return domain.iova_to_phys(Iova(address.value() + offset)).value_or(PhysAddr{0});
  };
  for (uint64_t done = 0; done < size;) {
    const PhysAddr phys = at(done);
    uint64_t end = align_down(address.value() + done, granule) + granule - address.value();
    while (end < size && at(end) == phys + (end - done)) end += granule;
    end = std::min(end, size);
    debug->link(device, phys, end - done, direction, address + done, attrs);
    done = end;
  }
  return {};
}

}  // namespace causeway::dma
