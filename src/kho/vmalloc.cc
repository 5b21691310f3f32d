// vmalloc areas across a kexec: the list of an area's pages in a chain of preserved chunks.
#include <algorithm>
#include <cstring>

#include "base/log.h"
#include "base/point.h"
#include "kho/kho_state.h"

namespace causeway::kho {
namespace {

using abi::VmallocChunk;

constexpr uint16_t kKnownFlags = abi::kVmallocFlagAlloc | abi::kVmallocFlagHuge;

// The pages that a descriptor and its chunks list.
struct Listing {
  std::vector<VmallocChunk*> chunks;
  std::vector<PhysAddr> pages;  // each 2^order pages
};

// Follows the chain of a descriptor. `is_chunk` says whether an address may be followed.
template <typename IsChunk>
Result<Listing> list(const mm::MemMap& map, const abi::VmallocDescriptor& descriptor, IsChunk is_chunk) {
  if ((descriptor.flags & ~kKnownFlags) != 0) return fail(EINVAL, "vmalloc: unknown flags");
  if (descriptor.order >= 32 || descriptor.total_pages == 0 ||
      !is_aligned(descriptor.total_pages, uint64_t{1} << descriptor.order))
    return fail(EINVAL, "vmalloc: number of pages is 0, or no multiple of the order");
  const uint64_t wanted = descriptor.total_pages >> descriptor.order;
  Listing listing;
  for (uint64_t next = descriptor.first; next != 0;) {
    // Every chunk but an empty last one lists something: that bounds a chain that bites its tail.
    if (listing.chunks.size() > wanted / abi::kVmallocChunkEntries + 1)
      return fail(EINVAL, "vmalloc: too many chunks for its pages, or a cycle");
    if (!is_chunk(PhysAddr(next))) return fail(ENOENT, "vmalloc: a chunk is not a preserved page");
    auto* chunk = map.direct_map().to_virt<VmallocChunk>(PhysAddr(next));
    listing.chunks.push_back(chunk);
    for (uint64_t phys : chunk->phys) {
      if (phys == 0) break;
      if (listing.pages.size() == wanted)
        return fail(EINVAL, "vmalloc: more pages listed than the descriptor has");
      if (!is_aligned(phys, kPageSize << descriptor.order))
        return fail(EINVAL, "vmalloc: a page is not aligned to the order");
      listing.pages.push_back(PhysAddr(phys));
    }
    next = chunk->next;
  }
  if (listing.pages.size() != wanted)
    return fail(EINVAL, "vmalloc: fewer pages listed than the descriptor has");
  return listing;
}

}  // namespace

Result<abi::VmallocDescriptor> Kho::preserve_vmalloc(const void* address) {
  State& s = *state_;
  CW_TRY(s.require_active());
  const mm::VmArea* area = s.vmalloc->find(address);
  if (area == nullptr) return fail(EINVAL, "not a vmalloc area");
  if ((area->flags & ~(mm::kVmAlloc | mm::kVmAllowHuge)) != 0 || (area->flags & mm::kVmAlloc) == 0)
    return fail(EOPNOTSUPP, "vmalloc area with flags that cannot be handed over");
  const uint64_t pages = area->pages.size() << area->page_order.value();
  if (pages > UINT32_MAX) return fail(EOPNOTSUPP, "vmalloc area larger than a descriptor can say");

  // All zero until it is complete: what an error path unpreserves is what this call has listed.
  abi::VmallocDescriptor descriptor{};
  descriptor.flags = static_cast<uint16_t>(
      abi::kVmallocFlagAlloc | ((area->flags & mm::kVmAllowHuge) != 0 ? abi::kVmallocFlagHuge : 0));
  descriptor.order = static_cast<uint16_t>(area->page_order.value());
  VmallocChunk* chunk = nullptr;
  unsigned used = 0;
  auto add = [&](mm::Page* page) -> Status {
    // A new chunk only for a page that needs one: no empty chunk at the end of 511 pages.
    if (chunk == nullptr || used == abi::kVmallocChunkEntries) {
      CW_FAIL_POINT("kho.vmalloc.chunk");
      auto* made = static_cast<VmallocChunk*>(CW_TRY(alloc_preserve(sizeof(VmallocChunk))));
      (chunk == nullptr ? descriptor.first : chunk->next) = s.map.direct_map().to_phys(made).value();
      chunk = made;
      used = 0;
    }
    CW_TRY(preserve_pages(page, area->page_order.pages()));
    chunk->phys[used++] = s.map.phys(page).value();
    descriptor.total_pages += static_cast<uint32_t>(area->page_order.pages());
    CW_POINT("kho.vmalloc.after_page");
    return {};
  };
  for (mm::Page* page : area->pages) {
    if (Status added = add(page); !added.has_value()) {
      unpreserve_chunks(descriptor);
      return fail(added.error());
    }
  }
  return descriptor;
}

void Kho::unpreserve_chunks(const abi::VmallocDescriptor& descriptor) {
  State& s = *state_;
  // A descriptor this kernel wrote: the chain is its own memory.
  for (uint64_t next = descriptor.first; next != 0;) {
    auto* chunk = s.map.direct_map().to_virt<VmallocChunk>(PhysAddr(next));
    for (uint64_t phys : chunk->phys) {
      if (phys == 0) break;
      unpreserve_pages(s.map.page(PhysAddr(phys)), uint64_t{1} << descriptor.order);
    }
    next = chunk->next;
    unpreserve_free(chunk);
  }
}

void Kho::unpreserve_vmalloc(const abi::VmallocDescriptor& descriptor) {
  State& s = *state_;
  if (!s.require_active()) return;
  auto is_preserved_page = [&](PhysAddr chunk) {
    return chunk.page_offset() == 0 && s.outgoing->contains(page_block(chunk));
  };
  if (auto listing = list(s.map, descriptor, is_preserved_page); !listing.has_value()) {
    log::warn("kho", "unpreserve_vmalloc: {}", to_string(listing.error()));
    return;
  }
  unpreserve_chunks(descriptor);
}

Result<const mm::VmArea*> Kho::restore_vmalloc(const abi::VmallocDescriptor& descriptor) {
  State& s = *state_;
  if (!s.active() || !s.incoming.has_value()) return fail(ENOENT, "not a KHO boot, or KHO is off");
  auto is_preserved_page = [&](PhysAddr chunk) {
    const auto block = s.preserved_block(chunk);
    return block.has_value() && block->order == kOrder0;
  };
  // Everything is checked before anything is restored.
  const Listing listing = CW_TRY(list(s.map, descriptor, is_preserved_page));
  const Order order(descriptor.order);
  for (PhysAddr phys : listing.pages)
    if (!s.check_run(phys, order.pages())) return fail(ENOENT, "vmalloc: a page is not preserved");
  CW_FAIL_POINT("kho.vmalloc.before_restore");

  std::vector<mm::Page*> pages;
  pages.reserve(listing.pages.size());
  for (PhysAddr phys : listing.pages) {
    mm::Page* page = restore_pages(phys, order.pages());
    if (page == nullptr) return fail(EINVAL, "vmalloc: a page is listed twice");
    pages.push_back(page);
  }
  CW_POINT("kho.vmalloc.after_restore");
  const uint32_t flags =
      mm::kVmAlloc | ((descriptor.flags & abi::kVmallocFlagHuge) != 0 ? mm::kVmAllowHuge : 0);
  const mm::VmArea* area = CW_TRY(s.vmalloc->map(pages, order, flags));
  for (VmallocChunk* chunk : listing.chunks) restore_free(chunk);
  return area;
}

}  // namespace causeway::kho
