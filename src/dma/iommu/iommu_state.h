// What the files behind iommu_dma.h share: the address space of one domain, and the steps that every way of mapping
// consists of. Private to the room.
//
//   std::optional<Iova> iova = state.take(device, bytes, device.limit());      // whole granules
//   ... domain.map() ...
//   state.unmap(device, DmaAddr(iova->value()), bytes);                        // flushed or queued, then free
#pragma once

#include <atomic>
#include <memory>
#include <optional>

#include "dma/direct_map.h"
#include "dma/iommu/iommu_dma.h"
#include "dma/iommu/restored_ranges.h"
#include "dma/state.h"
#include "iommu/flush_queue.h"
#include "iommu/iova.h"
#include "iommu/msi_doorbells.h"

namespace causeway::dma {

// What the device may do: IOMMU_* bits. Caches are never asked for device memory.
uint32_t prot_of(Direction direction, bool coherent, Attr attrs);

struct IommuDma::State {
  State(Dma& dma_, iommu::Domain& domain_, bool forcedac_);
  ~State();
  // Windows that are never handed out: of bridges, of the platform, and what lies outside `dma_ranges`.
  Status reserve(const IommuDmaOptions& options);
  // What the domain has mapped already is not to be handed out; after reserve().
  Status take_over(const IommuDmaOptions& options);

  // A range of bus addresses; `bytes` are whole granules, `limit` is the highest address the device drives.
  std::optional<Iova> take(Device& device, uint64_t bytes, uint64_t limit);
  void give(Iova iova, uint64_t bytes) { iovas.free_fast(iova.value() >> iovas.shift(), bytes >> iovas.shift()); }

  // take(), then the translation of the granules around [phys, phys + size). Nothing is left of a failure.
  DmaAddr map(Device& device, PhysAddr phys, uint64_t size, uint32_t prot, uint64_t limit);
  // The translation goes; the addresses too, now or when the queue has been flushed.
  void unmap(Device& device, DmaAddr address, uint64_t size);
  // The translation alone, flushed. False: not all of it was mapped.
  bool unmap_now(Iova start, uint64_t bytes);

  // The granules that hold `size` bytes at an offset of `address`; nullopt: more than there are, or none.
  std::optional<uint64_t> whole_granules(uint64_t address, uint64_t size) const;
  uint64_t offset_in_granule(uint64_t address) const { return address & (granule - 1); }

  // Does RAM have to be bounced, if it shares a granule or a cache line with something else?
  static bool may_bounce(const Device& device, uint64_t size, Direction direction) {
    return device.traits().untrusted || direct::kmalloc_needs_bounce(device, size, direction);
  }
  bool is_unaligned(PhysAddr phys, uint64_t size) const { return ((phys.value() | size) & (granule - 1)) != 0; }
  // Where the data is now, in a granule that nothing else is in. ENOMEM and others of the pool.
  Result<PhysAddr> bounce(Device& device, PhysAddr phys, uint64_t size, Direction direction, Attr attrs);
  // Copies back and frees, if `phys` is a bounce buffer.
  static void unbounce(Device& device, PhysAddr phys, uint64_t size, Direction direction, Attr attrs);

  Dma::State& dma;
  iommu::Domain& domain;
  const uint64_t granule;
  const iommu::Aperture aperture;
  const bool forcedac;
  iommu::IovaDomain iovas;
  std::unique_ptr<iommu::FlushQueue> queue;  // null: strict
  std::unique_ptr<iommu::MsiDoorbells> doorbells;
  std::unique_ptr<RestoredRanges> restored;  // null: the domain was empty
  std::atomic<bool> preserved{false};

 private:
  bool owns(Iova start, uint64_t bytes) const;
};

}  // namespace causeway::dma
