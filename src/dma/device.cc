#include "dma/device.h"

#include <xxhash.h>

#include <algorithm>
#include <utility>

#include "base/log.h"
#include "dma/state.h"

namespace causeway::dma {

namespace {

// The lowest zone any platform has (zone_dma_limit): a mask that reaches it can always be served.
constexpr uint64_t kZoneDmaLimit = bit_mask(24);

uint64_t min_not_zero(uint64_t a, uint64_t b) {
  if (a == 0) return b;
  return b == 0 ? a : std::min(a, b);
}

}  // namespace

Device::Device(Dma& dma, std::string name, DeviceTraits traits)
    : dma_(&dma), name_(std::move(name)), traits_(traits), requester_(XXH64(name_.data(), name_.size(), 0)) {
  Dma::State& state = dma.state();
  swiotlb_ = traits_.restricted_pool ? restricted_swiotlb(state, traits_.force_unencrypted) : state.swiotlb.get();
  recompute();
}

void Device::recompute() {
  limit_ = min_not_zero(mask_, bus_limit_);
  plain_ = traits_.coherent && windows_.empty() && !traits_.force_unencrypted &&
           dma_->config().encryption_mask == 0 && !(swiotlb_ != nullptr && swiotlb_->force_bounce());
}

void Device::set_bus_limit(uint64_t highest_address) {
  bus_limit_ = highest_address;
  recompute();
}

void Device::set_swiotlb(Swiotlb* pool) {
  swiotlb_ = pool;
  recompute();
}

Status Device::check_mask(uint64_t mask) const {
  // An IOMMU, or another's mapping operations, find an address for any mask.
  if (iommu_ != nullptr || traits_.iommu) return {};
  uint64_t last_byte = (dma_->state().map().end_pfn() << kPageShift) - 1;
  uint64_t needed = std::min(last_byte, kZoneDmaLimit);
  // Behind bus windows it is enough to reach the nearest one.
  if (!windows_.empty()) needed = ~uint64_t{0};
  for (const BusWindow& window : windows_)
    needed = std::min(needed, window.dma_start.value() + std::min(window.size - 1, kZoneDmaLimit));
  if (mask >= needed) return {};
  log::warn("dma", "{}: mask {:#x} is too narrow, want at least {:#x}", name_, mask, needed);
  return fail(EIO, "the mask cannot reach enough of RAM");
}

Status Device::set_mask(uint64_t mask) {
  if (!has_mask_) return fail(EIO, "the device has no mask: it cannot DMA");
  CW_TRY(check_mask(mask));
  mask_ = mask;
  recompute();
  // Mapping operations that are not there cannot want to be told either.
  skip_sync_.set(traits_.coherent || (traits_.iommu && iommu_ == nullptr));
  return {};
}

Status Device::set_coherent_mask(uint64_t mask) {
  CW_TRY(check_mask(mask));
  coherent_mask_ = mask;
  return {};
}

Status Device::set_mask_and_coherent(uint64_t mask) {
  CW_TRY(set_mask(mask));
  (void)set_coherent_mask(mask);
  return {};
}

Status Device::set_bus_windows(std::vector<BusWindow> windows) {
  if (!windows_.empty()) return fail(EINVAL, "the device has bus windows already");
  for (const BusWindow& window : windows) {
    uint64_t end;
    if (window.size == 0 || !checked_add(window.cpu_start.value(), window.size - 1, &end) ||
        !checked_add(window.dma_start.value(), window.size - 1, &end))
      return fail(EINVAL, "a bus window is empty or wraps");
  }
  windows_ = std::move(windows);
  recompute();
  return {};
}

std::optional<DmaAddr> Device::to_dma(PhysAddr phys) const {
  if (windows_.empty()) return DmaAddr(phys.value());
  for (const BusWindow& window : windows_)
    if (phys >= window.cpu_start && phys - window.cpu_start < window.size)
      return window.dma_start + (phys - window.cpu_start);
  return std::nullopt;
}

std::optional<DmaAddr> Device::to_dma(PhysAddr phys, uint64_t size) const {
  if (windows_.empty()) return DmaAddr(phys.value());
  for (const BusWindow& window : windows_) {
    if (phys < window.cpu_start || phys - window.cpu_start >= window.size) continue;
    uint64_t offset = phys - window.cpu_start;
    if (size > window.size - offset) return std::nullopt;
    return window.dma_start + offset;
  }
  return std::nullopt;
}

std::optional<PhysAddr> Device::to_phys(DmaAddr dma) const {
  if (windows_.empty()) return PhysAddr(dma.value());
  for (const BusWindow& window : windows_)
    if (dma >= window.dma_start && dma - window.dma_start < window.size)
      return window.cpu_start + (dma - window.dma_start);
  return std::nullopt;
}

uint64_t Device::coherent_limit() const {
  return min_not_zero(coherent_mask_, bus_limit_);
}

PhysAddr Device::coherent_phys_limit() const {
  uint64_t limit = coherent_limit();
  if (windows_.empty()) return PhysAddr(limit);
  PhysAddr highest;
  for (const BusWindow& window : windows_) {
    if (window.dma_start.value() > limit) continue;
    uint64_t reach = std::min(window.size - 1, limit - window.dma_start.value());
    highest = std::max(highest, window.cpu_start + reach);
  }
  return highest;
}

std::optional<DmaAddr> Device::coherent_handle(PhysAddr phys, uint64_t size) const {
  uint64_t last;
  if (size == 0 || !checked_add(phys.value(), size - 1, &last)) return std::nullopt;
  std::optional<DmaAddr> begin = to_dma(phys);
  std::optional<DmaAddr> end = to_dma(PhysAddr(last));
  if (!begin || !end || *end < *begin || *end - *begin != size - 1) return std::nullopt;
  if (end->value() > coherent_limit()) return std::nullopt;
  return begin;
}

}  // namespace causeway::dma
