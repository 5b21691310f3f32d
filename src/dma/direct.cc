#include "dma/direct.h"

#include <algorithm>
#include <cstring>
#include <numeric>
#include <optional>
#include <vector>

#include "base/log.h"
#include "base/point.h"
#include "dma/alloc_tracking.h"

namespace causeway::dma::direct {

namespace {

// Where to look for memory, highest first. kLowest stands for the platform's DMA zone.
enum class Zone : uint8_t { kAny, kDma32, kLowest };
constexpr PhysAddr kDmaZoneLast{MiB(16) - 1};

// A block the device can reach. A zone may reach further than the device does: then the next lower one.
Result<mm::Page*> alloc_block(Dma::State& state, const Device& device, Order order, uint64_t size,
                              mm::Gfp gfp) {
  if (order > mm::kMaxPageOrder) return fail(ENOMEM, "larger than the largest block");
  PhysAddr limit = device.coherent_phys_limit();
  Zone zone = limit <= kDmaZoneLast ? Zone::kLowest : limit < mm::kDma32Limit ? Zone::kDma32 : Zone::kAny;
  for (;;) {
    CW_FAIL_POINT("dma.direct.alloc_block");
    mm::Page* page =
        zone == Zone::kLowest
            ? CW_TRY(state.allocator.alloc_pages_below(order, gfp, limit))
            : CW_TRY(state.allocator.alloc_pages(order, zone == Zone::kDma32 ? gfp | mm::kGfpDma32 : gfp));
    if (device.coherent_handle(state.map().phys(page), pages_for(size) << kPageShift)) return page;
    state.allocator.free_pages(page, order);
    if (zone == Zone::kLowest) break;
    zone = zone == Zone::kAny ? Zone::kDma32 : Zone::kLowest;
  }
  return fail(ENOMEM, "no memory the device can reach");
}

// A CMA area first, then a block of the page allocator. `phys` and `handle`.
Status take_pages(Dma::State& state, const Device& device, mm::Gfp gfp, Route route, Allocation& block) {
  mm::Page* page = route == Route::kArch ? nullptr : state.contiguous.alloc(device, pages_for(block.size), gfp);
  block.contiguous = page != nullptr;
  if (page == nullptr) page = CW_TRY(alloc_block(state, device, block.order, block.size, gfp));
  block.route = route;
  block.phys = state.map().phys(page);
  block.handle = *device.coherent_handle(block.phys, pages_for(block.size) << kPageShift);
  return {};
}

void withhold(Dma::State& state, const Allocation& block, const char* why) {
  state.withheld_pages.fetch_add(block.pages(), std::memory_order_relaxed);
  log::warn("dma", "{} pages at {} are withheld: {}", block.pages(), block.phys, why);
}

// Of the pool that the device's streaming maps bounce through (swiotlb_alloc).
Status take_restricted(const Device& device, Allocation& block) {
  Swiotlb* pool = device.swiotlb();
  if (pool == nullptr || !pool->for_alloc()) return fail(ENOMEM, "the device's restricted pool was taken away");
  block.phys = CW_TRY(pool->alloc(device, block.size));
  if (auto handle = device.coherent_handle(block.phys, pages_for(block.size) << kPageShift)) {
    block.handle = *handle;
    block.restricted = pool;
    return {};
  }
  pool->free(block.phys, block.size);
  return fail(ENOMEM, "the device cannot reach its pool");
}

// Takes 2^order pages of a reserved range, if the device can reach them. `block.phys` and `handle`.
Status take_from(PagePool& pool, const Device& device, Allocation& block) {
  block.phys = CW_TRY(pool.alloc(block.order.pages(), block.order.pages()));
  if (auto handle = device.coherent_handle(block.phys, pages_for(block.size) << kPageShift)) {
    block.handle = *handle;
    return {};
  }
  pool.free(block.phys, block.order.pages());
  return fail(ENOMEM, "the device cannot reach its pool");
}

// Whole pages: what the allocator had in them before must reach neither the device nor a user's mapping.
void zero(Dma::State& state, const Allocation& block) {
  std::memset(state.linear(block.phys), 0, pages_for(block.size) << kPageShift);
}

Result<Allocation> from_global_pool(Dma::State& state, const Device& device, Allocation block) {
  block.route = Route::kGlobalPool;
  CW_TRY(take_from(*state.global_pool, device, block));
  block.cpu = state.linear(block.phys);
  zero(state, block);
  return block;
}

Status from_restricted_pool(const Device& device, Allocation& block) {
  block.route = Route::kRestricted;
  return take_restricted(device, block);
}

Result<Allocation> from_atomic_pool(Dma::State& state, const Device& device, Allocation block, mm::Gfp gfp) {
  if (!state.atomic_pools) return fail(ENOMEM, "no atomic pools, and the caller may not block");
  block.route = Route::kAtomicPool;
  auto reachable = [&](PhysAddr base, uint64_t bytes) { return device.coherent_handle(base, bytes).has_value(); };
  block.phys = CW_TRY(state.atomic_pools->alloc(block.size, AtomicPools::zone_for(device.coherent_phys_limit()),
                                                reachable, gfp));
  block.handle = *device.coherent_handle(block.phys, pages_for(block.size) << kPageShift);
  block.cpu = state.linear(block.phys);
  zero(state, block);
  return block;
}

// Gives the pages back to where they came from.
void release(Dma::State& state, const Allocation& block) {
  switch (block.route) {
    case Route::kDirect:
    case Route::kCookie:
    case Route::kArch:
      if (block.contiguous && state.contiguous.free(state.map().page(block.phys), block.pages())) return;
      state.allocator.free_pages(state.map().page(block.phys), block.order);
      return;
    case Route::kAtomicPool:
      state.atomic_pools->free(block.phys, block.size);
      return;
    case Route::kGlobalPool:
      state.global_pool->free(block.phys, block.order.pages());
      return;
    case Route::kRestricted:
      block.restricted->free(block.phys, block.size);
      return;
    case Route::kDeviceMemory:
      state.device_memories.free(block);
      return;
    case Route::kIommu:
      return;  // iommu-dma's own
  }
}

// Decrypts and maps a block that this call owns; whatever fails gives the block back, unless its
// encryption is unknown.
Status prepare(Dma::State& state, const View& view, Attr attrs, Allocation& block) {
  if (view.decrypt) {
    if (Status decrypted = decrypt(state, block); !decrypted) {
      withhold(state, block, "decrypting them failed");
      return decrypted;
    }
  }
  Status mapped = map(state, view, attrs, block);
  if (mapped) return {};
  if (block.decrypted && !state.attributes.set_encrypted(block.range()))
    withhold(state, block, "encrypting them again failed");
  else
    release(state, block);
  return mapped;
}

}  // namespace

Result<View> view_for(const Device& device) {
  const DeviceTraits& traits = device.traits();
  View view;
  // A restricted pool has been shared with the host as a whole.
  view.decrypt = traits.force_unencrypted && !traits.restricted_pool;
  if (traits.coherent) return view;
  view.remap = traits.can_remap;
  view.set_uncached = !traits.can_remap && traits.can_set_uncached;
  if (!view.remap && !view.set_uncached)
    return fail(EOPNOTSUPP, "an incoherent device, and no way to map memory uncached");
  return view;
}

bool is_cookie(const Device& device, Attr attrs) {
  return has(attrs, Attr::kNoKernelMapping) && !device.traits().force_unencrypted &&
         !device.traits().restricted_pool;
}

Status decrypt(Dma::State& state, Allocation& block) {
  CW_TRY(state.attributes.set_decrypted(block.range()));
  block.decrypted = true;
  return {};
}

Status map(Dma::State& state, const View& view, Attr attrs, Allocation& block) {
  block.cpu = state.linear(block.phys);
  if (!view.remap && !view.set_uncached) return {};
  // Lines of the cached mapping, of this kernel or of the one before, must not be written back later.
  state.attributes.clean_cache(block.range());
  CachePolicy policy = has(attrs, Attr::kWriteCombine) ? CachePolicy::kWriteCombine : CachePolicy::kUncached;
  if (view.set_uncached) {
    CW_TRY(state.attributes.set_policy(block.range(), policy));
    block.uncached = true;
    return {};
  }
  CW_FAIL_POINT("dma.direct.remap");
  mm::Page* page = state.map().page(block.phys);
  std::vector<mm::Page*> pages(block.contiguous ? block.pages() : 1);
  std::iota(pages.begin(), pages.end(), page);
  const mm::VmArea* area =
      CW_TRY(state.vmalloc.map(pages, block.contiguous ? kOrder0 : block.order, mm::kVmMap));
  state.attributes.mark_policy(block.range(), policy);
  block.cpu = area->address;
  block.remapped = true;
  return {};
}

void unmap(Dma::State& state, const Allocation& block) {
  if (block.remapped) state.vmalloc.free(block.cpu);
  if (block.remapped || block.uncached) state.attributes.mark_policy(block.range(), CachePolicy::kCached);
}

Result<Allocation> alloc(Dma::State& state, const Device& device, uint64_t size, mm::Gfp gfp, Attr attrs) {
  const DeviceTraits& traits = device.traits();
  Allocation block{.size = size, .requester = device.requester(), .order = Order::covering(size)};
  if (is_cookie(device, attrs)) {
    CW_TRY(take_pages(state, device, gfp, Route::kCookie, block));
    state.attributes.clean_cache(block.range());
    block.cpu = state.map().page(block.phys);
    poison(state, block);
    return block;
  }
  if (!traits.coherent && state.config.arch_has_dma_alloc && !traits.restricted_pool) {
    CW_TRY(take_pages(state, device, gfp, Route::kArch, block));
    block.uncached = true;
    state.attributes.mark_policy(block.range(), CachePolicy::kUncached);
    block.cpu = state.linear(block.phys);
    zero(state, block);
    return block;
  }
  if (!traits.coherent && state.config.global_pool) return from_global_pool(state, device, block);

  View view = CW_TRY(view_for(device));
  if (must_use_atomic_pool(device, view, gfp)) return from_atomic_pool(state, device, block, gfp);
  if (traits.restricted_pool) {
    block.route = Route::kRestricted;
    CW_TRY(take_restricted(device, block));
  } else {
    CW_TRY(take_pages(state, device, gfp, Route::kDirect, block));
  }
  CW_TRY(prepare(state, view, attrs, block));
  zero(state, block);
  return block;
}

void free(Dma::State& state, const Allocation& block) {
  unmap(state, block);
  if (block.decrypted && !state.attributes.set_encrypted(block.range())) {
    withhold(state, block, "encrypting them again failed");
    return;
  }
  release(state, block);
}

Result<Allocation> alloc_pages(Dma::State& state, const Device& device, uint64_t size, mm::Gfp gfp) {
  const DeviceTraits& traits = device.traits();
  Allocation block{.size = size, .requester = device.requester(), .order = Order::covering(size), .kind = Kind::kPages};
  View view;
  view.decrypt = traits.force_unencrypted && !traits.restricted_pool;
  if (must_use_atomic_pool(device, view, gfp)) return from_atomic_pool(state, device, block, gfp);
  if (traits.restricted_pool)
    CW_TRY(from_restricted_pool(device, block));
  else
    CW_TRY(take_pages(state, device, gfp, Route::kDirect, block));
  // Cached, whatever the device is: the caller syncs.
  CW_TRY(prepare(state, view, Attr::kNone, block));
  if (has(gfp, mm::Gfp::kZero))
    zero(state, block);
  else
    poison(state, block);
  return block;
}

}  // namespace causeway::dma::direct
