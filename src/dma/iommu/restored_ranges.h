// The bus addresses that a restored domain has mapped and that this kernel has not handed out: a predecessor did. Their
// owners claim them one by one; what is left in the end is nobody's.
//
//   RestoredRanges restored(iovas);
//   table.for_each_leaf([&](const Leaf& leaf) { return restored.add(leaf), true; });   // in order
//   restored.hold();                                   // nobody is given these addresses from here on
//   CW_TRY(restored.claim(pfn, 3, iommu::kWrite));     // an allocation of 3 granules, which free_fast(pfn, 3) gives back
//   restored.release([&](uint64_t pfn, uint64_t granules) { unmap and flush });
//
// A page table does not say where one mapping ends and the next begins, nor that the addresses behind a length that is no
// power of two belong to it (IovaDomain::rounded). So holes behind mapped granules are held too, up to where the allocation
// of the last one can reach at most, and a claim has to be a range that the allocator can have handed out.
// Thread-safe.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>

#include "base/result.h"
#include "iommu/iova.h"
#include "iommu/pt/io_page_table.h"
#include "sync/mutex.h"

namespace causeway::dma {

class RestoredRanges {
 public:
  explicit RestoredRanges(iommu::IovaDomain& iovas) : iovas_(iovas) {}

  void add(const iommu::IoPageTable::Leaf& leaf);
  // Once, after the last add(). What lies in a reserved region stays what it is: nobody handed that out.
  void hold();

  // ENOENT: not all of it is mapped, or some has been claimed; EINVAL: no allocation of that length begins there, it would
  // end inside a leaf, it shares granules with another mapping, or what is mapped does not allow `access` (kRead, kWrite).
  Status claim(uint64_t pfn, uint64_t granules, uint32_t access);
  // Whatever is not claimed: `unmap` is called for each run of it, then its addresses are free. Returns the granules
  // unmapped. Nothing can be claimed any more.
  uint64_t release(const std::function<void(uint64_t pfn, uint64_t granules)>& unmap);
  uint64_t unclaimed() const;  // granules

 private:
  struct Mapped {
    uint64_t last;
    uint32_t prot;
    bool leaf;  // one entry of the table: it cannot be cut
  };
  using Runs = std::map<uint64_t, Mapped>;        // by first pfn
  using Held = std::map<uint64_t, uint64_t>;      // first to last pfn: ranges of `iovas_`, mapped or not
  Status check(Runs::iterator at, uint64_t first, uint64_t last, uint64_t end, uint32_t access) CW_REQUIRES(mutex_);
  void forget(uint64_t first, uint64_t last) CW_REQUIRES(mutex_);
  void clip_to_held() CW_REQUIRES(mutex_);

  iommu::IovaDomain& iovas_;
  mutable sync::Mutex mutex_{"dma.iommu.restored"};
  Runs mapped_ CW_GUARDED_BY(mutex_);
  Held held_ CW_GUARDED_BY(mutex_);
};

}  // namespace causeway::dma
