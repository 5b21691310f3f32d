// One physically contiguous block of cached memory with a bus address: what alloc_pages() and alloc_noncontiguous() are
// made of. Not told to dma-debug: the callers record different things. Private to the room.
//
//   Allocation block = CW_TRY(make_page_block(device, size, Direction::kToDevice, gfp, Kind::kPages));
//   CW_TRY(drop_page_block(device, block.cpu, block.handle, block.size, Direction::kToDevice, Kind::kPages));
#pragma once

#include <cstdint>

#include "dma/allocations.h"
#include "dma/device.h"
#include "dma/direction.h"
#include "mm/gfp.h"

namespace causeway::dma {

// `size` is whole pages. In the table of allocations afterwards.
Result<Allocation> make_page_block(Device& device, uint64_t size, Direction direction, mm::Gfp gfp, Kind kind);
// EINVAL: not in the table, or different there; nothing is freed.
Status drop_page_block(Device& device, void* cpu, DmaAddr handle, uint64_t size, Direction direction, Kind kind);

}  // namespace causeway::dma
