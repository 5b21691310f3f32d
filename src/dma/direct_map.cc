#include "dma/direct_map.h"

#include "base/log.h"
#include "base/point.h"
#include "base/warn_once.h"
#include "mm/slab.h"

namespace causeway::dma::direct {

namespace {

// Can the device reach all of it? Linux adds up without looking for a carry.
bool is_reachable(const Device& device, DmaAddr address, uint64_t size, Attr attrs) {
  if (device.traits().force_unencrypted && !has(attrs, Attr::kCcShared)) return false;
  if (size == 0) return address.value() != 0 && address.value() - 1 <= device.limit();
  uint64_t last;
  return checked_add(address.value(), size - 1, &last) && last <= device.limit();
}

bool is_reachable(const Device& device, std::optional<DmaAddr> address, uint64_t size, Attr attrs) {
  return address && is_reachable(device, *address, size, attrs);
}

[[gnu::cold]] DmaAddr overflow(const Device& device, PhysAddr phys, std::optional<DmaAddr> address, size_t size) {
  CW_WARN_ONCE("dma", "{}: overflow: {} bytes at {}, bus address {}, mask {:#x}, bus limit {:#x}", device.name(), size, phys,
               address.value_or(kMappingError), device.mask(), device.bus_limit());
  return kMappingError;
}

void clean_for_device(Dma::State& state, const Device& device, PhysAddr phys, size_t size, Direction direction, Attr attrs,
                      Flush flush) {
  if (device.traits().coherent || has(attrs, Attr::kSkipCpuSync)) return;
  state.cache.for_device(phys, size, direction);
  if (flush == Flush::kNow) state.cache.flush();
}

// A bounce is a copy by the CPU, at map and at unmap: what is no RAM cannot be copied.
bool is_ram(const Dma::State& state, PhysAddr phys, size_t size) {
  uint64_t last;
  if (size == 0 || !checked_add(phys.value(), size - 1, &last)) return false;
  return state.allocator.is_managed(PfnRange{Pfn::containing(phys), Pfn::containing(PhysAddr(last)) + 1});
}

DmaAddr bounce(Dma::State& state, Device& device, PhysAddr phys, size_t size, Direction direction, Attr attrs, Flush flush) {
  if (!is_ram(state, phys, size)) {
    CW_WARN_ONCE("dma", "{}: {} bytes at {} are no RAM that could bounce", device.name(), size, phys);
    return kMappingError;
  }
  Swiotlb& pool = *device.swiotlb();
  Result<PhysAddr> slot = pool.map(device, phys, size, 0, direction, &attrs);
  if (!slot) return kMappingError;
  device.set_skip_sync(false);
  device.set_bounced();
  std::optional<DmaAddr> address = bus_address(state.config, device, *slot, size, attrs);
  if (!is_reachable(device, address, size, attrs)) {
    pool.unmap(device, *slot, size, direction, attrs | Attr::kSkipCpuSync);
    CW_WARN_ONCE("dma", "{}: overflow: bounce buffer of {} bytes at {}, bus address {}, mask {:#x}, bus limit {:#x}",
                 device.name(), size, *slot, address.value_or(kMappingError), device.mask(), device.bus_limit());
    return kMappingError;
  }
  clean_for_device(state, device, *slot, size, direction, attrs, flush);
  return *address;
}

// Never looks for a page, a cache line or a CPU address: there is none.
DmaAddr map_mmio(const Dma::State& state, const Device& device, PhysAddr phys, size_t size, Direction direction, Attr attrs) {
  if (is_host_encrypted(state.config)) attrs = attrs | Attr::kCcShared;
  if (device.swiotlb() != nullptr && device.swiotlb()->force_bounce()) return kMappingError;
  std::optional<DmaAddr> address = state.config.legacy_mmio_untranslated
                                       ? std::optional(DmaAddr(phys.value()))
                                       : bus_address(state.config, device, phys, size, attrs);
  bool refused = !is_reachable(device, address, size, attrs);
  MapFault fault = state.map_fault.load(std::memory_order_relaxed);
  if (fault == MapFault::kKmallocRuleForMmio) refused = refused || kmalloc_needs_bounce(device, size, direction);
  if (fault == MapFault::kInvertedCapability) refused = !refused;
  if (refused) return overflow(device, phys, address, size);
  return address.value_or(kMappingError);
}

DmaAddr map_ram(Dma::State& state, Device& device, PhysAddr phys, size_t size, Direction direction, Attr attrs,
                Flush flush) {
  bool may_bounce = device.swiotlb() != nullptr && !has(attrs, Attr::kRequireCoherent);
  if (device.swiotlb() != nullptr && device.swiotlb()->force_bounce()) {
    if (!may_bounce) return kMappingError;
    return bounce(state, device, phys, size, direction, attrs, flush);
  }
  std::optional<DmaAddr> address = bus_address(state.config, device, phys, size, attrs);
  if (!is_reachable(device, address, size, attrs) || kmalloc_needs_bounce(device, size, direction)) {
    if (!may_bounce) return overflow(device, phys, address, size);
    return bounce(state, device, phys, size, direction, attrs, flush);
  }
  clean_for_device(state, device, phys, size, direction, attrs, flush);
  return *address;
}

std::optional<PhysAddr> physical(const Config& config, const Device& device, DmaAddr address) {
  return device.to_phys(DmaAddr(address.value() & ~config.encryption_mask));
}

// The pool `phys` is a bounce buffer of; null: it is none.
Swiotlb* pool_of(const Device& device, PhysAddr phys) {
  Swiotlb* pool = device.swiotlb();
  return pool != nullptr && device.bounced() && pool->contains(device, phys) ? pool : nullptr;
}

void invalidate_for_cpu(Dma::State& state, const Device& device, PhysAddr phys, size_t size, Direction direction,
                        Flush flush) {
  if (device.traits().coherent) return;
  if (device_writes(direction)) state.cache.for_cpu(phys, size, direction);
  if (flush == Flush::kNow) state.cache.flush();
}

}  // namespace

bool is_host_encrypted(const Config& config) {
  return config.encryption_mask != 0 && !config.encrypted_guest;
}

bool kmalloc_needs_bounce(const Device& device, size_t size, Direction direction) {
  const Config& config = device.dma().config();
  return config.bounce_unaligned_kmalloc && !device.traits().coherent && device_writes(direction) &&
         size < 2 * uint64_t{config.dma_minalign} && mm::kmalloc_bucket(size) % config.cache_line != 0;
}

std::optional<DmaAddr> bus_address(const Config& config, const Device& device, PhysAddr phys, uint64_t size, Attr attrs) {
  std::optional<DmaAddr> address = device.to_dma(phys, size);
  if (!address || config.encryption_mask == 0) return address;
  if (has(attrs, Attr::kCcShared)) return DmaAddr(address->value() & ~config.encryption_mask);
  return DmaAddr(address->value() | config.encryption_mask);
}

DmaAddr map_slowly(Dma::State& state, Device& device, PhysAddr phys, size_t size, Direction direction, Attr attrs,
                   Flush flush) {
  // What memory is decides everything that follows; two posted versions asked the kmalloc rule, or nothing, first.
  if (has(attrs, Attr::kMmio)) return map_mmio(state, device, phys, size, direction, attrs);
  return map_ram(state, device, phys, size, direction, attrs, flush);
}

void unmap_slowly(Dma::State& state, Device& device, DmaAddr address, size_t size, Direction direction, Attr attrs,
                  Flush flush) {
  if (has(attrs, Attr::kMmio | Attr::kRequireCoherent)) return;
  std::optional<PhysAddr> phys = physical(state.config, device, address);
  if (!phys) return;
  bool sync = !has(attrs, Attr::kSkipCpuSync);
  if (sync) invalidate_for_cpu(state, device, *phys, size, direction, flush);
  Swiotlb* pool = pool_of(device, *phys);
  if (pool == nullptr) return;
  // The copy reads what was just dropped.
  if (sync && flush == Flush::kLater && !device.traits().coherent) state.cache.flush();
  pool->unmap(device, *phys, size, direction, attrs);
}

bool is_bounced(Dma::State& state, const Device& device, DmaAddr address) {
  std::optional<PhysAddr> phys = physical(state.config, device, address);
  return phys && pool_of(device, *phys) != nullptr;
}

void sync_for_cpu(Dma::State& state, Device& device, DmaAddr address, size_t size, Direction direction) {
  std::optional<PhysAddr> phys = physical(state.config, device, address);
  if (!phys) return;
  invalidate_for_cpu(state, device, *phys, size, direction, Flush::kNow);
  if (Swiotlb* pool = pool_of(device, *phys)) pool->sync_for_cpu(device, *phys, size, direction);
}

void sync_for_device(Dma::State& state, Device& device, DmaAddr address, size_t size, Direction direction) {
  std::optional<PhysAddr> phys = physical(state.config, device, address);
  if (!phys) return;
  if (Swiotlb* pool = pool_of(device, *phys)) pool->sync_for_device(device, *phys, size, direction);
  clean_for_device(state, device, *phys, size, direction, Attr::kNone, Flush::kNow);
}

void sync_sg_for_cpu(Dma::State& state, Device& device, std::span<const ScatterEntry> list, Direction direction) {
  bool coherent = device.traits().coherent;
  for (const ScatterEntry& entry : list) {
    if ((entry.flags & (kScatterBusAddress | kScatterMmio)) != 0) continue;
    std::optional<PhysAddr> phys = physical(state.config, device, entry.dma_address);
    if (!phys) continue;
    invalidate_for_cpu(state, device, *phys, entry.length, direction, Flush::kLater);
    Swiotlb* pool = pool_of(device, *phys);
    if (pool == nullptr) continue;
    if (!coherent && device_writes(direction)) state.cache.flush();  // the copy reads what was just dropped
    pool->sync_for_cpu(device, *phys, entry.length, direction);
  }
  if (!coherent) state.cache.flush();  // one wait for all entries
}

void sync_sg_for_device(Dma::State& state, Device& device, std::span<const ScatterEntry> list, Direction direction) {
  for (const ScatterEntry& entry : list) {
    if ((entry.flags & (kScatterBusAddress | kScatterMmio)) != 0) continue;
    std::optional<PhysAddr> phys = physical(state.config, device, entry.dma_address);
    if (!phys) continue;
    if (Swiotlb* pool = pool_of(device, *phys)) pool->sync_for_device(device, *phys, entry.length, direction);
    clean_for_device(state, device, *phys, entry.length, direction, Attr::kNone, Flush::kLater);
  }
  if (!device.traits().coherent) state.cache.flush();
}

}  // namespace causeway::dma::direct
