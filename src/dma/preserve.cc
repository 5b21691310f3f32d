// Preserving a DMA allocation for the next kernel, and taking that back.
//
// What cannot be preserved, in the order of the checks (all EOPNOTSUPP):
//
//   KHO is off, or the kernel was built without DMA_LIVEUPDATE   there is no carrier
//   the device has memory of its own, or foreign DMA operations  not memory of this allocator
//   the device's domain is not preserved                         the next kernel would not find the addresses
//   DMA_CMA, or memory of a device's CMA area                    pages counted one by one, another owner
//   a restricted pool                                            pool pages; the posted code forgets this one
//   ARCH_HAS_DMA_ALLOC, incoherent                               the architecture's allocator
//   DMA_GLOBAL_POOL, incoherent                                  pool pages
//   NO_KERNEL_MAPPING, not forced unencrypted                    a cookie
//   address in an atomic pool                                    pool pages
//   no physical address behind the handle                        nothing to preserve
//   behind an IOMMU, more than one block                         a record has room for one
//
// Pool pages belong to their pool, which the next kernel makes anew somewhere else.

#include "base/log.h"
#include "base/point.h"
#include "dma/attribute_rules.h"
#include "dma/direct.h"
#include "dma/faults.h"
#include "dma/iommu/iommu_dma.h"
#include "dma/state.h"

namespace causeway::dma {

namespace {

const char* refusal(Dma::State& state, const Device& device, const Coherent& allocation, Attr attrs) {
  if (const char* reason = state.cannot_hand_over(device)) return reason;
  if (device.iommu() != nullptr && !device.iommu()->is_preserved()) return "its domain is not preserved";
  if (direct::is_cookie(device, attrs)) return "memory without a kernel mapping";
  const platform::DirectMap& linear = state.map().direct_map();
  if (state.atomic_pools && linear.contains(allocation.cpu) &&
      state.atomic_pools->contains(linear.to_phys(allocation.cpu), align_up(allocation.size, kPageSize)))
    return "memory of an atomic pool";
  if (device.iommu() == nullptr && !device.to_phys(allocation.handle)) return "no physical address behind the handle";
  return nullptr;
}

// What only the allocation itself tells. The device's traits may have changed since it was made; where it came from has not.
const char* refusal(const Device& device, const Allocation& block) {
  if (block.contiguous) return "memory of a CMA area";
  if (block.route == Route::kDirect) return nullptr;
  if (block.route != Route::kIommu || device.iommu() == nullptr) return "not memory of the direct path";
  if (!device.iommu()->is_one_block(block)) return "memory behind an IOMMU that is not one block: kForceContiguous";
  return nullptr;
}

abi::AllocRecord describe(const Device& device, const Allocation& block) {
  auto flag = [](bool set, abi::AllocFlag bit) { return static_cast<unsigned>(set ? bit : 0); };
  abi::AllocRecord record{};
  record.flags = static_cast<uint16_t>(
      flag(device.traits().force_unencrypted, abi::kForceDecrypted) | flag(block.remapped, abi::kRemapped) |
      flag(block.uncached, abi::kUncached) | flag(device.traits().coherent, abi::kCoherentDevice) |
      flag(block.route == Route::kIommu, abi::kIommuMapped));
  record.page_phys = block.phys.value();
  record.size = block.size;
  record.order = block.order.value();
  record.attrs = static_cast<uint64_t>(block.attrs);
  record.dma_handle = block.handle.value();
  record.requester = device.requester();
  return record;
}

// The whole block, as the page allocator will want it back: 2^order pages, not the pages asked for.
Status preserve_block(Dma::State& state, const Allocation& block) {
  mm::Page* page = state.map().page(block.phys);
  if (state.fault_short_preserve) return faults::preserve_short(state.kho, page, block.size);
  return state.kho.preserve_page(page, block.order);
}

void unpreserve_block(Dma::State& state, const abi::AllocRecord& record) {
  mm::Page* page = state.map().page(PhysAddr(record.page_phys));
  if (state.fault_short_preserve) return faults::unpreserve_short(state.kho, page, record.size);
  state.kho.unpreserve_page(page, Order(record.order));
}

void remove_record(Dma::State& state, PhysAddr where) {
  state.records.with([&](RecordStore& records) { records.finish_remove(where); });
}

// `block` is marked as preserved.
Result<PhysAddr> hand_over(Dma::State& state, const Device& device, const Allocation& block) {
  CW_POINT("dma.preserve.before_record");
  PhysAddr where = CW_TRY(state.records.with(
      [&](RecordStore& records) { return records.add(describe(device, block), block.cpu); }));
  CW_POINT("dma.preserve.after_record");
  if (Status kept = preserve_block(state, block); !kept) {
    remove_record(state, where);
    return fail(kept.error());
  }
  CW_POINT("dma.preserve.after_pages");
  return where;
}

}  // namespace

Result<Token> preserve_allocation(Device& device, const Coherent& allocation, Attr attrs) {
  Dma::State& state = device.dma().state();
  if (allocation.size == 0) return fail(EINVAL, "an allocation of no size");
  if (const char* reason = refusal(state, device, allocation, attrs)) return fail(EOPNOTSUPP, reason);

  Allocation block = CW_TRY(state.allocations.mark_preserved(
      {allocation.cpu, allocation.handle, allocation.size, device.requester(),
       canonical_attrs(attrs, device.traits().coherent)}));
  const char* reason = refusal(device, block);
  Result<PhysAddr> where =
      reason == nullptr ? hand_over(state, device, block) : Result<PhysAddr>(fail(EOPNOTSUPP, reason));
  if (!where) {
    state.allocations.clear_preserved(block.cpu);
    return fail(where.error());
  }
  state.preserved.fetch_add(1, std::memory_order_relaxed);
  return Token{where->value()};
}

Status unpreserve_allocation(Device& device, Token token) {
  Dma::State& state = device.dma().state();
  if (!state.config.liveupdate || !state.kho.is_enabled()) return {};
  PhysAddr where(static_cast<uint64_t>(token));
  auto found = state.records.with(
      [&](RecordStore& records) { return records.begin_remove(where, device.requester()); });
  if (!found) {
    log::warn("dma", "{}: token {} is not unpreserved: {}", device.name(), where, found.error().message);
    return fail(found.error());
  }
  // Pages before record: killed in between, the next kernel finds a record whose pages were not
  // preserved, and refuses it.
  CW_POINT("dma.unpreserve.before_pages");
  unpreserve_block(state, found->record);
  CW_POINT("dma.unpreserve.after_pages");
  remove_record(state, where);
  CW_POINT("dma.unpreserve.after_record");
  state.preserved.fetch_sub(1, std::memory_order_relaxed);
  state.allocations.clear_preserved(found->owner);
  return {};
}

}  // namespace causeway::dma
