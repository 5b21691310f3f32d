#include "dma/iommu/iommu_state.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "base/log.h"
#include "base/point.h"
#include "base/warn_once.h"

namespace causeway::dma {

using iommu::Gather;
using iommu::IovaDomain;

uint32_t prot_of(Direction direction, bool coherent, Attr attrs) {
  uint32_t prot = has(attrs, Attr::kMmio) ? uint32_t{iommu::kMmio} : coherent ? uint32_t{iommu::kCache} : 0;
  if (has(attrs, Attr::kPrivileged)) prot |= iommu::kPriv;
  if (device_reads(direction)) prot |= iommu::kRead;
  if (device_writes(direction)) prot |= iommu::kWrite;
  return prot;
}

IommuDma::State::State(Dma& dma_, iommu::Domain& domain_, bool forcedac_)
    : dma(dma_.state()),
      domain(domain_),
      granule(domain_.granule()),
      aperture(domain_.aperture()),
      forcedac(forcedac_),
      iovas({.granule = granule, .start = align_up(aperture.start.value(), granule) / granule}) {
  doorbells = std::make_unique<iommu::MsiDoorbells>(
      domain, iommu::MsiDoorbells::Source{
                  .granule = granule,
                  .take = [this](uint64_t size) -> Result<Iova> {
                    uint64_t pages = size >> iovas.shift();
                    uint64_t limit = std::min<uint64_t>(aperture.end.value() >> iovas.shift(), iovas.last_low_pfn());
                    uint64_t pfn = CW_TRY(iovas.alloc_fast(pages, limit, IovaDomain::Flush::kYes));
                    return Iova(pfn << iovas.shift());
                  },
                  .give = [this](Iova iova, uint64_t size) { give(iova, size); }});
}

IommuDma::State::~State() { domain.unclaim(); }

std::optional<Iova> IommuDma::State::take(Device& device, uint64_t bytes, uint64_t limit) {
  if (aperture.force) limit = std::min(limit, aperture.end.value());
  const unsigned shift = iovas.shift();
  // Of a granule that the device reaches in part it reaches nothing.
  if (limit < granule - 1) return std::nullopt;
  const uint64_t last = (limit - (granule - 1)) >> shift;
  const uint64_t pages = bytes >> shift;
  if (last > iovas.last_low_pfn() && !forcedac && device.tries_32bit_iova()) {
    // Bridges and devices that cannot do what their masks say are more common than lack of addresses.
    if (auto pfn = iovas.alloc_fast(pages, iovas.last_low_pfn(), IovaDomain::Flush::kNo)) return Iova(*pfn << shift);
    if (device.give_up_32bit_iova())
      log::info("dma", "{}: using {}-bit DMA addresses", device.name(), std::bit_width(limit));
  }
  auto pfn = iovas.alloc_fast(pages, last, IovaDomain::Flush::kYes);
  if (!pfn) return std::nullopt;
  return Iova(*pfn << shift);
}

std::optional<uint64_t> IommuDma::State::whole_granules(uint64_t address, uint64_t size) const {
  uint64_t bytes;
  if (!checked_add(size, offset_in_granule(address), &bytes) || bytes == 0 || bytes > ~uint64_t{0} - granule)
    return std::nullopt;
  return align_up(bytes, granule);
}

DmaAddr IommuDma::State::map(Device& device, PhysAddr phys, uint64_t size, uint32_t prot, uint64_t limit) {
  if (device.min_align_mask() > granule - 1) {
    CW_WARN_ONCE("dma", "{}: unsupported alignment constraint: min_align_mask {:#x}, want at most {:#x}", device.name(),
                 device.min_align_mask(), granule - 1);
    return kMappingError;
  }
  std::optional<uint64_t> bytes = whole_granules(phys.value(), size);
  if (!bytes) return kMappingError;
  std::optional<Iova> iova = take(device, *bytes, limit);
  if (!iova) {
    log::debug("dma", "{}: no bus addresses for {:#x} bytes", device.name(), *bytes);
    return kMappingError;
  }
  const uint64_t offset = offset_in_granule(phys.value());
  if (Status mapped = domain.map(*iova, phys - offset, *bytes, prot); !mapped) {
    log::debug("dma", "{}: {} is not mapped: {}", device.name(), phys, mapped.error().message);
    give(*iova, *bytes);
    return kMappingError;
  }
  domain.sync_map(*iova, *bytes);
  return DmaAddr(iova->value() + offset);
}

// Whether exactly this range was handed out, as lengths are rounded.
bool IommuDma::State::owns(Iova start, uint64_t bytes) const {
  const uint64_t pfn = start.value() >> iovas.shift();
  uint64_t pages = bytes >> iovas.shift();
  if (pages < uint64_t{1} << (IovaDomain::kClasses - 1)) pages = std::bit_ceil(pages);
  auto range = iovas.find(pfn);
  return range && !range->reserved && range->first == pfn && range->last - range->first + 1 == pages;
}

void IommuDma::State::unmap(Device& device, DmaAddr address, uint64_t size) {
  const uint64_t offset = offset_in_granule(address.value());
  std::optional<uint64_t> bytes = whole_granules(address.value(), size);
  if (!bytes) {
    CW_WARN_ONCE("dma", "{}: unmap of {:#x} bytes at {}, which cannot have been mapped", device.name(), size, address);
    return;
  }
  const Iova start(address.value() - offset);
  // A wrong length would take a neighbour's translation and hand out his addresses. With dma-debug that is worth a
  // look into the tree.
  if (dma.debug != nullptr && !owns(start, *bytes)) {
    CW_WARN_ONCE("dma", "{}: unmap of {:#x} bytes at {}, which were not mapped as one", device.name(), size, address);
    return;
  }
  // A device that nobody trusts must not reach what was unmapped, however lazy its domain is.
  Gather gather{.queued = queue != nullptr && !device.traits().untrusted};
  const uint64_t unmapped = domain.unmap(start, *bytes, gather);
  if (!gather.queued) domain.sync(gather);
  CW_POINT("dma.iommu.unmap.before_free");
  if (unmapped != *bytes) {
    CW_WARN_ONCE("dma", "{}: unmap of {:#x} bytes at {}, want the {:#x} that were mapped there", device.name(), *bytes,
                 start, unmapped);
    if (unmapped == 0 || !owns(start, *bytes)) {
      // Nobody's addresses, but tables may have gone with them.
      if (!gather.freed.empty()) domain.flush_all();
      domain.free_tables(gather.freed);
      return;
    }
  }
  if (gather.queued)
    queue->add(start.value() >> iovas.shift(), *bytes >> iovas.shift(), std::move(gather.freed));
  else
    give(start, *bytes);
}

bool IommuDma::State::unmap_now(Iova start, uint64_t bytes) {
  Gather gather;
  const uint64_t unmapped = domain.unmap(start, bytes, gather);
  domain.sync(gather);
  return unmapped == bytes;
}

Result<PhysAddr> IommuDma::State::bounce(Device& device, PhysAddr phys, uint64_t size, Direction direction,
                                         Attr attrs) {
  Swiotlb* pool = device.swiotlb();
  if (pool == nullptr) {
    CW_WARN_ONCE("dma", "{}: has to bounce, and there are no bounce buffers", device.name());
    return fail(ENOMEM, "no bounce buffers");
  }
  PhysAddr bounce = CW_TRY(pool->map(device, phys, size, granule - 1, direction, &attrs));
  // The rest of its granules is the mapping's too, and the device will see it.
  if (device.traits().untrusted) {
    const uint64_t before = offset_in_granule(bounce.value());
    const PhysAddr end = bounce + size;
    std::memset(dma.linear(bounce - before), 0, before);
    if (uint64_t used = offset_in_granule(end.value()); used != 0) std::memset(dma.linear(end), 0, granule - used);
  }
  return bounce;
}

void IommuDma::State::unbounce(Device& device, PhysAddr phys, uint64_t size, Direction direction, Attr attrs) {
  Swiotlb* pool = device.swiotlb();
  if (pool != nullptr && pool->contains(device, phys)) pool->unmap(device, phys, size, direction, attrs);
}

}  // namespace causeway::dma
