// Streaming DMA mappings by physical address: dma_map_phys() as the one primitive, and what the kernel builds on it.
//
//   DmaAddr bus = dma::map_phys(device, phys, 4096, Direction::kFromDevice, Attr::kNone);
//   CW_TRY(dma::mapping_error(device, bus));
//   program(bus);  ...  the device writes  ...
//   dma::unmap_phys(device, bus, 4096, Direction::kFromDevice, Attr::kNone);
//
// `Mapping` (mapping.h) cannot forget the last line. From the map to the unmap the memory is the device's;
// sync_single_for_cpu() and sync_single_for_device() hand it to and fro. Nothing here sleeps.
//
// Which way a call goes is decided in this order: a device behind an IOMMU (attach_iommu) -> iommu-dma; else direct.
// On the direct path, for kMmio: bus address and capability, nothing else. For RAM: forced bounce -> capability ->
// the kmalloc rule of incoherent devices -> cache maintenance. See README.md for both tables, and for what differs from
// Linux 7.3 on purpose.
//
// Failure is kMappingError, as in the kernel, and the reason is in the log. An invalid direction ends the program (BUG).
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "base/result.h"
#include "base/types.h"
#include "dma/attributes.h"
#include "dma/device.h"
#include "dma/direction.h"
#include "dma/scatterlist.h"
#include "mm/page.h"

namespace causeway::dma {

DmaAddr map_phys(Device& device, PhysAddr phys, size_t size, Direction direction, Attr attrs);
// With the size, direction and attributes of the map.
void unmap_phys(Device& device, DmaAddr address, size_t size, Direction direction, Attr attrs);
// ENOMEM for kMappingError. Drivers have to ask: dma-debug watches.
Status mapping_error(Device& device, DmaAddr address);

// dma_map_page_attrs: kMmio is refused. `offset` may exceed the page.
DmaAddr map_page(Device& device, const mm::Page* page, uint64_t offset, size_t size, Direction direction, Attr attrs);
// dma_unmap_page_attrs: nothing for kMmio, as in the kernel (dma-debug finds the leak).
void unmap_page(Device& device, DmaAddr address, size_t size, Direction direction, Attr attrs);
// dma_map_single_attrs: memory of the direct map; a vmalloc address is refused with a warning.
DmaAddr map_single(Device& device, const void* memory, size_t size, Direction direction, Attr attrs = Attr::kNone);
void unmap_single(Device& device, DmaAddr address, size_t size, Direction direction, Attr attrs = Attr::kNone);
// dma_map_resource: map_phys with kMmio.
DmaAddr map_resource(Device& device, PhysAddr phys, size_t size, Direction direction, Attr attrs = Attr::kNone);
void unmap_resource(Device& device, DmaAddr address, size_t size, Direction direction, Attr attrs = Attr::kNone);

// A map that a predecessor made, behind an IOMMU whose domain was handed over, and that the device still uses: this kernel's
// from now on, for unmap_phys(). Exactly as it was made, or refused; the device goes on either way. Bounced ones are not for
// handing over. EOPNOTSUPP, ENOENT, EINVAL as IommuDma::claim().
Status restore_mapping(Device& device, DmaAddr address, size_t size, Direction direction, Attr attrs = Attr::kNone);

// Segments mapped, at most list.size(); 0: failed, nothing is mapped and the list is as it was.
unsigned map_sg(Device& device, std::span<ScatterEntry> list, Direction direction, Attr attrs = Attr::kNone);
// The whole list, not the mapped part.
void unmap_sg(Device& device, std::span<ScatterEntry> list, Direction direction, Attr attrs = Attr::kNone);
// EINVAL, ENOMEM, EIO, EREMOTEIO (peer to peer impossible), EOPNOTSUPP (kRequireCoherent on an incoherent device). A
// device without a mask: success with mapped == 0, as in the kernel.
Status map_sgtable(Device& device, ScatterTable& table, Direction direction, Attr attrs = Attr::kNone);
void unmap_sgtable(Device& device, ScatterTable& table, Direction direction, Attr attrs = Attr::kNone);

// Part of a mapping may be synced; never one of kMmio.
void sync_single_for_cpu(Device& device, DmaAddr address, size_t size, Direction direction);
void sync_single_for_device(Device& device, DmaAddr address, size_t size, Direction direction);
void sync_single_range_for_cpu(Device& device, DmaAddr address, uint64_t offset, size_t size, Direction direction);
void sync_single_range_for_device(Device& device, DmaAddr address, uint64_t offset, size_t size, Direction direction);
void sync_sg_for_cpu(Device& device, std::span<ScatterEntry> list, Direction direction);
void sync_sg_for_device(Device& device, std::span<ScatterEntry> list, Direction direction);

// -- What a device can do (dma_* of the same names).
bool need_sync(const Device& device, DmaAddr address);
// To be asked after all maps of a transaction: the first bounce changes it.
bool need_unmap(const Device& device);
uint64_t required_mask(const Device& device);
bool addressing_limited(const Device& device);
size_t max_mapping_size(const Device& device);  // 0: no mask; SIZE_MAX: any
size_t opt_mapping_size(const Device& device);
uint64_t merge_boundary(const Device& device);  // 0: cannot merge
bool pci_p2pdma_supported(const Device& device);

}  // namespace causeway::dma
