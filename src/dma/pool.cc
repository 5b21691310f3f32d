#include "dma/pool.h"

#include <algorithm>

#include "base/log.h"
#include "base/point.h"

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

std::unique_ptr<PagePool> PagePool::adopt(PfnRange range) {
  return std::unique_ptr<PagePool>(new PagePool(range));
}

PagePool::PagePool(PfnRange range)
    : range_(range), used_(sync::LockName{"dma.pool"}, static_cast<size_t>(range.pages())) {}

Result<PhysAddr> PagePool::alloc(uint64_t pages, uint64_t alignment) {
  return take(align_up(range_.begin.value(), alignment) - range_.begin.value(), pages, alignment);
}

Result<PhysAddr> PagePool::alloc_region(Order order) {
  return take(0, order.pages(), order.pages());
}

Result<PhysAddr> PagePool::take(uint64_t first, uint64_t pages, uint64_t step) {
  return used_.with([&](std::vector<bool>& used) -> Result<PhysAddr> {
    for (uint64_t at = first; at <= used.size() && pages <= used.size() - at; at += step) {
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

namespace {

constexpr unsigned kDma = static_cast<unsigned>(PoolZone::kDma);
constexpr unsigned kDma32 = static_cast<unsigned>(PoolZone::kDma32);
constexpr unsigned kKernel = static_cast<unsigned>(PoolZone::kKernel);

}  // namespace

PhysAddr AtomicPools::limit_of(unsigned pool) {
  if (pool == kDma) return PhysAddr{MiB(16) - 1};
  return pool == kDma32 ? mm::kDma32Limit - 1 : PhysAddr{~uint64_t{0}};
}

PoolZone AtomicPools::zone_for(PhysAddr limit) {
  if (limit <= limit_of(kDma)) return PoolZone::kDma;
  return limit <= limit_of(kDma32) ? PoolZone::kDma32 : PoolZone::kKernel;
}

uint64_t AtomicPools::default_size(uint64_t ram_pages) {
  const uint64_t gib = ram_pages >> (30 - kPageShift);
  return std::clamp(gib * KiB(128), KiB(128), mm::kMaxPageOrder.bytes());
}

AtomicPools::AtomicPools(mm::PageAllocator& allocator, uint64_t size_each, const Options& options)
    : allocator_(allocator), options_(options) {
  if (size_each == 0) {
    const mm::PageStats stats = allocator.stats();
    uint64_t pages = 0;
    for (const mm::ZoneStats& zone : stats.zone) pages += zone.managed_pages;
    size_each = default_size(pages);
  }
  base_size_ = std::min(size_each, mm::kMaxPageOrder.bytes());
  for (unsigned pool = 0; pool < kPools; ++pool)
    if (!expand(pool, base_size_)) log::debug("dma", "no atomic pool below {}", limit_of(pool));
  if (options_.grow)
    worker_ = sync::Thread("dma.atomic_pool", [this](sync::StopToken stop) { grow_until_stopped(stop); });
}

AtomicPools::~AtomicPools() = default;

std::unique_ptr<PagePool> AtomicPools::make_chunk(unsigned pool, Order order) {
  const PhysAddr limit = limit_of(pool);
  if (options_.cma != nullptr) {
    const std::vector<PfnRange> ranges = options_.cma->ranges();
    if (std::ranges::all_of(ranges, [&](PfnRange range) { return range.end.address() - 1 <= limit; })) {
      auto first = options_.cma->alloc(order.pages(), order, mm::kGfpKernel | mm::Gfp::kNoWarn);
      if (first) {
        const Pfn begin = allocator_.map().pfn(*first);
        return PagePool::adopt({begin, begin + order.pages()});
      }
    }
  }
  auto made = PagePool::create(allocator_, order.bytes(), limit);
  return made ? std::move(*made) : nullptr;
}

bool AtomicPools::expand(unsigned pool, uint64_t size) {
  for (unsigned order = std::min(Order::covering(size), mm::kMaxPageOrder).value();; --order) {
    if (auto chunk = make_chunk(pool, Order(order))) {
      Pool& target = pools_[pool];
      target.chunks.with([&](auto& chunks) { chunks.push_back(std::move(chunk)); });
      target.free.fetch_add(Order(order).pages(), std::memory_order_relaxed);
      target.pages.fetch_add(Order(order).pages(), std::memory_order_relaxed);
      return true;
    }
    if (order == 0) return false;
  }
}

void AtomicPools::request_growth(unsigned pool) {
  if (!options_.grow) return;
  if (pools_[pool].free.load(std::memory_order_relaxed) << kPageShift >= base_size_) return;
  requested_.fetch_add(1, std::memory_order_release);
  wanted_.wake_all();
}

void AtomicPools::grow_until_stopped(const sync::StopToken& stop) {
  std::stop_callback wake(stop, [this] { wanted_.wake_all(); });
  for (;;) {
    wanted_.wait([&] {
      return stop.stop_requested() || requested_.load(std::memory_order_acquire) != served_.load(std::memory_order_relaxed);
    });
    if (stop.stop_requested()) return;
    const uint64_t until = requested_.load(std::memory_order_acquire);
    for (unsigned pool = 0; pool < kPools; ++pool) {
      if (!exists(pool) || pools_[pool].free.load(std::memory_order_relaxed) << kPageShift >= base_size_) continue;
      CW_POINT("dma.atomic_pool.before_growth");
      if (!expand(pool, pools_[pool].pages.load(std::memory_order_relaxed) << kPageShift))
        log::debug("dma", "the atomic pool below {} cannot grow", limit_of(pool));
    }
    served_.store(until, std::memory_order_release);
    done_.wake_all();
  }
}

void AtomicPools::settle() {
  if (!options_.grow) return;
  const uint64_t until = requested_.load(std::memory_order_acquire);
  done_.wait([&] { return served_.load(std::memory_order_acquire) >= until; });
}

std::optional<unsigned> AtomicPools::first_pool(PoolZone zone) const {
  static constexpr unsigned kGuesses[kPools][kPools] = {
      {kDma, kDma32, kKernel}, {kDma32, kDma, kKernel}, {kKernel, kDma32, kDma}};
  for (unsigned pool : kGuesses[static_cast<unsigned>(zone)])
    if (exists(pool)) return pool;
  return std::nullopt;
}

std::optional<unsigned> AtomicPools::next_pool(unsigned previous) const {
  if (previous == kKernel && exists(kDma32)) return kDma32;
  if (previous != kDma && exists(kDma)) return kDma;
  return std::nullopt;
}

std::optional<PhysAddr> AtomicPools::alloc_from(unsigned pool, uint64_t size, const Fits& fits) {
  const uint64_t pages = pages_for(size);
  return pools_[pool].chunks.with([&](auto& chunks) -> std::optional<PhysAddr> {
    for (auto& chunk : chunks) {
      auto block = chunk->alloc(pages, Order::covering(size).pages());
      if (!block) continue;
      if (fits(*block, pages << kPageShift)) {
        pools_[pool].free.fetch_sub(pages, std::memory_order_relaxed);
        return *block;
      }
      chunk->free(*block, pages);
    }
    return std::nullopt;
  });
}

Result<PhysAddr> AtomicPools::alloc(uint64_t size, PoolZone zone, const Fits& fits, mm::Gfp gfp) {
  std::optional<unsigned> pool = first_pool(zone);
  if (!pool) {
    log::warn("dma", "no atomic pool that could serve {} bytes", size);
    return fail(ENOMEM, "there are no atomic pools");
  }
  for (; pool; pool = next_pool(*pool)) {
    std::optional<PhysAddr> block = alloc_from(*pool, size, fits);
    request_growth(*pool);
    if (block) return *block;
  }
  if (!has(gfp, mm::Gfp::kNoWarn)) log::warn("dma", "the atomic pools are exhausted, {} bytes wanted", size);
  return fail(ENOMEM, "the atomic pools are exhausted");
}

Result<PhysAddr> AtomicPools::alloc(uint64_t size, PhysAddr limit) {
  auto below = [limit](PhysAddr base, uint64_t bytes) { return base + (bytes - 1) <= limit; };
  return alloc(size, zone_for(limit), below, mm::Gfp::kNoWarn);
}

bool AtomicPools::free(PhysAddr base, uint64_t size) {
  const uint64_t pages = pages_for(size);
  for (Pool& pool : pools_) {
    bool mine = pool.chunks.with([&](auto& chunks) {
      return std::any_of(chunks.begin(), chunks.end(), [&](auto& chunk) { return chunk->free(base, pages); });
    });
    if (!mine) continue;
    pool.free.fetch_add(pages, std::memory_order_relaxed);
    return true;
  }
  return false;
}

bool AtomicPools::contains(PhysAddr base, uint64_t size) const {
  return std::any_of(pools_.begin(), pools_.end(), [&](const Pool& pool) {
    return pool.chunks.with([&](const auto& chunks) {
      return std::any_of(chunks.begin(), chunks.end(),
                         [&](const auto& chunk) { return chunk->contains(base, size); });
    });
  });
}

uint64_t AtomicPools::free_pages() const {
  uint64_t pages = 0;
  for (const Pool& pool : pools_) pages += pool.free.load(std::memory_order_relaxed);
  return pages;
}

uint64_t AtomicPools::pages() const {
  uint64_t pages = 0;
  for (const Pool& pool : pools_) pages += pool.pages.load(std::memory_order_relaxed);
  return pages;
}

}  // namespace causeway::dma
