// Coherent memory behind an IOMMU: one range of bus addresses, and pages from wherever there are some.
//
//   may block, not kForceContiguous       pages of any place, contiguous for the CPU too by a mapping of their own
//   may not block, incoherent             an atomic pool: the CPU's view of that is made already
//   otherwise                             one block; for an incoherent device remapped
//
// Which of them it was is seen from the address: only the first has a vmalloc area of kVmAlloc, only the second lies in a
// pool.

#include <algorithm>
#include <bit>
#include <cstring>

#include "base/point.h"
#include "dma/direct.h"
#include "dma/iommu/iommu_state.h"

namespace causeway::dma {

using State = IommuDma::State;

namespace {

// Maps pages to consecutive addresses.
Result<DmaAddr> map_pages(State& state, Device& device, std::span<const PhysAddr> pages, uint64_t bytes, uint32_t prot) {
  std::optional<Iova> start = state.take(device, bytes, device.coherent_limit());
  if (!start) return fail(ENOMEM, "no bus addresses");
  uint64_t mapped = 0;
  for (size_t i = 0; i < pages.size();) {
    const PhysAddr first = pages[i++];
    uint64_t run = kPageSize;
    for (; i < pages.size() && pages[i] == first + run; ++i) run += kPageSize;
    if (Status done = state.domain.map(*start + mapped, first, run, prot); !done) {
      if (mapped != 0) state.unmap_now(*start, mapped);
      state.give(*start, bytes);
      return fail(done.error());
    }
    mapped += run;
  }
  state.domain.sync_map(*start, bytes);
  return DmaAddr(start->value());
}

template <typename Function>
void for_each_page(Dma::State& dma, const mm::VmArea& area, Function function) {
  for (mm::Page* page : area.pages) {
    Pfn pfn = Pfn::containing(dma.map().phys(page));
    function(PfnRange{pfn, pfn + area.page_order.pages()});
  }
}

CachePolicy policy_of(Attr attrs) {
  return has(attrs, Attr::kWriteCombine) ? CachePolicy::kWriteCombine : CachePolicy::kUncached;
}

const mm::VmArea* scattered_area(Dma::State& dma, const void* cpu) {
  const mm::VmArea* area = dma.vmalloc.find(cpu);
  return area != nullptr && (area->flags & mm::kVmAlloc) != 0 ? area : nullptr;
}

Result<Allocation> alloc_scattered(State& state, Device& device, Allocation block, mm::Gfp gfp, Attr attrs,
                                   uint32_t prot) {
  const uint64_t bytes = align_up(block.size, kPageSize);
  CW_FAIL_POINT("dma.iommu.alloc.pages");
  const mm::VmArea* area = CW_TRY(state.dma.vmalloc.alloc(bytes, gfp));
  std::vector<PhysAddr> pages;
  pages.reserve(bytes >> kPageShift);
  for_each_page(state.dma, *area, [&](PfnRange range) {
    for (Pfn pfn = range.begin; pfn < range.end; ++pfn) pages.push_back(pfn.address());
  });
  block.cpu = area->address;
  block.phys = pages.front();
  block.remapped = true;
  Result<DmaAddr> handle = map_pages(state, device, pages, bytes, prot);
  if (!handle) {
    state.dma.vmalloc.free(area->address);
    return fail(handle.error());
  }
  block.handle = *handle;
  if (!device.traits().coherent) {
    block.uncached = true;
    for_each_page(state.dma, *area, [&](PfnRange range) {
      state.dma.attributes.clean_cache(range);
      state.dma.attributes.mark_policy(range, policy_of(attrs));
    });
  }
  return block;
}

void free_scattered(Dma::State& dma, const Allocation& block, const mm::VmArea& area) {
  if (block.uncached)
    for_each_page(dma, area, [&](PfnRange range) { dma.attributes.mark_policy(range, CachePolicy::kCached); });
  dma.vmalloc.free(block.cpu);
}

std::vector<PhysAddr> pages_of(PhysAddr base, uint64_t bytes) {
  std::vector<PhysAddr> pages;
  for (uint64_t done = 0; done < bytes; done += kPageSize) pages.push_back(base + done);
  return pages;
}

bool is_pooled(Dma::State& dma, const Allocation& block) {
  return dma.atomic_pools != nullptr && dma.atomic_pools->contains(block.phys, align_up(block.size, kPageSize));
}

// Pages of a pool or of the allocator, mapped for the CPU.
Status take_block(State& state, Device& device, Allocation& block, mm::Gfp gfp, Attr attrs) {
  const bool coherent = device.traits().coherent;
  direct::View view = CW_TRY(direct::view_for(device));
  if (!coherent && view.remap && !has(gfp, mm::Gfp::kBlocking)) {
    if (state.dma.atomic_pools == nullptr) return fail(ENOMEM, "no atomic pools, and the caller may not block");
    // Any of them: the IOMMU reaches all of RAM.
    block.phys = CW_TRY(state.dma.atomic_pools->alloc(block.size, PhysAddr{~uint64_t{0}}));
    block.cpu = state.dma.linear(block.phys);
    std::memset(block.cpu, 0, align_up(block.size, kPageSize));
    return {};
  }
  if (block.order > mm::kMaxPageOrder) return fail(ENOMEM, "larger than the largest block");
  mm::Page* page = CW_TRY(state.dma.allocator.alloc_pages(block.order, gfp | mm::kGfpZero));
  block.phys = state.dma.map().phys(page);
  Status mapped = direct::map(state.dma, view, attrs, block);
  if (!mapped) state.dma.allocator.free_pages(page, block.order);
  return mapped;
}

void release_block(Dma::State& dma, const Allocation& block) {
  if (is_pooled(dma, block)) {
    dma.atomic_pools->free(block.phys, block.size);
    return;
  }
  direct::unmap(dma, block);
  dma.allocator.free_pages(dma.map().page(block.phys), block.order);
}

}  // namespace

bool IommuDma::is_one_block(const Allocation& block) const {
  if (is_pooled(state_->dma, block)) return false;
  const mm::VmArea* area = scattered_area(state_->dma, block.cpu);
  return area == nullptr || (block.order == kOrder0 && area->page_order == kOrder0);
}

Result<Allocation> IommuDma::alloc(Device& device, uint64_t size, mm::Gfp gfp, Attr attrs) {
  if (device.traits().force_unencrypted)
    return fail(EOPNOTSUPP, "behind an IOMMU there is no memory shared with the host");
  if (size == 0 || size > GiB(64)) return fail(ENOMEM, "no memory has this size");
  Allocation block{
      .size = size, .requester = device.requester(), .order = Order::covering(size), .route = Route::kIommu};
  const uint32_t prot = prot_of(Direction::kBidirectional, device.traits().coherent, attrs);
  if (has(gfp, mm::Gfp::kBlocking) && !has(attrs, Attr::kForceContiguous) && device.traits().can_remap)
    return alloc_scattered(*state_, device, block, gfp, attrs, prot);

  CW_TRY(take_block(*state_, device, block, gfp, attrs));
  const uint64_t bytes = align_up(size, kPageSize);
  Result<DmaAddr> handle = map_pages(*state_, device, pages_of(block.phys, bytes), bytes, prot);
  if (!handle) {
    release_block(state_->dma, block);
    return fail(handle.error());
  }
  block.handle = *handle;
  return block;
}

void IommuDma::free(Device& device, const Allocation& block) {
  state_->unmap(device, block.handle, align_up(block.size, kPageSize));
  CW_POINT("dma.iommu.free.before_pages");
  if (const mm::VmArea* area = scattered_area(state_->dma, block.cpu))
    free_scattered(state_->dma, block, *area);
  else
    release_block(state_->dma, block);
}

Result<IommuDma::PageArray> IommuDma::alloc_pages_array(Device& device, uint64_t size, Direction, mm::Gfp gfp,
                                                        Attr attrs) {
  if (device.traits().force_unencrypted)
    return fail(EOPNOTSUPP, "behind an IOMMU there is no memory shared with the host");
  if (size == 0 || size > GiB(64)) return fail(ENOMEM, "no memory has this size");
  mm::PageAllocator& allocator = state_->dma.allocator;
  PageArray array{.pages = {}, .address = {}, .size = align_up(size, kPageSize)};
  const uint64_t count = array.size >> kPageShift;
  array.pages.reserve(count);
  auto put_all = [&] {
    for (PhysAddr page : array.pages) allocator.put_page(state_->dma.map().page(page));
  };

  // Large blocks first: what is contiguous costs the IOMMU less. They are split, and each page is counted by itself.
  unsigned order = has(attrs, Attr::kAllocSinglePages) ? 0 : mm::kMaxPageOrder.value();
  while (array.pages.size() < count) {
    order = std::min<unsigned>(order, static_cast<unsigned>(std::bit_width(count - array.pages.size())) - 1);
    mm::Gfp attempt = gfp | mm::kGfpZero;
    auto block = allocator.alloc_pages(Order(order), order != 0 ? attempt | mm::Gfp::kNoWarn : attempt);
    if (!block && order != 0) {
      --order;
      continue;
    }
    Status split = block ? Status{} : Status(fail(block.error()));
    if (block && order != 0) split = allocator.split_page(*block, Order(order));
    if (!split) {
      put_all();
      return fail(split.error());
    }
    PhysAddr base = state_->dma.map().phys(*block);
    for (uint64_t i = 0; i < Order(order).pages(); ++i) array.pages.push_back(base + (i << kPageShift));
  }
  if (!device.traits().coherent)
    for (PhysAddr page : array.pages)
      state_->dma.attributes.clean_cache({Pfn::containing(page), Pfn::containing(page) + 1});

  const uint32_t prot = prot_of(Direction::kBidirectional, device.traits().coherent, attrs);
  Result<DmaAddr> address = map_pages(*state_, device, array.pages, array.size, prot);
  if (!address) {
    put_all();
    return fail(address.error());
  }
  array.address = *address;
  return array;
}

void IommuDma::free_pages_array(Device& device, const PageArray& array) {
  state_->unmap(device, array.address, array.size);
  for (PhysAddr page : array.pages) state_->dma.allocator.put_page(state_->dma.map().page(page));
}

}  // namespace causeway::dma
