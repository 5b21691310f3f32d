#include "dma/pool.h"

#include <algorithm>

#include "base/log.h"

namespace causeway::dma {

Result<std::unique_ptr<PagePool>> PagePool::create(mm::PageAllocator& allocator, uint64_t size,
                                                   PhysAddr limit) {
  if (size == 0) return fail(EINVAL, "a pool of no size");
  Order order = Order::covering(size);
  if (order > mm::kMaxPageOrder) return fail(ENOMEM, "a pool larger than the largest block");
  mm::Page* page = CW_TRY(allocator.alloc_pages_below(order, mm::kGfpKernel | mm::Gfp::kNoWarn, limit));
  Pfn begin = allocator.map().pfn(page);
  return std::unique_ptr<PagePool>(new PagePool({begin, begin + order.pages()}));
}

PagePool::PagePool(PfnRange range)
    : range_(range), used_(sync::LockName{"dma.pool"}, static_cast<size_t>(range.pages())) {}

Result<PhysAddr> PagePool::alloc(uint64_t pages, uint64_t alignment) {
  uint64_t first = align_up(range_.begin.value(), alignment) - range_.begin.value();
  return used_.with([&](std::vector<bool>& used) -> Result<PhysAddr> {
    for (uint64_t at = first; at <= used.size() && pages <= used.size() - at; at += alignment) {
      auto begin = used.begin() + static_cast<ptrdiff_t>(at);
      auto end = begin + static_cast<ptrdiff_t>(pages);
      if (std::find(begin, end, true) != end) continue;
      std::fill(begin, end, true);
      return (range_.begin + at).address();
    }
    return fail(ENOMEM, "the pool is exhausted");
  });
}

bool PagePool::free(PhysAddr base, uint64_t pages) {
  if (!base.is_aligned(kPageSize) || pages == 0 || pages > range_.pages()) return false;
  if (!contains(base, pages << kPageShift)) return false;
  uint64_t at = Pfn::containing(base) - range_.begin;
  return used_.with([&](std::vector<bool>& used) {
    auto begin = used.begin() + static_cast<ptrdiff_t>(at);
    auto end = begin + static_cast<ptrdiff_t>(pages);
    if (std::find(begin, end, false) != end) return false;
    std::fill(begin, end, false);
    return true;
  });
}

bool PagePool::contains(PhysAddr base, uint64_t size) const {
  PhysAddr begin = range_.begin.address();
  return base >= begin && base - begin < range_.bytes() && size <= range_.bytes() - (base - begin);
}

uint64_t PagePool::free_pages() const {
  return used_.with([](const std::vector<bool>& used) {
    return static_cast<uint64_t>(std::count(used.begin(), used.end(), false));
  });
}

AtomicPools::AtomicPools(mm::PageAllocator& allocator, uint64_t size_each) {
  constexpr PhysAddr kLimits[] = {PhysAddr{~uint64_t{0}}, PhysAddr{mm::kDma32Limit.value() - 1},
                                  PhysAddr{MiB(16) - 1}};
  for (PhysAddr limit : kLimits) {
    auto pool = PagePool::create(allocator, size_each, limit);
    if (pool)
      pools_.push_back(std::move(*pool));
    else
      log::debug("dma", "no atomic pool of {} bytes below {}: {}", size_each, limit, pool.error().message);
  }
}

Result<PhysAddr> AtomicPools::alloc(uint64_t size, PhysAddr limit) {
  uint64_t pages = pages_for(size);
  uint64_t alignment = Order::covering(size).pages();
  for (auto& pool : pools_) {
    // A pool that lies too high as a whole; one that straddles the limit does not exist.
    if (pool->range().end.address() - 1 > limit) continue;
    if (auto block = pool->alloc(pages, alignment)) return block;
  }
  return fail(ENOMEM, "the atomic pools are exhausted");
}

bool AtomicPools::free(PhysAddr base, uint64_t size) {
  return std::any_of(pools_.begin(), pools_.end(),
                     [&](auto& pool) { return pool->free(base, pages_for(size)); });
}

bool AtomicPools::contains(PhysAddr base, uint64_t size) const {
  return std::any_of(pools_.begin(), pools_.end(), [&](auto& pool) { return pool->contains(base, size); });
}

uint64_t AtomicPools::free_pages() const {
  uint64_t pages = 0;
  for (auto& pool : pools_) pages += pool->free_pages();
  return pages;
}

}  // namespace causeway::dma
