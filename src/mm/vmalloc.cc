#include "mm/vmalloc.h"

#include <sys/mman.h>

#include <algorithm>
#include <bit>
#include <map>

#include "base/log.h"
#include "base/mapping.h"
#include "base/point.h"
#include "sync/mutex.h"

namespace causeway::mm {

using sync::MutexLock;

namespace {

constexpr Order kHugeOrder{9};

struct MappedArea : VmArea {
  Mapping mapping;  // with a guard page behind the area
};

}  // namespace

struct Vmalloc::State {
  PageAllocator& allocator;
  FindBacking find_backing;
  mutable sync::Mutex mutex{"mm.vmalloc"};
  // By the address one past the end, so that upper_bound() of an address is the area it may lie in.
  std::map<const std::byte*, std::unique_ptr<MappedArea>> areas CW_GUARDED_BY(mutex) = {};

  Status alloc_pages(uint64_t count, Order order, Gfp gfp, std::vector<Page*>& pages);
  Status map_run(std::byte* where, PhysAddr from, uint64_t size);
  void put(const std::vector<Page*>& pages, Order order);
};

Vmalloc::Vmalloc(PageAllocator& allocator, FindBacking find_backing)
    : state_(new State{.allocator = allocator, .find_backing = std::move(find_backing)}) {}
Vmalloc::~Vmalloc() = default;

void Vmalloc::State::put(const std::vector<Page*>& pages, Order order) {
  for (Page* first : pages) {
    for (uint64_t i = 0; i < order.pages(); ++i) allocator.put_page(first + i);
  }
}

// `count` blocks of `order`, each page with its own reference. Large blocks are preferred even where
// single pages would do: their pages are contiguous and need one host mapping.
Status Vmalloc::State::alloc_pages(uint64_t count, Order order, Gfp gfp, std::vector<Page*>& pages) {
  pages.reserve(count);
  unsigned top = kMaxPageOrder.value();
  while (pages.size() < count) {
    uint64_t left = (count - pages.size()) << order.value();
    top = std::min(top, static_cast<unsigned>(std::bit_width(left)) - 1);
    Gfp attempt = top > order.value() ? gfp | Gfp::kNoWarn : gfp;
    auto block = allocator.alloc_pages(Order(top), attempt);
    if (!block) {
      if (top > order.value()) {
        --top;
        continue;
      }
      return fail(block.error());
    }
    CW_TRY(allocator.split_page(*block, Order(top)));
    for (uint64_t i = 0; i < uint64_t{1} << top; i += order.pages()) pages.push_back(*block + i);
  }
  return {};
}

Result<const VmArea*> Vmalloc::alloc(uint64_t size, Gfp gfp, bool allow_huge) {
  CW_FAIL_POINT("mm.vmalloc.begin");
  if (size == 0) return fail(EINVAL, "vmalloc of 0 bytes");
  if (size > state_->allocator.map().direct_map().limit())
    return fail(ENOMEM, "vmalloc of more than there is");
  gfp = without(gfp, Gfp::kComp) | Gfp::kZero;
  uint32_t flags = kVmAlloc | (allow_huge ? kVmAllowHuge : 0);
  std::vector<Page*> pages;
  if (allow_huge && size >= kHugeOrder.bytes()) {
    uint64_t count = pages_for(size) / kHugeOrder.pages() + (size % kHugeOrder.bytes() != 0);
    if (state_->alloc_pages(count, kHugeOrder, gfp | Gfp::kNoWarn, pages))
      return map(pages, kHugeOrder, flags);
    // Memory is too scattered: single pages do as well.
    state_->put(pages, kHugeOrder);
    pages.clear();
  }
  Status status = state_->alloc_pages(pages_for(size), kOrder0, gfp, pages);
  if (status) {
    auto area = map(pages, kOrder0, flags);
    if (area) return area;
    status = fail(area.error());
  }
  state_->put(pages, kOrder0);
  return fail(status.error());
}

Status Vmalloc::State::map_run(std::byte* where, PhysAddr from, uint64_t size) {
  while (size > 0) {
    PageBacking backing = CW_TRY(find_backing(from));
    uint64_t part = std::min(size, backing.contiguous);
    if (part == 0 || !is_aligned(part | backing.offset, kPageSize)) {
      return fail(EINVAL, "backing of a frame is not whole pages");
    }
    void* at = ::mmap(where, part, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, backing.fd,
                      static_cast<off_t>(backing.offset));
    if (at == MAP_FAILED) return fail_with_errno("cannot map vmalloc pages");
    where += part;
    from += part;
    size -= part;
  }
  return {};
}

Result<const VmArea*> Vmalloc::map(std::span<Page* const> pages, Order page_order, uint32_t flags) {
  CW_FAIL_POINT("mm.vmap.begin");
  MemMap& memory = state_->allocator.map();
  if (pages.empty()) return fail(EINVAL, "vmap of no pages");
  for (const Page* page : pages) {
    Pfn pfn = memory.pfn(page);
    if (!pfn.is_aligned(page_order) || pfn.value() >= memory.end_pfn()) {
      log::warn("mm", "vmap: block at {}, want one aligned to order {} below {:#x}", pfn, page_order,
                memory.end_pfn());
      return fail(EINVAL, "vmap of a block that is not aligned to its order");
    }
  }
  uint64_t block = page_order.bytes();
  uint64_t size = block * pages.size();
  auto area = std::make_unique<MappedArea>();
  area->mapping = CW_TRY(Mapping::reserve(size + kPageSize));
  for (size_t i = 0; i < pages.size();) {
    size_t end = i + 1;
    while (end < pages.size() && memory.phys(pages[end]) == memory.phys(pages[end - 1]) + block) ++end;
    CW_TRY(state_->map_run(area->mapping.data() + i * block, memory.phys(pages[i]), (end - i) * block));
    i = end;
  }
  CW_POINT("mm.vmap.mapped");
  area->address = area->mapping.data();
  area->size = size;
  area->flags = flags;
  area->page_order = page_order;
  area->pages.assign(pages.begin(), pages.end());
  const VmArea* result = area.get();
  MutexLock lock(state_->mutex);
  state_->areas.emplace(area->address + size, std::move(area));
  return result;
}

void Vmalloc::free(void* address) {
  if (address == nullptr) return;
  std::unique_ptr<MappedArea> area;
  {
    MutexLock lock(state_->mutex);
    auto it = state_->areas.upper_bound(static_cast<const std::byte*>(address));
    if (it != state_->areas.end() && it->second->address == address) {
      area = std::move(it->second);
      state_->areas.erase(it);
    }
  }
  if (area == nullptr) {
    log::warn("mm", "vfree of {}, which is not the start of an area", address);
    return;
  }
  // The alias goes before the pages can be anybody else's.
  area->mapping = Mapping();
  if ((area->flags & kVmAlloc) != 0) state_->put(area->pages, area->page_order);
}

const VmArea* Vmalloc::find(const void* address) const {
  auto* byte = static_cast<const std::byte*>(address);
  MutexLock lock(state_->mutex);
  auto it = state_->areas.upper_bound(byte);
  if (it == state_->areas.end() || byte < it->second->address) return nullptr;
  return it->second.get();
}

Result<PhysAddr> Vmalloc::to_phys(const void* address) const {
  const VmArea* area = find(address);
  if (area == nullptr) return fail(EINVAL, "not a vmalloc address");
  auto offset = static_cast<uint64_t>(static_cast<const std::byte*>(address) - area->address);
  uint64_t block = area->page_order.bytes();
  return state_->allocator.map().phys(area->pages[offset / block]) + offset % block;
}

Result<PageBacking> Vmalloc::backing(PhysAddr address) const {
  return state_->find_backing(address);
}

}  // namespace causeway::mm
