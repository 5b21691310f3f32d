// Streaming maps of the direct path: bus address, capability, bounce, caches. Private to the room; map.h is the interface
// and has checked direction and mask already.
//
//   DmaAddr bus = direct::map_phys(state, device, phys, size, direction, attrs);
//   direct::unmap_phys(state, device, bus, size, direction, attrs);
//
// For a plain device (Device::is_plain) a map is two compares, and an unmap one as long as nothing ever bounced.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "base/result.h"
#include "base/types.h"
#include "dma/attributes.h"
#include "dma/device.h"
#include "dma/direction.h"
#include "dma/scatterlist.h"
#include "dma/state.h"

namespace causeway::dma::direct {

// Whether to wait for cache maintenance, or leave that to whoever does the last of several.
enum class Flush : bool { kLater, kNow };

// The kmalloc rule: a small buffer of an incoherent device shares a cache line with somebody else's, which goes by the
// size and direction alone (dma_kmalloc_needs_bounce).
bool kmalloc_needs_bounce(const Device& device, size_t size, Direction direction);

// The machine itself encrypts its memory, as opposed to a guest's.
bool is_host_encrypted(const Config& config);

DmaAddr map_slowly(Dma::State& state, Device& device, PhysAddr phys, size_t size, Direction direction, Attr attrs,
                   Flush flush);
void unmap_slowly(Dma::State& state, Device& device, DmaAddr address, size_t size, Direction direction, Attr attrs,
                  Flush flush);

// The last byte may not wrap, and must be at or below the limit. Zero bytes are let through for any address but 0.
inline DmaAddr map_phys(Dma::State& state, Device& device, PhysAddr phys, size_t size, Direction direction, Attr attrs,
                        Flush flush = Flush::kNow) {
  uint64_t last = phys.value() + size - 1;
  if (device.is_plain() && size != 0 && last >= phys.value() && last <= device.limit()) [[likely]]
    return DmaAddr(phys.value());
  return map_slowly(state, device, phys, size, direction, attrs, flush);
}

inline void unmap_phys(Dma::State& state, Device& device, DmaAddr address, size_t size, Direction direction, Attr attrs,
                       Flush flush = Flush::kNow) {
  if (device.is_plain() && !device.bounced()) [[likely]]
    return;
  unmap_slowly(state, device, address, size, direction, attrs, flush);
}

void sync_for_cpu(Dma::State& state, Device& device, DmaAddr address, size_t size, Direction direction);
void sync_for_device(Dma::State& state, Device& device, DmaAddr address, size_t size, Direction direction);

// Contract of map.h. EIO: an entry could not be mapped; EREMOTEIO: peer to peer is impossible.
Result<unsigned> map_sg(Dma::State& state, Device& device, std::span<ScatterEntry> list, Direction direction, Attr attrs);
void unmap_sg(Dma::State& state, Device& device, std::span<ScatterEntry> list, Direction direction, Attr attrs);
void sync_sg_for_cpu(Dma::State& state, Device& device, std::span<const ScatterEntry> list, Direction direction);
void sync_sg_for_device(Dma::State& state, Device& device, std::span<const ScatterEntry> list, Direction direction);

// Is it an address of a bounce buffer?
bool is_bounced(Dma::State& state, const Device& device, DmaAddr address);

// Bus address as the device is to use it, encryption bit included; nullopt: none, or not in one piece.
std::optional<DmaAddr> bus_address(const Config& config, const Device& device, PhysAddr phys, uint64_t size, Attr attrs);

}  // namespace causeway::dma::direct
