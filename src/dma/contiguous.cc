#include "dma/contiguous.h"

#include <algorithm>
#include <vector>

#include "base/log.h"
#include "dma/state.h"

namespace causeway::dma {

namespace {

constexpr Order kMaxAlignment{8};  // CONFIG_CMA_ALIGNMENT

}  // namespace

Status Contiguous::create_default(uint64_t size) {
  auto made = cma_.create_from_free(allocator_, size, mm::kDma32Limit - 1, 0, "reserved");
  if (!made) made = cma_.create_from_free(allocator_, size, PhysAddr{~uint64_t{0}}, 0, "reserved");
  default_ = CW_TRY(std::move(made));
  return {};
}

void Contiguous::set_area(const Device& device, mm::CmaArea* area) {
  areas_.with([&](Areas& areas) {
    if (area == nullptr) {
      areas.by_device.erase(device.requester());
      return;
    }
    areas.by_device[device.requester()] = area;
    if (std::ranges::find(areas.ever, area) == areas.ever.end()) areas.ever.push_back(area);
  });
  if (area != nullptr) any_.store(true, std::memory_order_release);
}

mm::CmaArea* Contiguous::area_of(const Device& device) const {
  if (!any_.load(std::memory_order_acquire)) return nullptr;
  return areas_.with([&](const Areas& areas) -> mm::CmaArea* {
    auto own = areas.by_device.find(device.requester());
    return own == areas.by_device.end() ? nullptr : own->second;
  });
}

mm::Page* Contiguous::try_area(mm::CmaArea* area, const Device& device, uint64_t pages) {
  const uint64_t bytes = pages << kPageShift;
  auto first = area->alloc(pages, std::min(Order::covering(bytes), kMaxAlignment), mm::kGfpKernel | mm::Gfp::kNoWarn);
  if (!first) return nullptr;
  if (device.coherent_handle(allocator_.map().phys(*first), bytes)) return *first;
  area->release(*first, pages);
  return nullptr;
}

mm::Page* Contiguous::alloc(const Device& device, uint64_t pages, mm::Gfp gfp) {
  if (!has(gfp, mm::Gfp::kBlocking) || pages == 0 || pages >= allocator_.map().end_pfn()) return nullptr;
  if (mm::CmaArea* own = area_of(device)) return try_area(own, device, pages);
  if (default_ == nullptr || pages <= 1) return nullptr;
  return try_area(default_, device, pages);
}

bool Contiguous::free(mm::Page* first, uint64_t pages) {
  if (default_ != nullptr && default_->release(first, pages)) return true;
  if (!any_.load(std::memory_order_acquire)) return false;
  // By value: the areas' own locks are not taken under this one.
  std::vector<mm::CmaArea*> ever = areas_.with([](const Areas& areas) { return areas.ever; });
  return std::ranges::any_of(ever, [&](mm::CmaArea* area) { return area->release(first, pages); });
}

Status set_cma_area(Device& device, mm::CmaArea* area) {
  if (area != nullptr && !area->active()) return fail(EINVAL, "the area is not active");
  device.dma().state().contiguous.set_area(device, area);
  return {};
}

}  // namespace causeway::dma
