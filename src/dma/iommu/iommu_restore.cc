// A domain that comes with mappings, and how they find their owners.

#include "base/log.h"
#include "base/point.h"
#include "dma/iommu/iommu_state.h"

namespace causeway::dma {

using iommu::Gather;
using iommu::IoPageTable;

Status IommuDma::State::take_over(const IommuDmaOptions& options) {
  IoPageTable* table = domain.page_table();
  if (table == nullptr && !options.leaves) return fail(EINVAL, "a restored domain that does not say what it has mapped");
  restored = std::make_unique<RestoredRanges>(iovas);
  auto add = [this](const IoPageTable::Leaf& leaf) {
    restored->add(leaf);
    return true;
  };
  if (table != nullptr)
    table->for_each_leaf(add);
  else
    options.leaves(add);
  restored->hold();
  // The predecessor may have unmapped something and not have lived to flush it. Those addresses look free now.
  domain.flush_all();
  return {};
}

void IommuDma::set_preserved(bool preserved) { state_->preserved.store(preserved, std::memory_order_relaxed); }
bool IommuDma::is_preserved() const { return state_->preserved.load(std::memory_order_relaxed); }
bool IommuDma::is_restored() const { return state_->restored != nullptr; }

Status IommuDma::claim(DmaAddr address, uint64_t size, Direction direction) {
  if (state_->restored == nullptr) return fail(EOPNOTSUPP, "the device's domain was not restored");
  std::optional<uint64_t> bytes = size == 0 ? std::nullopt : state_->whole_granules(address.value(), size);
  if (!bytes) return fail(EINVAL, "a mapping of no length or beyond all addresses");
  CW_POINT("dma.iommu.claim");
  uint32_t access = (device_reads(direction) ? iommu::kRead : 0u) | (device_writes(direction) ? iommu::kWrite : 0u);
  return state_->restored->claim(address.value() >> state_->iovas.shift(), *bytes >> state_->iovas.shift(), access);
}

Status IommuDma::check_translation(DmaAddr address, PhysAddr phys, uint64_t size) const {
  for (uint64_t done = 0; done < size; done += state_->granule) {
    std::optional<PhysAddr> found = state_->domain.iova_to_phys(Iova(address.value() + done));
    if (found == phys + done) continue;
    log::warn("dma", "address {} + {:#x} leads to {}, want {}", address, done, found.value_or(PhysAddr{0}), phys + done);
    return fail(ERANGE, "the domain does not lead to the memory that was recorded");
  }
  return {};
}

uint64_t IommuDma::release_unclaimed() {
  if (state_->restored == nullptr) return 0;
  const unsigned shift = state_->iovas.shift();
  const uint64_t granules = state_->restored->release([this, shift](uint64_t pfn, uint64_t count) {
    CW_POINT("dma.iommu.release_unclaimed");
    log::info("dma", "{:#x} bytes at {:#x}, which nobody claimed, are unmapped", count << shift, pfn << shift);
    if (!state_->unmap_now(Iova(pfn << shift), count << shift))
      log::warn("dma", "not all of {:#x} bytes at {:#x} was mapped any more", count << shift, pfn << shift);
  });
  return granules << shift;
}

}  // namespace causeway::dma
