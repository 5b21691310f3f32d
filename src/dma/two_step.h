// The two-step API: one range of bus addresses for a whole request, linked piece by piece, one IOTLB sync
// (dma_iova_try_alloc, dma_iova_link, dma_iova_sync, dma_iova_destroy).
//
//   IovaState state;
//   if (iova_try_alloc(device, state, first_phys, total)) {
//     for (const Piece& piece : pieces)
//       CW_TRY(iova_link(device, state, piece.phys, piece.offset, piece.size, Direction::kToDevice, Attr::kNone));
//     CW_TRY(iova_sync(device, state, 0, total));
//     program(state.address);
//     iova_destroy(device, state, total, Direction::kToDevice, Attr::kNone);
//   } else { ... map_phys() for each piece ... }
//
// Only for devices behind an IOMMU; otherwise try_alloc is false. Every piece but the first starts on the merge boundary,
// every length but the last is a multiple of it. Nothing here sleeps. The state is not cleared by free or destroy, as in
// the kernel: reset it before it is used again.
#pragma once

#include <cstdint>

#include "base/result.h"
#include "base/types.h"
#include "dma/attributes.h"
#include "dma/device.h"
#include "dma/direction.h"

namespace causeway::dma {

struct IovaState {
  static constexpr uint64_t kUsedSwiotlb = uint64_t{1} << 63;  // DMA_IOVA_USE_SWIOTLB
  DmaAddr address;
  uint64_t size_and_flag = 0;

  bool in_use() const { return size_and_flag != 0; }           // dma_use_iova
  uint64_t size() const { return size_and_flag & ~kUsedSwiotlb; }  // dma_iova_size
};

// False: not behind an IOMMU, no address space, size 0 or with bit 63 set (warns). `phys`: of the first piece, for its
// offset in the IOMMU's page.
bool iova_try_alloc(Device& device, IovaState& state, PhysAddr phys, uint64_t size);
// EIO: an offset with an unaligned address; EOPNOTSUPP: kRequireCoherent where it cannot be; EPERM: has to bounce and must
// not; EINVAL (unaligned), ENOMEM of the IOMMU.
Status iova_link(Device& device, IovaState& state, PhysAddr phys, uint64_t offset, uint64_t size, Direction direction,
                 Attr attrs);
Status iova_sync(Device& device, IovaState& state, uint64_t offset, uint64_t size);
void iova_unlink(Device& device, IovaState& state, uint64_t offset, uint64_t size, Direction direction, Attr attrs);
// The addresses alone; nothing may be linked any more.
void iova_free(Device& device, IovaState& state);
// As restore_mapping() (map.h), of a range that was linked from end to end.
Status iova_restore(Device& device, IovaState& state, DmaAddr address, uint64_t size, Direction direction, Attr attrs);
// unlink() of the first `mapped` bytes, then free().
void iova_destroy(Device& device, IovaState& state, uint64_t mapped, Direction direction, Attr attrs);

}  // namespace causeway::dma
