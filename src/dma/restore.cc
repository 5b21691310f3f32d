// Bringing a preserved DMA allocation back to life.
//
// Whatever goes wrong once the record was accepted, the memory is neither restored nor freed: the
// device it belongs to was never stopped and may be writing to it at this moment. Handed out again, it would
// be somebody else's memory that changes under them. So it stays reserved for as long as this kernel runs,
// its record stays where it is, and the token is spent.
//
// Everything is checked before anything is changed; contents are never touched.

#include <algorithm>
#include <optional>

#include "base/log.h"
#include "base/point.h"
#include "dma/alloc_tracking.h"
#include "dma/attribute_rules.h"
#include "dma/direct.h"
#include "dma/faults.h"
#include "dma/iommu/iommu_dma.h"
#include "dma/state.h"

namespace causeway::dma {

namespace {

constexpr uint16_t kKnownFlags =
    abi::kForceDecrypted | abi::kRemapped | abi::kUncached | abi::kCoherentDevice | abi::kIommuMapped;

// Pages of the range that are preserved and not yet restored.
uint64_t preserved_pages(Dma::State& state, PfnRange range) {
  uint64_t pages = 0;
  for (Pfn pfn = range.begin; pfn < range.end;) {
    std::optional<Order> order = state.kho.preserved_order(pfn.address());
    if (order) pages += order->pages();
    pfn += order ? order->pages() : 1;
  }
  return std::min(pages, range.pages());
}

// The block a record names, if it is one that this machine could have.
Result<Allocation> locate(Dma::State& state, const abi::AllocRecord& record) {
  if (record.order > mm::kMaxPageOrder.value()) return fail(EINVAL, "the record's order is too large");
  Order order(record.order);
  PhysAddr phys(record.page_phys);
  uint64_t end_pfn = state.map().end_pfn();
  if (!phys.is_aligned(order.bytes()) || order.pages() > end_pfn ||
      Pfn::containing(phys).value() > end_pfn - order.pages())
    return fail(EINVAL, "the record's block is misaligned or outside RAM");
  return Allocation{.size = record.size, .phys = phys, .order = order, .attrs = Attr{record.attrs}};
}

Status check_record(const abi::AllocRecord& record, const Device& device, uint64_t size, Attr attrs) {
  const bool coherent = device.traits().coherent;
  if ((record.flags & ~kKnownFlags) != 0 || record.reserved != 0)
    return fail(EINVAL, "the record has unknown flags");
  if (record.size != size) {
    log::warn("dma", "{}: restore of {} bytes, want {}", device.name(), size, record.size);
    return fail(EINVAL, "the size differs from what was recorded");
  }
  if (size == 0 || record.order != Order::covering(size).value())
    return fail(EINVAL, "the record's order does not fit its size");
  if (((record.flags & abi::kCoherentDevice) != 0) != coherent)
    return fail(EINVAL, "the device's coherency differs from what was recorded");
  if (const char* reason = incompatibility(Attr{record.attrs}, canonical_attrs(attrs, coherent)))
    return fail(EINVAL, reason);
  if (((record.flags & abi::kForceDecrypted) != 0) != device.traits().force_unencrypted)
    return fail(EPERM, "the memory's encryption differs from what was recorded");
  return {};
}

Status check_pages(Dma::State& state, const Allocation& block) {
  if (state.fault_short_preserve) return {};
  if (state.kho.preserved_order(block.phys) == block.order) return {};
  uint64_t kept = preserved_pages(state, block.range());
  log::warn("dma", "block at {}: only {} of {} pages were preserved as one block", block.phys, kept,
            block.order.pages());
  return fail(EIO, "the block was not preserved as a whole");
}

// The device goes on with the address it was given by the old kernel: any other is useless.
Status check_handle(const Device& device, const abi::AllocRecord& record, Allocation& block) {
  const IommuDma* iommu = device.iommu();
  if ((iommu != nullptr) != ((record.flags & abi::kIommuMapped) != 0))
    return fail(ERANGE, "the device does not see its memory the way it was recorded");
  if (iommu != nullptr) {
    block.handle = DmaAddr(record.dma_handle);
    block.route = Route::kIommu;
    return iommu->check_translation(block.handle, block.phys, align_up(block.size, kPageSize));
  }
  auto handle = device.coherent_handle(block.phys, align_up(block.size, kPageSize));
  if (!handle) return fail(ERANGE, "the device cannot reach its memory any more");
  if (handle->value() != record.dma_handle) {
    log::warn("dma", "{}: memory at {} has bus address {}, want {:#x}", device.name(), block.phys, *handle,
              record.dma_handle);
    return fail(ERANGE, "the bus address differs from what was recorded");
  }
  block.handle = *handle;
  return {};
}

Status take_pages(Dma::State& state, const Allocation& block) {
  mm::Page* page = state.fault_short_preserve  ? faults::restore_short(state.kho, block.phys, block.size)
                   : state.fault_restore_split ? faults::restore_split(state.kho, block.phys, block.order)
                                               : state.kho.restore_page(block.phys);
  if (page == nullptr) return fail(EIO, "the pages cannot be restored");
  return {};
}

Result<Coherent> restore_block(Dma::State& state, Device& device, mm::Gfp gfp, Attr attrs,
                               const abi::AllocRecord& record, uint64_t size, Allocation& block) {
  CW_TRY(check_record(record, device, size, attrs));
  CW_TRY(check_pages(state, block));
  CW_TRY(check_handle(device, record, block));
  direct::View view = CW_TRY(direct::view_for(device));
  // The old kernel may have decrypted it already, but nothing promises that doing so again does not sleep.
  if (direct::must_use_atomic_pool(device, view, gfp))
    return fail(EAGAIN, "mapping or decrypting blocks, and the caller may not");
  CW_POINT("dma.restore.after_check");
  // From here on the addresses are ours, restored or leaked: the device goes on using them.
  if (block.route == Route::kIommu)
    CW_TRY(device.iommu()->claim(block.handle, align_up(block.size, kPageSize), Direction::kBidirectional));

  if (view.decrypt) CW_TRY(direct::decrypt(state, block));
  CW_TRY(direct::map(state, view, attrs, block));
  CW_POINT("dma.restore.before_pages");
  if (Status taken = take_pages(state, block); !taken) {
    direct::unmap(state, block);
    return fail(taken.error());
  }
  block.requester = device.requester();
  state.allocations.insert(block);
  // Or its free would be one of something that was never allocated.
  track_alloc(state, device, block);
  CW_POINT("dma.restore.after_pages");
  return Coherent{block.cpu, block.handle, block.size};
}

void count_leak(Dma::State& state, const Device& device, const abi::AllocRecord& record, uint64_t pages,
                const Error& error) {
  state.leaked.fetch_add(1, std::memory_order_relaxed);
  state.leaked_pages.fetch_add(pages, std::memory_order_relaxed);
  log::warn("dma", "{}: {} bytes at {:#x} stay reserved, {} pages: {}", device.name(), record.size,
            record.page_phys, pages, error.message);
}

}  // namespace

Result<Coherent> restore_allocation(Device& device, uint64_t size, mm::Gfp gfp, Attr attrs, Token token) {
  Dma::State& state = device.dma().state();
  if (const char* reason = state.cannot_hand_over(device)) return fail(EOPNOTSUPP, reason);
  if (device.iommu() != nullptr && !device.iommu()->is_restored())
    return fail(EOPNOTSUPP, "the device's domain was not restored");
  CW_POINT("dma.restore.before_check");
  PhysAddr where(static_cast<uint64_t>(token));
  auto record =
      state.records.with([&](RecordStore& records) { return records.accept(where, device.requester()); });
  if (!record) {
    log::warn("dma", "{}: token {} is refused: {}", device.name(), where, record.error().message);
    return fail(record.error());
  }

  Result<Allocation> block = locate(state, *record);
  Result<Coherent> restored = block ? restore_block(state, device, gfp, attrs, *record, size, *block)
                                    : Result<Coherent>(fail(block.error()));
  if (!restored) {
    count_leak(state, device, *record, block ? preserved_pages(state, block->range()) : 0, restored.error());
    return restored;  // the record stays accepted, which keeps its page and spends the token
  }
  state.restored.fetch_add(1, std::memory_order_relaxed);
  state.records.with([&](RecordStore& records) { records.consume(where); });
  CW_POINT("dma.restore.after_record");
  return restored;
}

}  // namespace causeway::dma
