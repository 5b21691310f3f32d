#include <algorithm>
#include <vector>

#include "base/log.h"
#include "base/point.h"
#include "dma/iommu/iommu_state.h"

namespace causeway::dma {

using iommu::DomainType;
using iommu::FlushQueue;

namespace {

struct Window {
  uint64_t start, end;  // inclusive
};

// EINVAL: one is empty or wraps, or two overlap.
Result<std::vector<Window>> sorted_windows(const std::vector<BusWindow>& ranges) {
  std::vector<Window> windows;
  for (const BusWindow& range : ranges) {
    uint64_t end;
    if (range.size == 0 || !checked_add(range.dma_start.value(), range.size - 1, &end))
      return fail(EINVAL, "a window of the bridge is empty or wraps");
    windows.push_back({range.dma_start.value(), end});
  }
  std::sort(windows.begin(), windows.end(), [](const Window& a, const Window& b) { return a.start < b.start; });
  for (size_t i = 1; i < windows.size(); ++i)
    if (windows[i].start <= windows[i - 1].end) return fail(EINVAL, "windows of the bridge overlap");
  return windows;
}

bool reaches(const iommu::Aperture& aperture, const std::vector<Window>& windows) {
  if (aperture.end < aperture.start) return false;
  if (windows.empty() || !aperture.force) return true;
  return std::any_of(windows.begin(), windows.end(), [&](const Window& window) {
    return window.start <= aperture.end.value() && window.end >= aperture.start.value();
  });
}

}  // namespace

Status IommuDma::State::reserve(const IommuDmaOptions& options) {
  std::vector<Window> windows = CW_TRY(sorted_windows(options.dma_ranges));
  if (!reaches(aperture, windows)) return fail(EFAULT, "the device's addresses are outside the domain's aperture");
  auto keep_out = [this](uint64_t first, uint64_t last) {
    return iovas.reserve(first >> iovas.shift(), last >> iovas.shift());
  };
  for (const ReservedRegion& window : options.bridge_windows)
    CW_TRY(keep_out(window.start.value(), window.end.value()));
  if (!windows.empty()) {
    if (windows.front().start != 0) CW_TRY(keep_out(0, windows.front().start - 1));
    for (size_t i = 1; i < windows.size(); ++i)
      if (windows[i].start - windows[i - 1].end > 1) CW_TRY(keep_out(windows[i - 1].end + 1, windows[i].start - 1));
    if (windows.back().end != ~uint64_t{0}) CW_TRY(keep_out(windows.back().end + 1, ~uint64_t{0}));
  }
  for (const ReservedRegion& region : options.reserved) {
    // Those of software are where map_msi() would put doorbells: nothing to keep clear of.
    if (region.kind == ReservedRegion::Kind::kSoftwareMsi) continue;
    CW_TRY(keep_out(region.start.value(), region.end.value()));
    if (region.kind == ReservedRegion::Kind::kMsi)
      doorbells->add_identity(PhysAddr(region.start.value()), region.end - region.start + 1);
  }
  return {};
}

Result<std::unique_ptr<IommuDma>> IommuDma::create(Dma& dma, iommu::Domain& domain, const IommuDmaOptions& options) {
  if (domain.granule() == 0 || domain.granule() > kPageSize)
    return fail(EINVAL, "the domain's pages are larger than the CPU's");
  if (domain.type() == DomainType::kUnmanaged || domain.type() == DomainType::kBlocked)
    return fail(EINVAL, "not a domain for the DMA API");
  if (!domain.claim()) return fail(EEXIST, "the domain's addresses are handed out already");
  auto state = std::make_unique<State>(dma, domain, options.forcedac);
  if (domain.type() == DomainType::kDmaFq) {
    auto queue = FlushQueue::create(domain, state->iovas, {.single = options.shadow_on_flush});
    if (queue)
      state->queue = std::move(*queue);
    else
      log::warn("dma", "no flush queue, unmaps are strict: {}", queue.error().message);
  }
  CW_TRY(state->reserve(options));
  if (options.restored) CW_TRY(state->take_over(options));
  return std::unique_ptr<IommuDma>(new IommuDma(std::move(state)));
}

}  // namespace causeway::dma
