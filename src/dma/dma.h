// Coherent allocations of the DMA mapping subsystem, and their preservation across a live update. Streaming maps are
// in map.h.
//
//   dma::Coherent ring = CW_TRY(dma::alloc_coherent(device, KiB(20), kGfpKernel));
//   program(ring.handle);                                    // a bus address
//   dma::Token token = CW_TRY(dma::preserve_allocation(device, ring, Attr::kNone));
//   ... the next kernel ...
//   dma::Coherent ring = CW_TRY(dma::restore_allocation(device, KiB(20), kGfpKernel, Attr::kNone, token));
//   dma::free_coherent(device, ring);                        // the ordinary free
//
// Names and rules are the kernel's: dma_alloc_attrs, dma_free_attrs, and for preservation the posted
// series 20260505002737.2213734 with everything its review agreed to:
//   - the block is 2^get_order(size) pages in preserve, unpreserve and restore alike;
//   - attributes are recorded and must be compatible in the new kernel;
//   - memory encrypted differently than recorded is refused;
//   - whatever fails after a token was accepted leaks the memory: the device may still be writing to it.
#pragma once

#include <cstdint>
#include <memory>

#include "base/result.h"
#include "base/types.h"
#include "dma/attributes.h"
#include "dma/device.h"
#include "kho/kho.h"
#include "mm/page_allocator.h"
#include "mm/vmalloc.h"

namespace causeway::dma {

class Debug;
class P2pRegistry;

// The kernel's build options that change what preservation can do.
struct Config {
  bool cma = false;               // CONFIG_DMA_CMA: nothing can be preserved
  uint64_t cma_size = 0;          // bytes of the default CMA area (cma=), made at start; not 0: `cma` is implied
  bool arch_has_dma_alloc = false;  // CONFIG_ARCH_HAS_DMA_ALLOC
  bool global_pool = false;       // CONFIG_DMA_GLOBAL_POOL
  bool noncoherent_mmap = false;  // CONFIG_DMA_NONCOHERENT_MMAP: memory of incoherent devices can be mapped by users
  bool coherent_pool = true;      // CONFIG_DMA_COHERENT_POOL: the atomic pools
  bool liveupdate = true;         // CONFIG_DMA_LIVEUPDATE
  uint64_t atomic_pool_size = KiB(128);  // coherent_pool=, each; 0: 128 KiB for each GiB of RAM
  bool atomic_pools_grow = false;        // by a worker, as in the kernel
  // Reserved ranges, at most one block of the largest order each.
  uint64_t global_pool_size = MiB(1);
  uint64_t restricted_pool_size = MiB(1);   // made for the first device with such a pool, shared by all
  uint64_t device_memory_size = MiB(1);     // of each device that has memory of its own

  // Bounce buffers (swiotlb=): bytes, 0 none. `force`: every map of RAM bounces.
  uint64_t swiotlb_size = MiB(1);
  unsigned swiotlb_areas = 0;       // 0: one per CPU
  bool swiotlb_force = false;
  bool swiotlb_dynamic = false;     // CONFIG_SWIOTLB_DYNAMIC
  // CONFIG_DMA_BOUNCE_UNALIGNED_KMALLOC, for incoherent devices; and the sizes its rule is about.
  bool bounce_unaligned_kmalloc = false;
  unsigned cache_line = 64;         // bytes
  unsigned dma_minalign = 128;      // ARCH_DMA_MINALIGN
  // Memory encryption: the bit of a bus address that says "decrypt" (AMD's C-bit); 0: none. Of the host itself, or of a
  // guest, in which case devices that cannot decrypt have DeviceTraits::force_unencrypted.
  uint64_t encryption_mask = 0;
  bool encrypted_guest = false;
  bool debug = false;               // CONFIG_DMA_API_DEBUG (debug/debug.h)
  // What differs from Linux 7.3 can be had as it is there, for comparison.
  bool legacy_mmio_untranslated = false;  // kMmio passes by the bus windows, as in the series of 2025
  bool compat_link_mmio_bounce = false;   // iova_link() of kMmio asks the kmalloc rule first: EPERM
};

struct DmaStats {
  uint64_t allocations = 0;   // live now
  uint64_t preserved = 0;     // of them, preserved now
  uint64_t restored = 0;      // by this kernel
  uint64_t leaked = 0;        // restores that failed after the token was accepted
  uint64_t leaked_pages = 0;   // pages of those that were preserved and now stay reserved
  uint64_t withheld_pages = 0; // never reused, because decrypting or encrypting them failed
  uint64_t debug_errors = 0;   // what dma-debug has found drivers to do wrong
};

// Breaks preservation on purpose, as the posted code and a careless driver would: for negative controls.
struct LiveUpdateFaults {
  bool short_preserve = false;   // only size >> 12 pages, not the whole block, on both sides
  bool restore_split = false;    // an unsplit block restored as split
};

// Gets the order of the checks of map_phys(kMmio) wrong, as two posted versions of it did: for negative controls.
enum class MapFault : uint8_t {
  kNone,
  kKmallocRuleForMmio,   // v4: what the kmalloc rule would bounce is refused, registers included
  kInvertedCapability,   // v5: what the device can reach is refused, and what it cannot is mapped
};

// One per kernel.
class Dma {
 public:
  static Result<std::unique_ptr<Dma>> create(mm::PageAllocator& allocator, mm::Vmalloc& vmalloc,
                                             kho::Kho& kho, const Config& config = {});
  ~Dma();
  DmaStats stats() const;
  void set_faults(LiveUpdateFaults faults);
  void set_map_fault(MapFault fault);
  const Config& config() const;
  Swiotlb* swiotlb();  // the system's bounce buffers; null: none
  Debug* debug();      // dma-debug; null: off
  // The driver of `device` has gone: what it still has mapped or allocated is a leak, and dma-debug says so.
  void device_removed(const Device& device);
  P2pRegistry& p2p();  // device memory that peers may use (p2p.h)

