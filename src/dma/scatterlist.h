// Scatter lists by physical address: struct scatterlist and struct sg_table without struct page.
//
//   std::vector<ScatterEntry> list = {{.phys = a, .length = 4096}, {.phys = b, .length = 512}};
//   unsigned mapped = dma::map_sg(device, list, Direction::kToDevice, Attr::kNone);      // 0: failed
//   for (const ScatterEntry& entry : std::span(list).first(mapped)) program(entry.dma_address, entry.dma_length);
//   dma::unmap_sg(device, list, Direction::kToDevice, Attr::kNone);                      // the whole list again
//
// After a map the first `mapped` entries carry the bus addresses; entries of the list and mapped segments are then
// two different things, as in the kernel: sync and unmap take the whole list.
#pragma once

#include <cstdint>
#include <vector>

#include "base/types.h"
#include "dma/direction.h"

namespace causeway::dma {

enum ScatterFlag : uint8_t {
  kScatterBusAddress = 1u << 0,  // SG_DMA_BUS_ADDRESS: peer to peer, not translated
  kScatterSwiotlb = 1u << 1,     // SG_DMA_SWIOTLB, on the first entry: every entry was mapped by itself
  kScatterMmio = 1u << 2,        // peer to peer through the host bridge: mapped as kMmio, never synced
};

struct ScatterEntry {
  PhysAddr phys;  // of the first byte
  uint32_t length = 0;
  // Filled in by map_sg, in the first `mapped` entries.
  DmaAddr dma_address;
  uint32_t dma_length = 0;
  uint8_t flags = 0;
};

// struct sg_table.
struct ScatterTable {
  std::vector<ScatterEntry> entries;  // orig_nents of them
  unsigned mapped = 0;                // nents: segments after a map
};

}  // namespace causeway::dma
