// What the files behind map.h share. Private to the room.
//
//   check_direction(device, direction);
//   if (is_direct(device)) direct::sync_for_cpu(...); else if (device.iommu() != nullptr) ...
#pragma once

#include "dma/device.h"
#include "dma/direction.h"
#include "dma/state.h"

namespace causeway::dma {

// BUG(): a driver that does not know who writes the memory must not go on.
[[noreturn, gnu::cold]] void bad_direction(const Device& device, Direction direction);

inline void check_direction(const Device& device, Direction direction) {
  if (!is_valid(direction)) [[unlikely]]
    bad_direction(device, direction);
}

// Neither behind an IOMMU of ours, nor mapped by operations this subsystem does not have.
inline bool is_direct(const Device& device) {
  return device.iommu() == nullptr && !device.traits().iommu;
}

// Syncs do nothing, and dma-debug does not want to see them.
inline bool skips_sync(const Device& device) {
  return device.skip_sync() && device.dma().state().debug == nullptr;
}

}  // namespace causeway::dma
