// iommu-dma: streaming maps and allocations of devices behind an IOMMU (drivers/iommu/dma-iommu.c).
//
//   auto iommu = CW_TRY(IommuDma::create(dma, domain, {}));   // one per domain; several devices may share it
//   attach_iommu(device, *iommu);                             // from here on map_phys() and all others go through it
//
// Bus addresses come from an IOVA allocator (iommu/iova.h), the translation from an iommu::Domain. An unmap is strict, or,
// in a kDmaFq domain, deferred: addresses are used again only after a flush that began after the unmap. Devices that are not trusted
// never share a granule with anything: what does not fill whole granules is bounced, the rest of the granule zeroed.
//
// The functions of this header are what map.cc, two_step.cc and noncontiguous.cc dispatch to. None sleeps, but alloc and free.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "base/result.h"
#include "base/types.h"
#include "dma/allocations.h"
#include "dma/device.h"
#include "dma/direction.h"
#include "dma/scatterlist.h"
#include "dma/two_step.h"
#include "iommu/domain.h"
#include "iommu/pt/io_page_table.h"
#include "iommu/reserved_region.h"
#include "mm/gfp.h"

namespace causeway::dma {

using iommu::ReservedRegion;

struct IommuDmaOptions {
  std::vector<ReservedRegion> reserved;       // of the devices
  std::vector<ReservedRegion> bridge_windows; // PCI bridges' memory windows
  std::vector<BusWindow> dma_ranges;          // of the bridge: only these may be used; empty: all
  bool forcedac = false;                      // iommu.forcedac: no preference for 32 bits
  bool shadow_on_flush = false;               // one large queue: 32768 entries, 1 s
  // The domain is a predecessor's: what it has mapped stays for those who claim it (restore_allocation(),
  // restore_mapping(), iova_restore()), and its addresses are handed out to nobody else.
  bool restored = false;
  // What is mapped, in order of address, for a restored domain without a page_table().
  std::function<void(const std::function<bool(const iommu::IoPageTable::Leaf&)>&)> leaves;
};

class IommuDma {
 public:
  // iommu_dma_init_domain. EFAULT: no usable aperture; EINVAL: dma_ranges overlap, the domain's pages are larger than the
  // CPU's, it is restored and does not say what it has mapped; EEXIST: the domain's addresses are handed out already. A flush queue that cannot be made turns kDmaFq into kDma.
  static Result<std::unique_ptr<IommuDma>> create(Dma& dma, iommu::Domain& domain, const IommuDmaOptions& options);
  ~IommuDma();

  DmaAddr map_phys(Device& device, PhysAddr phys, size_t size, Direction direction, Attr attrs);
  void unmap_phys(Device& device, DmaAddr address, size_t size, Direction direction, Attr attrs);
  // Segments; or EINVAL, ENOMEM, EIO, EREMOTEIO with the list as it was.
  Result<unsigned> map_sg(Device& device, std::span<ScatterEntry> list, Direction direction, Attr attrs);
  void unmap_sg(Device& device, std::span<ScatterEntry> list, Direction direction, Attr attrs);
  void sync_single_for_cpu(Device& device, DmaAddr address, size_t size, Direction direction);
  void sync_single_for_device(Device& device, DmaAddr address, size_t size, Direction direction);
  void sync_sg_for_cpu(Device& device, std::span<ScatterEntry> list, Direction direction);
  void sync_sg_for_device(Device& device, std::span<ScatterEntry> list, Direction direction);

  // Contract of two_step.h.
  bool try_alloc(Device& device, IovaState& state, PhysAddr phys, uint64_t size);
  Status link(Device& device, IovaState& state, PhysAddr phys, uint64_t offset, uint64_t size, Direction direction, Attr attrs);
  Status sync(Device& device, IovaState& state, uint64_t offset, uint64_t size);
  void unlink(Device& device, IovaState& state, uint64_t offset, uint64_t size, Direction direction, Attr attrs);
  void free(Device& device, IovaState& state);

  // Coherent memory: Route::kIommu; freed with the table's entry.
  Result<Allocation> alloc(Device& device, uint64_t size, mm::Gfp gfp, Attr attrs);
  void free(Device& device, const Allocation& block);
  // alloc_noncontiguous: pages with one contiguous range of bus addresses. `pages` in order of address.
  struct PageArray {
    std::vector<PhysAddr> pages;
    DmaAddr address;
    uint64_t size = 0;
  };
  Result<PageArray> alloc_pages_array(Device& device, uint64_t size, Direction direction, mm::Gfp gfp, Attr attrs);
  void free_pages_array(Device& device, const PageArray& array);

  size_t max_mapping_size(const Device& device) const;
  size_t opt_mapping_size() const;
  uint64_t merge_boundary() const;  // granule - 1

  // MSI doorbells (iommu_dma_prepare_msi): the bus address of a doorbell page, mapped once per domain. ENOMEM.
  Result<DmaAddr> map_msi(Device& device, PhysAddr doorbell);

  // -- Live update. The domain is preserved (iommu::LiveUpdate), so what is mapped in it can be handed over: whoever
  // preserves it says so, and when it is not any more.
  void set_preserved(bool preserved);
  bool is_preserved() const;
  // It was mapped by a predecessor when it came here.
  bool is_restored() const;
  // A range that the predecessor handed out as one becomes this kernel's. `address` and `size` as it was mapped. EOPNOTSUPP:
  // not a restored domain; ENOENT: not all of it was mapped, or some is claimed; EINVAL: it was not mapped as one, or not
  // for this direction.
  Status claim(DmaAddr address, uint64_t size, Direction direction);
  // Are these addresses those of the block, page by page? ERANGE.
  Status check_translation(DmaAddr address, PhysAddr phys, uint64_t size) const;
  // Is a coherent allocation one block, as one that is handed over has to be?
  bool is_one_block(const Allocation& block) const;
  // What nobody has claimed is unmapped, flushed and can be handed out again. After the handover has been committed and
  // all drivers have adopted: devices fault from here on, or no device used it. Returns bytes.
  uint64_t release_unclaimed();

  iommu::Domain& domain() const;
  struct Stats {
    uint64_t mapped = 0;         // live IOVA ranges, queued ones included
    uint64_t queued = 0;         // in flush queues
    uint64_t flushes = 0;        // of all, by queues
    bool deferred = false;       // a flush queue is in use
    uint64_t unclaimed = 0;      // bytes that a predecessor has mapped and nobody has claimed
  };
  Stats stats() const;
  // Flushes and frees everything queued (tests; a domain's end does it too).
  void drain();

  struct State;

 private:
  explicit IommuDma(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

// The device's maps go through `iommu` from now on. A domain of kIdentity changes nothing: the direct path. EBUSY: attached.
Status attach_iommu(Device& device, IommuDma& iommu);
void detach_iommu(Device& device);

}  // namespace causeway::dma
