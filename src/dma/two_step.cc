#include "dma/two_step.h"

#include "dma/debug/debug.h"
#include "dma/iommu/iommu_dma.h"
#include "dma/map_dispatch.h"
#include "dma/state.h"

namespace causeway::dma {

bool iova_try_alloc(Device& device, IovaState& state, PhysAddr phys, uint64_t size) {
  state = {};
  return device.iommu() != nullptr && device.iommu()->try_alloc(device, state, phys, size);
}

Status iova_link(Device& device, IovaState& state, PhysAddr phys, uint64_t offset, uint64_t size, Direction direction,
                 Attr attrs) {
  check_direction(device, direction);
  if (device.iommu() == nullptr) return fail(EOPNOTSUPP, "the device is not behind an IOMMU");
  CW_TRY(device.iommu()->link(device, state, phys, offset, size, direction, attrs));
  if (Debug* debug = device.dma().state().debug.get())
    debug->link(device, phys, size, direction, state.address + offset, attrs);
  return {};
}

Status iova_sync(Device& device, IovaState& state, uint64_t offset, uint64_t size) {
  if (device.iommu() == nullptr) return fail(EOPNOTSUPP, "the device is not behind an IOMMU");
  return device.iommu()->sync(device, state, offset, size);
}

void iova_unlink(Device& device, IovaState& state, uint64_t offset, uint64_t size, Direction direction, Attr attrs) {
  check_direction(device, direction);
  if (device.iommu() == nullptr) return;
  device.iommu()->unlink(device, state, offset, size, direction, attrs);
  if (Debug* debug = device.dma().state().debug.get())
    debug->unlink(device, state.address + offset, size, direction, attrs);
}

void iova_free(Device& device, IovaState& state) {
  if (device.iommu() != nullptr) device.iommu()->free(device, state);
}

void iova_destroy(Device& device, IovaState& state, uint64_t mapped, Direction direction, Attr attrs) {
  if (mapped != 0) iova_unlink(device, state, 0, mapped, direction, attrs);
  iova_free(device, state);
}

}  // namespace causeway::dma
