// The doorbells of message-signalled interrupts, as devices behind an IOMMU reach them (iommu_dma_prepare_msi): each page
// with a doorbell is mapped once, when it is first asked for, and stays.
//
//   MsiDoorbells doorbells(domain, {.granule = KiB(4), .take = ..., .give = ...});
//   Iova ring = CW_TRY(doorbells.map(PhysAddr{0xfee00040}));
//
// Where the addresses come from is up to the owner: an IOVA allocator, or linear() for domains whose owner maps all else
// himself and sets one window aside. Thread-safe; map() may sleep.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "base/result.h"
#include "iommu/domain.h"
#include "sync/guarded.h"

namespace causeway::iommu {

class MsiDoorbells {
 public:
  struct Source {
    uint64_t granule;                               // a multiple of the domain's
    std::function<Result<Iova>(uint64_t size)> take;
    std::function<void(Iova, uint64_t size)> give;  // after a failed map
  };
  MsiDoorbells(Domain& domain, Source source);
  // Pages from `base` upwards, one after the other (iommu_get_msi_cookie). EINVAL: not a kUnmanaged domain, or `base` is
  // no page; EEXIST: the domain's addresses are handed out already.
  static Result<std::unique_ptr<MsiDoorbells>> linear(Domain& domain, Iova base);
  ~MsiDoorbells();

  // A region whose doorbells are where they are: addresses that the hardware does not translate.
  void add_identity(PhysAddr start, uint64_t size);
  // WRITE|NOEXEC|MMIO. Errors of the source and of the domain.
  Result<Iova> map(PhysAddr doorbell);

 private:
  struct Page {
    PhysAddr phys;
    Iova iova;
  };
  Domain& domain_;
  const Source source_;
  bool claimed_ = false;
  sync::Guarded<std::vector<Page>> pages_{sync::LockName{"iommu.msi"}};
};

}  // namespace causeway::iommu
