#include "dma/dma.h"

#include <algorithm>
#include <utility>

#include "base/log.h"
#include "base/point.h"
#include "dma/attribute_rules.h"
#include "dma/direct.h"
#include "dma/state.h"

namespace causeway::dma {

Dma::Dma(std::unique_ptr<State> state) : state_(std::move(state)) {}
Dma::~Dma() = default;

const char* Dma::State::cannot_hand_over(const DeviceTraits& traits) const {
  if (!config.liveupdate) return "built without preservation of DMA memory";
  if (!kho.is_enabled()) return "kexec handover is off";
  if (traits.coherent_memory) return "the device has memory of its own";
  if (traits.iommu) return "the device is behind an IOMMU";
  if (config.cma) return "DMA memory may come from CMA";
  if (traits.restricted_pool) return "the device uses a restricted pool";
  if (config.arch_has_dma_alloc && !traits.coherent) return "the device uses the architecture's allocator";
  if (config.global_pool && !traits.coherent) return "the device uses the global pool";
  return nullptr;
}

Result<std::unique_ptr<Dma>> Dma::create(mm::PageAllocator& allocator, mm::Vmalloc& vmalloc, kho::Kho& kho,
                                         const Config& config) {
  auto state = std::make_unique<State>(allocator, vmalloc, kho, config);
  if (config.coherent_pool)
    state->atomic_pools = std::make_unique<AtomicPools>(allocator, config.atomic_pool_size);
  if (config.global_pool) state->global_pool = CW_TRY(PagePool::create(allocator, config.global_pool_size));
  return std::unique_ptr<Dma>(new Dma(std::move(state)));
}

DmaStats Dma::stats() const {
  DmaStats stats;
  stats.allocations = state_->allocations.size();
  stats.preserved = state_->preserved.load(std::memory_order_relaxed);
  stats.restored = state_->restored.load(std::memory_order_relaxed);
  stats.leaked = state_->leaked.load(std::memory_order_relaxed);
  stats.leaked_pages = state_->leaked_pages.load(std::memory_order_relaxed);
  stats.withheld_pages = state_->withheld_pages.load(std::memory_order_relaxed);
  return stats;
}

void Dma::set_faults(LiveUpdateFaults faults) {
  state_->fault_short_preserve = faults.short_preserve;
  state_->fault_restore_split = faults.restore_split;
}

const Config& Dma::config() const {
  return state_->config;
}

namespace {

Status check_request(const Device& device, uint64_t size, mm::Gfp gfp, Attr attrs) {
  if (size == 0) return fail(EINVAL, "an allocation of no size");
  if (has(gfp, mm::Gfp::kComp)) return fail(EINVAL, "a compound page cannot be DMA memory");
  if (has(attrs, Attr::kCcShared | Attr::kAllocCcShared | Attr::kMmio))
    return fail(EINVAL, "attributes an allocation cannot have");
  if (device.coherent_mask() == 0) log::warn("dma", "{}: no coherent mask was ever set", device.name());
  return {};
}

Result<Allocation> alloc_by_route(Device& device, uint64_t size, mm::Gfp gfp, Attr attrs) {
  Dma::State& state = device.dma().state();
  if (device.traits().coherent_memory) return direct::alloc_device_memory(state, device, size);
  if (device.traits().iommu) return fail(EOPNOTSUPP, "the device is behind an IOMMU");
  if (has(attrs, Attr::kNoWarn)) gfp = gfp | mm::Gfp::kNoWarn;
  // Where the memory lies follows from the device's mask, not from the caller; and nobody may move it.
  gfp = mm::without(mm::without(mm::without(gfp, mm::Gfp::kDma32), mm::Gfp::kMovable), mm::Gfp::kZero);
  return direct::alloc(state, device, size, gfp, attrs);
}

}  // namespace

Result<Coherent> alloc_attrs(Device& device, uint64_t size, mm::Gfp gfp, Attr attrs) {
  CW_POINT("dma.alloc.before");
  CW_TRY(check_request(device, size, gfp, attrs));
  Result<Allocation> made = alloc_by_route(device, size, gfp, attrs);
  if (!made) {
    if (!has(attrs, Attr::kNoWarn) && !has(gfp, mm::Gfp::kNoWarn))
      log::warn("dma", "{}: no memory for {} bytes: {}", device.name(), size, made.error().message);
    return fail(made.error());
  }
  made->attrs = canonical_attrs(attrs, device.traits().coherent);
  device.dma().state().allocations.insert(*made);
  CW_POINT("dma.alloc.after");
  return Coherent{made->cpu, made->handle, size};
}

Status free_attrs(Device& device, const Coherent& allocation, Attr attrs) {
  if (allocation.cpu == nullptr) return {};
  Dma::State& state = device.dma().state();
  Result<Allocation> taken =
      state.allocations.take({allocation.cpu, allocation.handle, allocation.size, device.requester(),
                              canonical_attrs(attrs, device.traits().coherent)});
  if (!taken) {
    log::warn("dma", "{}: {} bytes at {} are not freed: {}", device.name(), allocation.size,
              allocation.handle, taken.error().message);
    return fail(taken.error());
  }
  CW_POINT("dma.free.before_pages");
  direct::free(state, *taken);
  CW_POINT("dma.free.after_pages");
  return {};
}

}  // namespace causeway::dma
