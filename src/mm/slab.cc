#include "mm/slab.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <cstring>

#include "base/intrusive_list.h"
#include "base/log.h"
#include "base/point.h"
#include "sync/spin_lock.h"

namespace causeway::mm {

using sync::SpinLockGuard;

namespace {

struct SizeClass {
  uint32_t size;
  Order order;  // of a slab
  uint32_t objects() const { return static_cast<uint32_t>(order.bytes() / size); }
};

// Slabs grow with their objects so that each holds at least four.
constexpr std::array<SizeClass, 13> kClasses = {{{8, Order(0)},
                                                 {16, Order(0)},
                                                 {32, Order(0)},
                                                 {64, Order(0)},
                                                 {96, Order(0)},
                                                 {128, Order(0)},
                                                 {192, Order(0)},
                                                 {256, Order(0)},
                                                 {512, Order(0)},
                                                 {1024, Order(1)},
                                                 {2048, Order(2)},
                                                 {4096, Order(3)},
                                                 {8192, Order(3)}}};
constexpr uint64_t kLargestObject = 8192;
constexpr uint64_t kLargestBlock = kMaxPageOrder.bytes();
constexpr unsigned kMaxObjects = 4096 / 8;

unsigned class_of(uint64_t size) {
  unsigned index = 0;
  while (kClasses[index].size < size) ++index;
  return index;
}

struct Cache;

// One slab: pages, and which of their objects are in use. Found through the head page's private_data.
struct SlabPages : ListNode<> {
  Cache* cache;
  Page* head;
  std::byte* base;
  uint32_t used = 0;
  uint32_t search_from = 0;                       // word of `free` below which there is no free object
  std::array<uint64_t, kMaxObjects / 64> free{};  // bit per object

  uint32_t take();
};

struct Cache {
  SizeClass size_class;
  Gfp zone = Gfp::kNone;
  mutable sync::SpinLock lock{"mm.slab"};
  IntrusiveList<SlabPages> partial CW_GUARDED_BY(lock);  // with free objects; the one in use is in front
  IntrusiveList<SlabPages> full CW_GUARDED_BY(lock);
  uint32_t empty CW_GUARDED_BY(lock) = 0;  // slabs without objects, in `partial`
};

uint32_t SlabPages::take() {
  while (free[search_from] == 0) ++search_from;
  auto bit = static_cast<uint32_t>(std::countr_zero(free[search_from]));
  free[search_from] &= free[search_from] - 1;
  ++used;
  return search_from * 64 + bit;
}

}  // namespace

uint64_t kmalloc_bucket(uint64_t size) {
  if (size == 0 || size > kLargestBlock) return size;
  if (size > kLargestObject) return Order::covering(size).bytes();
  return kClasses[class_of(size)].size;
}

struct Slab::State {
  explicit State(PageAllocator& page_allocator) : allocator(page_allocator) {
    for (unsigned zone = 0; zone < 2; ++zone) {
      for (unsigned index = 0; index < kClasses.size(); ++index) {
        caches[zone][index].size_class = kClasses[index];
        caches[zone][index].zone = zone == 0 ? Gfp::kNone : Gfp::kDma32;
      }
    }
  }

  // What a pointer is: an object of a slab, a large block, or (both null) neither.
  struct Found {
    SlabPages* slab = nullptr;
    uint32_t index = 0;
    Page* large = nullptr;
  };
  Found find(const void* object) const;
  Result<SlabPages*> add_slab(Cache& cache, Gfp gfp);
  void release(SlabPages* slab);

