#include "dma/alloc_pages.h"

#include "base/log.h"
#include "base/warn_once.h"
#include "dma/alloc_tracking.h"
#include "dma/direct.h"
#include "dma/iommu/iommu_dma.h"
#include "dma/page_blocks.h"
#include "dma/state.h"

namespace causeway::dma {

namespace {

// Any pages will do behind an IOMMU: its mapping decides what the device sees.
Result<Allocation> block_behind_iommu(Dma::State& state, Device& device, uint64_t size, Direction direction,
                                      mm::Gfp gfp) {
  Allocation block{.size = size, .requester = device.requester(), .order = Order::covering(size)};
  if (block.order > mm::kMaxPageOrder) return fail(ENOMEM, "larger than the largest block");
  mm::Page* page = CW_TRY(state.allocator.alloc_pages(block.order, gfp));
  block.phys = state.map().phys(page);
  block.cpu = state.linear(block.phys);
  if (!has(gfp, mm::Gfp::kZero)) poison(state, block);
  block.handle = device.iommu()->map_phys(device, block.phys, size, direction, Attr::kSkipCpuSync);
  if (block.handle != kMappingError) return block;
  state.allocator.free_pages(page, block.order);
  return fail(ENOMEM, "the pages cannot be mapped");
}

uint64_t whole_pages(uint64_t size) {
  return pages_for(size) << kPageShift;
}

Status check_pages_request(const Device& device, uint64_t size, mm::Gfp gfp) {
  if (device.coherent_mask() == 0) {
    CW_WARN_ONCE("dma", "{}: no coherent mask was ever set", device.name());
    return fail(EINVAL, "the device has no coherent mask");
  }
  if (has(gfp, mm::Gfp::kDma32)) {
    CW_WARN_ONCE("dma", "{}: a zone was asked for, and the mask decides", device.name());
    return fail(EINVAL, "the zone of DMA pages is not the caller's choice");
  }
  if (has(gfp, mm::Gfp::kComp)) {
    CW_WARN_ONCE("dma", "{}: a compound page was asked for", device.name());
    return fail(EINVAL, "a compound page cannot be DMA memory");
  }
  if (size == 0) return fail(EINVAL, "an allocation of no size");
  // Rounded up to pages it would be nothing.
  if (whole_pages(size) == 0) return fail(ENOMEM, "larger than memory");
  return {};
}

}  // namespace

Result<Allocation> make_page_block(Device& device, uint64_t size, Direction direction, mm::Gfp gfp, Kind kind) {
  Dma::State& state = device.dma().state();
  if (device.traits().iommu) return fail(EOPNOTSUPP, "the device is behind an IOMMU");
  gfp = mm::without(gfp, mm::Gfp::kMovable);
  Allocation block = device.iommu() != nullptr
                         ? CW_TRY(block_behind_iommu(state, device, size, direction, gfp))
                         : CW_TRY(direct::alloc_pages(state, device, size, gfp));
  block.kind = kind;
  state.allocations.insert(block);
  return block;
}

Status drop_page_block(Device& device, void* cpu, DmaAddr handle, uint64_t size, Direction direction, Kind kind) {
  Dma::State& state = device.dma().state();
  auto taken = state.allocations.take({cpu, handle, size, device.requester(), Attr::kNone, kind});
  if (!taken) {
    log::warn("dma", "{}: {} bytes of pages at {} are not freed: {}", device.name(), size, handle,
              taken.error().message);
    return fail(taken.error());
  }
  if (device.iommu() != nullptr) device.iommu()->unmap_phys(device, handle, size, direction, Attr::kSkipCpuSync);
  direct::free(state, *taken);
  return {};
}

Result<DmaPages> alloc_pages(Device& device, uint64_t size, Direction direction, mm::Gfp gfp) {
  CW_TRY(check_pages_request(device, size, gfp));
  Dma::State& state = device.dma().state();
  Allocation block = CW_TRY(make_page_block(device, whole_pages(size), direction, gfp, Kind::kPages));
  if (state.debug) state.debug->alloc_pages(device, block.phys, block.size, direction, block.handle);
  return DmaPages{state.map().page(block.phys), block.handle, block.size};
}

Status free_pages(Device& device, const DmaPages& pages, Direction direction) {
  if (pages.page == nullptr) return {};
  Dma::State& state = device.dma().state();
  const uint64_t size = whole_pages(pages.size);
  const PhysAddr phys = state.map().phys(pages.page);
  if (state.debug) state.debug->free_pages(device, phys, size, direction, pages.handle);
  return drop_page_block(device, state.linear(phys), pages.handle, size, direction, Kind::kPages);
}

Result<Coherent> alloc_noncoherent(Device& device, uint64_t size, Direction direction, mm::Gfp gfp) {
  DmaPages pages = CW_TRY(alloc_pages(device, size, direction, gfp));
  return Coherent{device.dma().state().map().address(pages.page), pages.handle, size};
}

Status free_noncoherent(Device& device, const Coherent& memory, Direction direction) {
  if (memory.cpu == nullptr) return {};
  mm::MemMap& map = device.dma().state().map();
  if (!map.direct_map().contains(memory.cpu)) return fail(EINVAL, "not an address of noncoherent memory");
  return free_pages(device, {map.page_of_address(memory.cpu), memory.handle, memory.size}, direction);
}

}  // namespace causeway::dma
