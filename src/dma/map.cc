#include "dma/map.h"

#include <cstdlib>
#include <utility>

#include "base/log.h"
#include "base/warn_once.h"
#include "dma/debug/debug.h"
#include "dma/direct_map.h"
#include "dma/iommu/iommu_dma.h"
#include "dma/map_dispatch.h"
#include "dma/state.h"

namespace causeway::dma {

namespace {

[[gnu::cold]] bool warn_no_mask(const Device& device) {
  CW_WARN_ONCE("dma", "{}: a map by a device without a DMA mask", device.name());
  return false;
}

bool has_mask(const Device& device) {
  return device.has_mask() || warn_no_mask(device);
}

bool is_too_incoherent(const Device& device, Attr attrs) {
  return has(attrs, Attr::kRequireCoherent) && !device.traits().coherent;
}

// Maps by ways other than the direct one.
DmaAddr map_elsewhere(Device& device, PhysAddr phys, size_t size, Direction direction, Attr attrs) {
  // Memory that is shared with the host already: only the direct path knows what to do with it.
  if (has(attrs, Attr::kCcShared) || device.iommu() == nullptr) return kMappingError;
  return device.iommu()->map_phys(device, phys, size, direction, attrs);
}

}  // namespace

void bad_direction(const Device& device, Direction direction) {
  log::error("dma", "BUG: {}: direction {}, want one of 0 to 2", device.name(), static_cast<unsigned>(direction));
  std::abort();
}

DmaAddr map_phys(Device& device, PhysAddr phys, size_t size, Direction direction, Attr attrs) {
  check_direction(device, direction);
  if (!has_mask(device) || is_too_incoherent(device, attrs)) return kMappingError;
  Dma::State& state = device.dma().state();
  DmaAddr address = is_direct(device) ? direct::map_phys(state, device, phys, size, direction, attrs)
                                      : map_elsewhere(device, phys, size, direction, attrs);
  // Of a map that failed, too: what was to be read can be looked at.
  if (state.debug != nullptr) state.debug->map_phys(device, phys, size, direction, address, attrs);
  return address;
}

void unmap_phys(Device& device, DmaAddr address, size_t size, Direction direction, Attr attrs) {
  check_direction(device, direction);
  Dma::State& state = device.dma().state();
  if (is_direct(device)) {
    direct::unmap_phys(state, device, address, size, direction, attrs);
  } else {
    if (has(attrs, Attr::kCcShared)) return;  // it never was mapped
    if (device.iommu() != nullptr) device.iommu()->unmap_phys(device, address, size, direction, attrs);
  }
  if (state.debug != nullptr) state.debug->unmap_phys(device, address, size, direction, attrs);
}

Status mapping_error(Device& device, DmaAddr address) {
  if (Debug* debug = device.dma().state().debug.get()) debug->mapping_error(device, address);
  if (address == kMappingError) return fail(ENOMEM, "the memory could not be mapped for the device");
  return {};
}

DmaAddr map_page(Device& device, const mm::Page* page, uint64_t offset, size_t size, Direction direction, Attr attrs) {
  uint64_t phys;
  if (has(attrs, Attr::kMmio) || !checked_add(device.dma().state().map().phys(page).value(), offset, &phys))
    return kMappingError;
  return map_phys(device, PhysAddr(phys), size, direction, attrs);
}

void unmap_page(Device& device, DmaAddr address, size_t size, Direction direction, Attr attrs) {
  if (has(attrs, Attr::kMmio)) return;
  unmap_phys(device, address, size, direction, attrs);
}

DmaAddr map_single(Device& device, const void* memory, size_t size, Direction direction, Attr attrs) {
  Dma::State& state = device.dma().state();
  // Before the refusal, which would hide what kind of memory it is.
  if (state.debug != nullptr) state.debug->check_single(device, memory, size);
  const platform::DirectMap& direct_map = state.map().direct_map();
  if (!direct_map.contains(memory)) {
    CW_WARN_ONCE("dma", "{}: map of {} bytes at {}, which is {}, want memory of the direct map", device.name(), size,
                 memory, state.vmalloc.find(memory) != nullptr ? "a vmalloc address" : "no kernel memory");
    return kMappingError;
  }
  if (has(attrs, Attr::kMmio)) return kMappingError;
  return map_phys(device, direct_map.to_phys(memory), size, direction, attrs);
}

void unmap_single(Device& device, DmaAddr address, size_t size, Direction direction, Attr attrs) {
  unmap_page(device, address, size, direction, attrs);
}

DmaAddr map_resource(Device& device, PhysAddr phys, size_t size, Direction direction, Attr attrs) {
  return map_phys(device, phys, size, direction, attrs | Attr::kMmio);
}

void unmap_resource(Device& device, DmaAddr address, size_t size, Direction direction, Attr attrs) {
  unmap_phys(device, address, size, direction, attrs | Attr::kMmio);
}

}  // namespace causeway::dma
