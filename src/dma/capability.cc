#include <algorithm>
#include <bit>

#include "dma/direct_map.h"
#include "dma/iommu/iommu_dma.h"
#include "dma/map.h"
#include "dma/map_dispatch.h"
#include "dma/state.h"

namespace causeway::dma {

namespace {

// All ones up to the top bit of `address`.
uint64_t mask_covering(uint64_t address) {
  return bit_mask(static_cast<unsigned>(std::max<int>(1, std::bit_width(address))));
}

// The highest bus address of RAM the device could be given; 0: none of it is behind a window.
uint64_t highest_bus_address(const Device& device) {
  Dma::State& state = device.dma().state();
  Attr attrs = device.traits().force_unencrypted ? Attr::kCcShared : Attr::kNone;
  uint64_t highest = 0;
  auto consider = [&](PhysAddr phys) {
    if (auto address = direct::bus_address(state.config, device, phys, 1, attrs))
      highest = std::max(highest, address->value());
  };
  for (PfnRange ram : state.allocator.ram()) {
    PhysAddr last = ram.end.address() - 1;
    consider(last);
    for (const BusWindow& window : device.bus_windows()) {
      PhysAddr window_last = window.cpu_start + (window.size - 1);
      if (ram.begin.address() <= window_last) consider(std::min(last, window_last));
    }
  }
  return highest;
}

bool has_ram_outside_windows(const Device& device) {
  if (device.bus_windows().empty()) return false;
  for (PfnRange ram : device.dma().state().allocator.ram()) {
    // From window to window: the first byte that is in none.
    PhysAddr next = ram.begin.address();
    bool moved = true;
    while (moved && next < ram.end.address()) {
      moved = false;
      for (const BusWindow& window : device.bus_windows()) {
        if (next < window.cpu_start || next - window.cpu_start >= window.size) continue;
        uint64_t left = window.size - (next - window.cpu_start);
        if (left >= ram.end.address() - next) {
          next = ram.end.address();
        } else {
          next += left;
        }
        moved = true;
        break;
      }
    }
    if (next < ram.end.address()) return true;
  }
  return false;
}

}  // namespace

uint64_t required_mask(const Device& device) {
  if (!is_direct(device)) return bit_mask(32);
  uint64_t highest = highest_bus_address(device);
  return highest == 0 ? ~uint64_t{0} : mask_covering(highest);
}

bool addressing_limited(const Device& device) {
  if (device.limit() < required_mask(device)) return true;
  return is_direct(device) && has_ram_outside_windows(device);
}

size_t max_mapping_size(const Device& device) {
  if (!device.has_mask()) return 0;
  if (device.iommu() != nullptr) return device.iommu()->max_mapping_size(device);
  const Swiotlb* pool = device.swiotlb();
  if (!is_direct(device) || pool == nullptr) return SIZE_MAX;
  bool may_bounce = pool->force_bounce() || device.traits().force_unencrypted || addressing_limited(device);
  return may_bounce ? pool->max_mapping_size(device) : SIZE_MAX;
}

size_t opt_mapping_size(const Device& device) {
  size_t best = device.iommu() != nullptr ? device.iommu()->opt_mapping_size() : SIZE_MAX;
  return std::min(max_mapping_size(device), best);
}

uint64_t merge_boundary(const Device& device) {
  return device.iommu() != nullptr ? device.iommu()->merge_boundary() : 0;
}

bool pci_p2pdma_supported(const Device& device) {
  return !device.traits().iommu || device.iommu() != nullptr;
}

}  // namespace causeway::dma
