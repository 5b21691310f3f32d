// DMA memory in a user's address space: which host memory a mapping of it has behind it, and how it is cached
// (dma_mmap_attrs and its family).
//
//   UserMapping part = CW_TRY(mmap_attrs(device, ring, Attr::kNone, vma.pgoff, vma.pages));
//   for (const UserMapping::Piece& piece : part.pieces) map_shared(piece.fd, piece.offset, piece.size);
//
// The window [pgoff, pgoff + count) is in pages of the allocation. ENXIO: it reaches beyond the end, by wrapping too; or the
// memory cannot be mapped at all. EINVAL: not an allocation of this device.
#pragma once

#include <cstdint>
#include <vector>

#include "base/result.h"
#include "dma/alloc_pages.h"
#include "dma/attributes.h"
#include "dma/dma.h"
#include "dma/noncontiguous.h"
#include "dma/page_attributes.h"
#include "dma/scatterlist.h"

namespace causeway::dma {

struct UserMapping {
  struct Piece {
    int fd;           // not owned: valid as long as the machine
    uint64_t offset;  // in fd
    uint64_t size;    // bytes
  };
  std::vector<Piece> pieces;  // in order; neighbours are merged
  CachePolicy policy = CachePolicy::kCached;  // dma_pgprot
  bool decrypted = false;
};

// An incoherent device on the direct path: only with Config::noncoherent_mmap.
bool can_mmap(const Device& device);

Result<UserMapping> mmap_attrs(Device& device, const Coherent& memory, Attr attrs, uint64_t pgoff, uint64_t count);
Result<UserMapping> mmap_pages(Device& device, const DmaPages& memory, uint64_t pgoff, uint64_t count);
Result<UserMapping> mmap_noncontiguous(Device& device, const Noncontiguous& memory, uint64_t pgoff, uint64_t count);

// dma_get_sgtable_attrs: the allocation as a list of physical pieces, its size rounded up to pages. Not to be mapped: the memory is
// mapped already. ENXIO: operations without it.
Result<ScatterTable> get_sgtable_attrs(Device& device, const Coherent& memory, Attr attrs);

}  // namespace causeway::dma
