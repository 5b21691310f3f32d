#include "dma/iommu/iommu_dma.h"

#include <utility>

#include "base/log.h"
#include "base/warn_once.h"
#include "dma/iommu/iommu_state.h"

namespace causeway::dma {

IommuDma::IommuDma(std::unique_ptr<State> state) : state_(std::move(state)) {}
IommuDma::~IommuDma() = default;

DmaAddr IommuDma::map_phys(Device& device, PhysAddr phys, size_t size, Direction direction, Attr attrs) {
  const bool coherent = device.traits().coherent;
  const uint32_t prot = prot_of(direction, coherent, attrs);
  if (has(attrs, Attr::kMmio)) return state_->map(device, phys, size, prot, device.limit());

  const PhysAddr original = phys;
  if (State::may_bounce(device, size, direction) && state_->is_unaligned(phys, size)) {
    if (has(attrs, Attr::kRequireCoherent)) return kMappingError;
    Result<PhysAddr> bounce = state_->bounce(device, phys, size, direction, attrs);
    if (!bounce) return kMappingError;
    phys = *bounce;
  }
  if (!coherent && !has(attrs, Attr::kSkipCpuSync)) {
    state_->dma.cache.for_device(phys, size, direction);
    state_->dma.cache.flush();
  }
  DmaAddr address = state_->map(device, phys, size, prot, device.limit());
  // The device has seen nothing of it: there is nothing to copy back.
  if (address == kMappingError && phys != original)
    State::unbounce(device, phys, size, direction, attrs | Attr::kSkipCpuSync);
  return address;
}

void IommuDma::unmap_phys(Device& device, DmaAddr address, size_t size, Direction direction, Attr attrs) {
  if (has(attrs, Attr::kMmio | Attr::kRequireCoherent)) return state_->unmap(device, address, size);
  std::optional<PhysAddr> phys = state_->domain.iova_to_phys(Iova(address.value()));
  if (!phys) {
    CW_WARN_ONCE("dma", "{}: unmap of {}, which is not mapped", device.name(), address);
    return;
  }
  if (!device.traits().coherent && !has(attrs, Attr::kSkipCpuSync)) {
    state_->dma.cache.for_cpu(*phys, size, direction);
    state_->dma.cache.flush();
  }
  state_->unmap(device, address, size);
  State::unbounce(device, *phys, size, direction, attrs);
}

void IommuDma::sync_single_for_cpu(Device& device, DmaAddr address, size_t size, Direction direction) {
  const bool coherent = device.traits().coherent;
  if (coherent && !State::may_bounce(device, size, direction)) return;
  std::optional<PhysAddr> phys = state_->domain.iova_to_phys(Iova(address.value()));
  if (!phys) return;
  if (!coherent) {
    state_->dma.cache.for_cpu(*phys, size, direction);
    state_->dma.cache.flush();
  }
  if (Swiotlb* pool = device.swiotlb(); pool != nullptr && pool->contains(device, *phys))
    pool->sync_for_cpu(device, *phys, size, direction);
}

void IommuDma::sync_single_for_device(Device& device, DmaAddr address, size_t size, Direction direction) {
  const bool coherent = device.traits().coherent;
  if (coherent && !State::may_bounce(device, size, direction)) return;
  std::optional<PhysAddr> phys = state_->domain.iova_to_phys(Iova(address.value()));
  if (!phys) return;
  if (Swiotlb* pool = device.swiotlb(); pool != nullptr && pool->contains(device, *phys))
    pool->sync_for_device(device, *phys, size, direction);
  if (!coherent) {
    state_->dma.cache.for_device(*phys, size, direction);
    state_->dma.cache.flush();
  }
}

size_t IommuDma::max_mapping_size(const Device& device) const {
  if (!device.traits().untrusted) return SIZE_MAX;
  return device.swiotlb() != nullptr ? device.swiotlb()->max_mapping_size(device) : SIZE_MAX;
}

// The longest range that the magazines of the IOVA allocator hold.
size_t IommuDma::opt_mapping_size() const {
  return size_t{1} << (kPageShift + iommu::IovaDomain::kClasses - 1);
}

uint64_t IommuDma::merge_boundary() const { return state_->granule - 1; }

Result<DmaAddr> IommuDma::map_msi(Device&, PhysAddr doorbell) {
  Iova iova = CW_TRY(state_->doorbells->map(doorbell));
  return DmaAddr(iova.value());
}

iommu::Domain& IommuDma::domain() const { return state_->domain; }

IommuDma::Stats IommuDma::stats() const {
  Stats stats{.mapped = state_->iovas.stats().live};
  if (state_->restored != nullptr) stats.unclaimed = state_->restored->unclaimed() << state_->iovas.shift();
  if (state_->queue == nullptr) return stats;
  iommu::FlushQueue::Stats queue = state_->queue->stats();
  stats.queued = queue.queued;
  stats.flushes = queue.flushes;
  stats.deferred = true;
  return stats;
}

void IommuDma::drain() {
  if (state_->queue != nullptr) state_->queue->drain();
}

Status attach_iommu(Device& device, IommuDma& iommu) {
  if (device.iommu() != nullptr) return fail(EBUSY, "the device is attached to a domain");
  if (iommu.domain().type() == iommu::DomainType::kIdentity) return {};
  device.set_iommu(&iommu);
  return {};
}

void detach_iommu(Device& device) { device.set_iommu(nullptr); }

}  // namespace causeway::dma
