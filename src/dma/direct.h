// The direct path: coherent memory straight from the page allocator (kernel/dma/direct.c), and the
// pools that stand in for it. Private to the room.
//
//   Allocation made = CW_TRY(direct::alloc(state, device, size, gfp, attrs));
//   direct::free(state, made);
//
// A block goes through up to three changes before a CPU may use it, the same for a new allocation
// and a restored one: decrypt() -> map() -> (the caller's own business) ; undone by unmap() -> encrypt().
#pragma once

#include "base/result.h"
#include "base/types.h"
#include "dma/allocations.h"
#include "dma/dma.h"
#include "dma/state.h"

namespace causeway::dma::direct {

// How the CPU's view of a device's memory differs from ordinary memory.
struct View {
  bool decrypt = false;
  bool remap = false;         // a second, uncached mapping
  bool set_uncached = false;  // the linear mapping itself
};
// EOPNOTSUPP: an incoherent device on a platform that can do neither.
Result<View> view_for(const Device& device);

// The allocation is a cookie without a kernel mapping.
bool is_cookie(const Device& device, Attr attrs);

// Without blocking, memory that has to be remapped or decrypted can come from an atomic pool only.
inline bool must_use_atomic_pool(const Device& device, const View& view, mm::Gfp gfp) {
  return (view.remap || view.decrypt) && !has(gfp, mm::Gfp::kBlocking) && !device.traits().restricted_pool;
}

// Sets `decrypted`. An error leaves the block's encryption unknown: it must never be used again.
Status decrypt(Dma::State& state, Allocation& block);
// Sets `cpu`, `remapped` and `uncached`; nothing is changed on an error. ENOMEM, EIO.
Status map(Dma::State& state, const View& view, Attr attrs, Allocation& block);
// Undoes map(); the pages themselves are the caller's.
void unmap(Dma::State& state, const Allocation& block);

// `attrs` as given by the caller; the result's are canonical.
Result<Allocation> alloc(Dma::State& state, const Device& device, uint64_t size, mm::Gfp gfp, Attr attrs);
void free(Dma::State& state, const Allocation& block);

// Ordinary cached memory that the device can reach, mapped nowhere else (dma_direct_alloc_pages): decrypted if need be, zeroed
// only with kZero. Freed with free().
Result<Allocation> alloc_pages(Dma::State& state, const Device& device, uint64_t size, mm::Gfp gfp);

}  // namespace causeway::dma::direct
