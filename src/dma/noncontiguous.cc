#include "dma/noncontiguous.h"

#include "base/log.h"
#include "base/warn_once.h"
#include "dma/iommu/iommu_dma.h"
#include "dma/page_blocks.h"
#include "dma/state.h"

namespace causeway::dma {

namespace {

// Neighbouring pages are one entry.
std::vector<ScatterEntry> entries_of(const std::vector<PhysAddr>& pages) {
  std::vector<ScatterEntry> entries;
  for (PhysAddr page : pages) {
    if (!entries.empty() && entries.back().phys + entries.back().length == page)
      entries.back().length += kPageSize;
    else
      entries.push_back({.phys = page, .length = kPageSize});
  }
  return entries;
}

IommuDma::PageArray array_of(const Noncontiguous& memory) {
  return {memory.pages, memory.table.entries.front().dma_address, memory.size};
}

}  // namespace

Result<Noncontiguous> alloc_noncontiguous(Device& device, uint64_t size, Direction direction, mm::Gfp gfp,
                                          Attr attrs) {
  if ((static_cast<uint64_t>(attrs) & ~static_cast<uint64_t>(Attr::kAllocSinglePages)) != 0) {
    CW_WARN_ONCE("dma", "{}: noncontiguous memory with attributes {:#x}", device.name(), static_cast<uint64_t>(attrs));
    return fail(EINVAL, "attributes noncontiguous memory cannot have");
  }
  if (has(gfp, mm::Gfp::kComp)) {
    CW_WARN_ONCE("dma", "{}: a compound page was asked for", device.name());
    return fail(EINVAL, "a compound page cannot be DMA memory");
  }
  if (size == 0 || size > UINT32_MAX - kPageSize) return fail(EINVAL, "no size of one segment");
  Dma::State& state = device.dma().state();
  Noncontiguous memory{.size = align_up(size, kPageSize)};
  if (device.iommu() != nullptr) {
    IommuDma::PageArray array =
        CW_TRY(device.iommu()->alloc_pages_array(device, memory.size, direction, gfp, attrs));
    memory.pages = std::move(array.pages);
    memory.table.entries = entries_of(memory.pages);
    memory.table.entries.front().dma_address = array.address;
  } else {
    Allocation block = CW_TRY(make_page_block(device, memory.size, direction, gfp, Kind::kNoncontiguous));
    memory.table.entries = {
        {.phys = block.phys, .length = static_cast<uint32_t>(memory.size), .dma_address = block.handle}};
  }
  memory.table.entries.front().dma_length = static_cast<uint32_t>(memory.size);
  memory.table.mapped = 1;
  if (state.debug) state.debug->map_sg(device, memory.table.entries, 1, direction, attrs);
  return memory;
}

Status free_noncontiguous(Device& device, Noncontiguous& memory, Direction direction) {
  if (memory.table.entries.empty()) return {};
  Dma::State& state = device.dma().state();
  if (state.debug) state.debug->unmap_sg(device, memory.table.entries, direction, Attr::kNone);
  const ScatterEntry& first = memory.table.entries.front();
  if (memory.pages.empty()) {
    CW_TRY(drop_page_block(device, state.linear(first.phys), first.dma_address, memory.size, direction,
                           Kind::kNoncontiguous));
  } else {
    if (device.iommu() == nullptr) return fail(EINVAL, "the device is not behind its IOMMU any more");
    device.iommu()->free_pages_array(device, array_of(memory));
  }
  memory = {};
  return {};
}

Result<void*> vmap_noncontiguous(Device& device, const Noncontiguous& memory) {
  if (memory.table.entries.empty()) return fail(EINVAL, "no memory");
  Dma::State& state = device.dma().state();
  if (memory.pages.empty()) return static_cast<void*>(state.linear(memory.table.entries.front().phys));
  std::vector<mm::Page*> pages;
  for (PhysAddr page : memory.pages) pages.push_back(state.map().page(page));
  return static_cast<void*>(CW_TRY(state.vmalloc.map(pages, kOrder0, mm::kVmMap))->address);
}

void vunmap_noncontiguous(Device& device, const Noncontiguous& memory, void* address) {
  if (!memory.pages.empty()) device.dma().state().vmalloc.free(address);
}

}  // namespace causeway::dma
