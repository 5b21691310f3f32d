// Where bounce pools get their memory.
#include <algorithm>
#include <bit>

#include "base/log.h"
#include "base/point.h"
#include "dma/swiotlb/swiotlb_state.h"
#include "mm/boot_memory.h"

namespace causeway::dma {

namespace {

constexpr uint32_t kMinSlots = 512;  // IO_TLB_MIN_SLABS: 1 MiB

// No buffer is longer than a slot set, so none can ask for more alignment of its own.
uint64_t alignment_in_pages(uint64_t pages) {
  return std::min(std::bit_ceil(pages), kMaxBounce >> kPageShift);
}

PfnRange frames(PhysAddr base, uint64_t bytes) {
  return {Pfn::containing(base), Pfn::containing(base) + pages_for(bytes)};
}

}  // namespace

// Makes the memory the host's, if it has to be. What cannot be decrypted is in an unknown state: nobody gets it back.
Result<PhysAddr> Swiotlb::State::share(PhysAddr base, uint64_t bytes) {
  if (!options.cc_shared) return base;
  Status decrypted = attributes.set_decrypted(frames(base, bytes));
  if (decrypted) return base;
  log::warn("dma", "{} pages at {} are withheld: decrypting them failed", pages_for(bytes), base);
  return fail(EIO, "the bounce pool could not be decrypted");
}

Result<PhysAddr> Swiotlb::State::alloc_below(uint64_t bytes) {
  CW_FAIL_POINT("dma.swiotlb.alloc_pool");
  const uint64_t pages = pages_for(bytes);
  const uint64_t alignment = alignment_in_pages(pages);
  const uint64_t limit = options.limit.value();
  mm::MemMap& map = allocator.map();
  if (options.base) {
    CW_TRY(allocator.alloc_contig_range(frames(*options.base, bytes)));
    return *options.base;
  }
  mm::Gfp gfp = mm::kGfpKernel | mm::Gfp::kNoWarn;
  if (limit < mm::kDma32Limit.value()) gfp = gfp | mm::kGfpDma32;
  mm::Page* page = CW_TRY(allocator.alloc_contig(pages, alignment, gfp));
  PhysAddr base = map.phys(page);
  if (base.value() + (pages << kPageShift) - 1 <= limit) return base;
  allocator.free_contig(page, pages);
  // The allocator knows no limit but 4 GiB: look downwards from this one, at not too many places.
  const uint64_t step = std::max(alignment << kPageShift, align_up(limit >> 8, alignment << kPageShift));
  for (uint64_t at = limit + 1 > bytes ? align_down(limit + 1 - bytes, alignment << kPageShift) : 0; at != 0;
       at = at > step ? at - step : 0) {
    PfnRange range = frames(PhysAddr(at), bytes);
    if (allocator.alloc_contig_range(range)) return PhysAddr(at);
  }
  return fail(ENOMEM, "no contiguous memory below the limit");
}

Result<std::unique_ptr<BouncePool>> Swiotlb::State::make_pool(uint32_t slots, uint32_t areas) {
  for (;;) {
    Result<PhysAddr> base = alloc_below(uint64_t{slots} << kSlotShift);
    if (base) {
      PhysAddr shared = CW_TRY(share(*base, uint64_t{slots} << kSlotShift));
      return std::make_unique<BouncePool>(BouncePool::Extent{shared, slots, areas}, memory());
    }
    // Reserved memory has the size it has.
    if (options.restricted || options.base || slots / 2 < kMinSlots) return fail(base.error());
    slots = static_cast<uint32_t>(align_up(slots / 2, kSlotsPerSet));
    areas = std::min(areas, std::bit_floor(slots / static_cast<uint32_t>(kSlotsPerSet)));
  }
}

Result<std::unique_ptr<BouncePool>> Swiotlb::State::make_transient(const Device& device, uint32_t slots,
                                                                  uint64_t alignment) {
  CW_FAIL_POINT("dma.swiotlb.alloc_transient");
  const uint64_t bytes = uint64_t{slots} << kSlotShift;
  const Order order = Order::covering(std::max(bytes, alignment));
  if (order > mm::kMaxPageOrder) return fail(ENOMEM, "alignment beyond the largest block");
  std::optional<PhysAddr> reach = device.to_phys(DmaAddr(device.limit()));
  mm::Page* page = CW_TRY(allocator.alloc_pages_below(order, mm::kGfpAtomic | mm::Gfp::kNoWarn,
                                                      reach.value_or(PhysAddr(~uint64_t{0}))));
  PhysAddr base = allocator.map().phys(page);
  std::optional<DmaAddr> last = device.to_dma(base + (bytes - 1));
  if (!device.to_dma(base) || !last || last->value() > device.limit()) {
    allocator.free_pages(page, order);
    return fail(ENOMEM, "no memory the device can reach");
  }
  PhysAddr shared = CW_TRY(share(base, order.bytes()));
  return std::make_unique<BouncePool>(BouncePool::Extent{shared, slots, 1}, memory());
}

void Swiotlb::State::free_transient(const BouncePool& transient) {
  mm::Page* page = allocator.map().page(transient.begin());
  // The order it was allocated with; the alignment asked for may have made it larger than its slots.
  const Order order(page->order);
  if (options.cc_shared && !attributes.set_encrypted(frames(transient.begin(), order.bytes()))) {
    log::warn("dma", "{} pages at {} are withheld: encrypting them again failed", order.pages(), transient.begin());
    return;
  }
  allocator.free_pages(page, order);
}

void Swiotlb::State::account(int64_t slots) {
  if (!options.track_hiwater) return;
  int64_t now = used.fetch_add(slots, std::memory_order_relaxed) + slots;
  int64_t most = hiwater.load(std::memory_order_relaxed);
  while (now > most && !hiwater.compare_exchange_weak(most, now, std::memory_order_relaxed)) {
  }
}

}  // namespace causeway::dma
