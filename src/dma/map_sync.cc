#include "dma/debug/debug.h"
#include "dma/direct_map.h"
#include "dma/iommu/iommu_dma.h"
#include "dma/map.h"
#include "dma/map_dispatch.h"
#include "dma/state.h"

namespace causeway::dma {

void sync_single_for_cpu(Device& device, DmaAddr address, size_t size, Direction direction) {
  check_direction(device, direction);
  if (skips_sync(device)) return;
  Dma::State& state = device.dma().state();
  if (is_direct(device))
    direct::sync_for_cpu(state, device, address, size, direction);
  else if (device.iommu() != nullptr)
    device.iommu()->sync_single_for_cpu(device, address, size, direction);
  if (state.debug != nullptr) state.debug->sync_single_for_cpu(device, address, size, direction);
}

void sync_single_for_device(Device& device, DmaAddr address, size_t size, Direction direction) {
  check_direction(device, direction);
  if (skips_sync(device)) return;
  Dma::State& state = device.dma().state();
  if (is_direct(device))
    direct::sync_for_device(state, device, address, size, direction);
  else if (device.iommu() != nullptr)
    device.iommu()->sync_single_for_device(device, address, size, direction);
  if (state.debug != nullptr) state.debug->sync_single_for_device(device, address, size, direction);
}

void sync_single_range_for_cpu(Device& device, DmaAddr address, uint64_t offset, size_t size, Direction direction) {
  sync_single_for_cpu(device, DmaAddr(address.value() + offset), size, direction);
}

void sync_single_range_for_device(Device& device, DmaAddr address, uint64_t offset, size_t size, Direction direction) {
  sync_single_for_device(device, DmaAddr(address.value() + offset), size, direction);
}

void sync_sg_for_cpu(Device& device, std::span<ScatterEntry> list, Direction direction) {
  check_direction(device, direction);
  if (skips_sync(device)) return;
  Dma::State& state = device.dma().state();
  if (is_direct(device))
    direct::sync_sg_for_cpu(state, device, list, direction);
  else if (device.iommu() != nullptr)
    device.iommu()->sync_sg_for_cpu(device, list, direction);
  if (state.debug != nullptr) state.debug->sync_sg_for_cpu(device, list, direction);
}

void sync_sg_for_device(Device& device, std::span<ScatterEntry> list, Direction direction) {
  check_direction(device, direction);
  if (skips_sync(device)) return;
  Dma::State& state = device.dma().state();
  if (is_direct(device))
    direct::sync_sg_for_device(state, device, list, direction);
  else if (device.iommu() != nullptr)
    device.iommu()->sync_sg_for_device(device, list, direction);
  if (state.debug != nullptr) state.debug->sync_sg_for_device(device, list, direction);
}

bool need_sync(const Device& device, DmaAddr address) {
  if (skips_sync(device)) return false;
  if (!is_direct(device)) return true;
  return !device.traits().coherent || direct::is_bounced(device.dma().state(), device, address);
}

bool need_unmap(const Device& device) {
  return !is_direct(device) || !skips_sync(device);
}

}  // namespace causeway::dma
