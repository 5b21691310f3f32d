#include "iommu/msi_doorbells.h"

#include <utility>

namespace causeway::iommu {

MsiDoorbells::MsiDoorbells(Domain& domain, Source source) : domain_(domain), source_(std::move(source)) {}

MsiDoorbells::~MsiDoorbells() {
  if (claimed_) domain_.unclaim();
}

Result<std::unique_ptr<MsiDoorbells>> MsiDoorbells::linear(Domain& domain, Iova base) {
  if (domain.type() != DomainType::kUnmanaged || !base.is_aligned(kPageSize) || domain.granule() > kPageSize)
    return fail(EINVAL, "not a window of an unmanaged domain");
  if (!domain.claim()) return fail(EEXIST, "the domain's addresses are handed out already");
  auto next = std::make_shared<Iova>(base);  // changed under the lock of the pages
  auto made = std::make_unique<MsiDoorbells>(
      domain, Source{.granule = kPageSize,
                     .take = [next](uint64_t size) -> Result<Iova> { return std::exchange(*next, *next + size); },
                     .give = [next](Iova iova, uint64_t) { *next = iova; }});
  made->claimed_ = true;
  return made;
}

void MsiDoorbells::add_identity(PhysAddr start, uint64_t size) {
  pages_.with([&](std::vector<Page>& pages) {
    PhysAddr end = start + size;
    for (PhysAddr phys = start.aligned_down(source_.granule); phys < end; phys += source_.granule)
      pages.push_back({phys, Iova(phys.value())});
  });
}

Result<Iova> MsiDoorbells::map(PhysAddr doorbell) {
  const PhysAddr phys = doorbell.aligned_down(source_.granule);
  return pages_.with([&](std::vector<Page>& pages) -> Result<Iova> {
    for (const Page& page : pages)
      if (page.phys == phys) return page.iova + (doorbell - phys);
    Iova iova = CW_TRY(source_.take(source_.granule));
    if (Status mapped = domain_.map(iova, phys, source_.granule, kWrite | kNoExec | kMmio); !mapped) {
      source_.give(iova, source_.granule);
      return fail(mapped.error());
    }
    domain_.sync_map(iova, source_.granule);
    pages.push_back({phys, iova});
    return iova + (doorbell - phys);
  });
}

}  // namespace causeway::iommu