  struct State;
  State& state() { return *state_; }

 private:
  explicit Dma(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

// One coherent allocation: where the CPU and where the device find it.
struct Coherent {
  void* cpu = nullptr;   // with kNoKernelMapping: a cookie, not an address
  DmaAddr handle;
  uint64_t size = 0;     // bytes asked for
  template <typename T>
  T* as() const {
    return static_cast<T*>(cpu);
  }
};

// Zeroed, page-granular memory the device can reach. Errors: ENOMEM; EINVAL (size 0, kCcShared and other
// attributes an allocation cannot have, kGfpComp); EOPNOTSUPP (a path this part does not have). A device with memory of its
// own (device_memory.h) is served from there or not at all.
Result<Coherent> alloc_attrs(Device& device, uint64_t size, mm::Gfp gfp, Attr attrs);
inline Result<Coherent> alloc_coherent(Device& device, uint64_t size, mm::Gfp gfp) {
  return alloc_attrs(device, size, gfp, Attr::kNone);
}
// Null is a no-op. EBUSY: it is preserved, the memory stays; EINVAL: not an allocation of this device,
// or other size or attributes than it was made with. Warns with interrupts disabled (irq_context.h), unless the memory is
// the device's own.
Status free_attrs(Device& device, const Coherent& allocation, Attr attrs);
inline Status free_coherent(Device& device, const Coherent& allocation) {
  return free_attrs(device, allocation, Attr::kNone);
}

// Physical address of the allocation's record; what a driver hands to its successor.
enum class Token : uint64_t { kNone = 0 };

// EOPNOTSUPP: every case of an allocation that cannot be handed over (see preserve.cc for the table);
// EBUSY: preserved already; EINVAL: no such allocation, size 0; ENOMEM. The allocation stays usable.
Result<Token> preserve_allocation(Device& device, const Coherent& allocation, Attr attrs);
// The allocation becomes an ordinary one again. Unknown, foreign and spent tokens: EINVAL, no harm done.
Status unpreserve_allocation(Device& device, Token token);

// One-shot. Contents are untouched. Errors, all of which leak the memory once the record was found good:
//   EOPNOTSUPP  KHO off; a device behind an IOMMU whose domain was not restored
//   EINVAL      token: not a record of this device, damaged, or spent; size or attributes differ
//   EAGAIN      would have to block and gfp may not
//   EPERM       encryption differs from what was recorded
//   ERANGE      this device's bus address of the memory is not the recorded one, or beyond its mask; behind an IOMMU,
//               the address leads elsewhere
//   ENOENT, EINVAL  behind an IOMMU: somebody has claimed the address
//   ENOMEM, EIO remapping or decryption failed; the pages were not preserved
Result<Coherent> restore_allocation(Device& device, uint64_t size, mm::Gfp gfp, Attr attrs, Token token);

}  // namespace causeway::dma
