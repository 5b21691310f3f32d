// Allocations that end with their device's driver (the dmam_ functions).
//
//   ManagedAllocations managed(device);                          // at probe
//   Coherent ring = CW_TRY(managed.alloc_attrs(KiB(20), kGfpKernel, Attr::kNone));
//   ...                                                          // freed with `managed`, the latest first
//
// One that is no longer needed can be freed before; a free that does not fit is warned of, and nothing is freed then.
// Thread-safe.
#pragma once

#include <vector>

#include "dma/dma.h"
#include "sync/guarded.h"

namespace causeway::dma {

class ManagedAllocations {
 public:
  // The device outlives it.
  explicit ManagedAllocations(Device& device) : device_(device) {}
  ~ManagedAllocations();
  ManagedAllocations(const ManagedAllocations&) = delete;
  ManagedAllocations& operator=(const ManagedAllocations&) = delete;

  // dmam_alloc_attrs, dmam_alloc_coherent. Errors of the functions without the m.
  Result<Coherent> alloc_attrs(uint64_t size, mm::Gfp gfp, Attr attrs);
  Result<Coherent> alloc_coherent(uint64_t size, mm::Gfp gfp) { return alloc_attrs(size, gfp, Attr::kNone); }
  // dmam_free_coherent. EINVAL, with a warning: nothing managed has this CPU address, or its size or handle is another. EBUSY: it is
  // preserved; it stays managed.
  Status free_coherent(const Coherent& memory);

  size_t size() const;

 private:
  struct Entry {
    Coherent memory;
    Attr attrs;
  };
  Device& device_;
  sync::Guarded<std::vector<Entry>> entries_{sync::LockName{"dma.managed"}};
};

}  // namespace causeway::dma