  PageAllocator& allocator;
  std::array<std::array<Cache, kClasses.size()>, 2> caches;
  std::atomic<uint64_t> objects{0};
};

Slab::State::Found Slab::State::find(const void* object) const {
  MemMap& map = allocator.map();
  if (!map.direct_map().contains(object)) return {};
  Page* page = map.page_of_address(object);
  if (map.pfn(page).value() >= map.end_pfn()) return {};
  Page* head = map.head(page);
  if (!head->has(kPageSlab)) return {};
  if (head->private_data == 0) return map.address(head) == object ? Found{.large = head} : Found{};
  auto* slab = reinterpret_cast<SlabPages*>(head->private_data);
  auto offset = static_cast<uint64_t>(static_cast<const std::byte*>(object) - slab->base);
  uint32_t size = slab->cache->size_class.size;
  if (offset % size != 0 || offset / size >= slab->cache->size_class.objects()) return {};
  return {.slab = slab, .index = static_cast<uint32_t>(offset / size)};
}

Result<SlabPages*> Slab::State::add_slab(Cache& cache, Gfp gfp) {
  Gfp page_gfp = without(without(gfp, Gfp::kZero), Gfp::kMovable) | cache.zone | Gfp::kComp;
  Page* head = CW_TRY(allocator.alloc_pages(cache.size_class.order, page_gfp));
  auto* slab = new SlabPages;
  slab->cache = &cache;
  slab->head = head;
  slab->base = allocator.map().address(head);
  for (uint32_t i = 0; i < cache.size_class.objects(); ++i) slab->free[i / 64] |= uint64_t{1} << i % 64;
  head->private_data = reinterpret_cast<uint64_t>(slab);
  head->set(kPageSlab);
  return slab;
}

void Slab::State::release(SlabPages* slab) {
  slab->head->clear(kPageSlab);
  slab->head->private_data = 0;
  allocator.put_page(slab->head);
  delete slab;
}

Slab::Slab(PageAllocator& allocator) : state_(std::make_unique<State>(allocator)) {}

// Without the locks: whoever destroys it is the last user, and releasing pages takes other locks.
Slab::~Slab() CW_NO_THREAD_SAFETY_ANALYSIS {
  for (auto& zone : state_->caches) {
    for (Cache& cache : zone) {
      while (SlabPages* slab = cache.full.pop_front()) delete slab;
      while (SlabPages* slab = cache.partial.pop_front()) {
        if (slab->used == 0) {
          state_->release(slab);
        } else {
          delete slab;
        }
      }
    }
  }
}

Result<void*> Slab::kmalloc(uint64_t size, Gfp gfp) {
  CW_FAIL_POINT("mm.kmalloc.begin");
  State& state = *state_;
  if (size == 0) return fail(EINVAL, "kmalloc of 0 bytes");
  if (size > kLargestBlock) return fail(E2BIG, "kmalloc of more than the largest block");
  if (size > kLargestObject) {
    Page* head =
        CW_TRY(state.allocator.alloc_pages(Order::covering(size), without(gfp, Gfp::kMovable) | Gfp::kComp));
    head->set(kPageSlab);
    state.objects.fetch_add(1, std::memory_order_relaxed);
    return state.allocator.map().address(head);
  }
  Cache& cache = state.caches[has(gfp, Gfp::kDma32) ? 1 : 0][class_of(size)];
  SlabPages* fresh = nullptr;
  void* object = nullptr;
  while (object == nullptr) {
    {
      SpinLockGuard guard(cache.lock);
      if (fresh != nullptr) {
        cache.partial.push_front(*fresh);
        ++cache.empty;
      }
      if (!cache.partial.empty()) {
        SlabPages& slab = cache.partial.front();
        if (slab.used == 0) --cache.empty;
        object = slab.base + uint64_t{slab.take()} * cache.size_class.size;
        if (slab.used == cache.size_class.objects()) {
          slab.unlink();
          cache.full.push_front(slab);
        }
      }
    }
    // Outside the lock: the allocator may have to search.
    if (object == nullptr) fresh = CW_TRY(state.add_slab(cache, gfp));
  }
  state.objects.fetch_add(1, std::memory_order_relaxed);
  if (has(gfp, Gfp::kZero)) std::memset(object, 0, cache.size_class.size);
  return object;
}

void Slab::kfree(void* object) {
  if (object == nullptr) return;
  State& state = *state_;
  State::Found found = state.find(object);
  if (found.large != nullptr) {
    found.large->clear(kPageSlab);
    state.allocator.put_page(found.large);
    state.objects.fetch_sub(1, std::memory_order_relaxed);
    return;
  }
  if (found.slab == nullptr) {
    log::warn("mm", "kfree of {}, which is not an object", object);
    return;
  }
  Cache& cache = *found.slab->cache;
  SlabPages* unused = nullptr;
  {
    SpinLockGuard guard(cache.lock);
    SlabPages& slab = *found.slab;
    uint64_t bit = uint64_t{1} << found.index % 64;
    if ((slab.free[found.index / 64] & bit) != 0) {
      log::warn("mm", "kfree of {}, an object of {} bytes that is free already", object,
                cache.size_class.size);
      return;
    }
    slab.free[found.index / 64] |= bit;
    slab.search_from = std::min(slab.search_from, found.index / 64);
    if (slab.used-- == cache.size_class.objects()) {
      slab.unlink();
      cache.partial.push_front(slab);
    }
    // One empty slab is kept, so that a lone object that comes and goes costs no pages.
    if (slab.used == 0 && ++cache.empty > 1) {
      --cache.empty;
      slab.unlink();
      unused = &slab;
    }
  }
  state.objects.fetch_sub(1, std::memory_order_relaxed);
  if (unused != nullptr) state.release(unused);
}

uint64_t Slab::ksize(const void* object) const {
  State::Found found = state_->find(object);
  if (found.large != nullptr) return kPageSize << found.large->order;
  if (found.slab == nullptr) return 0;
  SpinLockGuard guard(found.slab->cache->lock);
  bool free = (found.slab->free[found.index / 64] >> found.index % 64 & 1) != 0;
  return free ? 0 : found.slab->cache->size_class.size;
}

uint64_t Slab::objects() const {
  return state_->objects.load(std::memory_order_relaxed);
}

}  // namespace causeway::mm
