#include "dma/dma.h"

#include <algorithm>
#include <utility>

#include "base/log.h"
#include "base/point.h"
#include "base/warn_once.h"
#include "dma/alloc_tracking.h"
#include "dma/attribute_rules.h"
#include "dma/direct.h"
#include "dma/iommu/iommu_dma.h"
#include "dma/irq_context.h"
#include "dma/state.h"

namespace causeway::dma {

Dma::Dma(std::unique_ptr<State> state) : state_(std::move(state)) {}
Dma::~Dma() = default;

const char* Dma::State::cannot_hand_over(const Device& device) const {
  const DeviceTraits& traits = device.traits();
  if (!config.liveupdate) return "built without preservation of DMA memory";
  if (!kho.is_enabled()) return "kexec handover is off";
  if (device_memories.has(device)) return "the device has memory of its own";
  if (traits.iommu) return "the device is behind an IOMMU that this subsystem does not know";
  if (config.cma || config.cma_size != 0) return "DMA memory may come from CMA";
  if (traits.restricted_pool) return "the device uses a restricted pool";
  if (config.arch_has_dma_alloc && !traits.coherent) return "the device uses the architecture's allocator";
  if (config.global_pool && !traits.coherent) return "the device uses the global pool";
  return nullptr;
}

Result<std::unique_ptr<Dma>> Dma::create(mm::PageAllocator& allocator, mm::Vmalloc& vmalloc, kho::Kho& kho,
                                         const Config& config) {
  auto state = std::make_unique<State>(allocator, vmalloc, kho, config);
  if (config.cma_size != 0) {
    // A system without the area is still one: the page allocator serves.
    if (Status made = state->contiguous.create_default(config.cma_size); !made)
      log::warn("dma", "no CMA area of {} bytes: {}", config.cma_size, made.error().message);
  }
  if (config.coherent_pool)
    state->atomic_pools = std::make_unique<AtomicPools>(
        allocator, config.atomic_pool_size,
        AtomicPools::Options{.grow = config.atomic_pools_grow, .cma = state->contiguous.default_area()});
  if (config.swiotlb_size != 0) {
    Swiotlb::Options options{.size = config.swiotlb_size,
                             .areas = config.swiotlb_areas,
                             .force = config.swiotlb_force,
                             .dynamic = config.swiotlb_dynamic,
                             .cc_shared = config.encrypted_guest || config.encryption_mask != 0,
                             .host_encrypted = config.encryption_mask != 0 && !config.encrypted_guest,
                             .limit = PhysAddr{bit_mask(32)}};
    // A system without bounce buffers is still one: maps that need them fail.
    if (auto pool = Swiotlb::create(allocator, state->attributes, options))
      state->swiotlb = std::move(*pool);
    else
      log::warn("dma", "no bounce buffers: {}", pool.error().message);
  }
  if (config.debug) {
    Debug::Options options{.cache_line = config.cache_line,
                           .bounces_kmalloc = config.bounce_unaligned_kmalloc && state->swiotlb != nullptr,
                           .track_init = true};
    options.is_ram = [&allocator](Pfn pfn) { return allocator.is_managed(pfn); };
    options.is_vmalloc = [&vmalloc](const void* memory) { return vmalloc.find(memory) != nullptr; };
    state->debug = std::make_unique<Debug>(state->map(), options);
  }
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
  stats.debug_errors = state_->debug != nullptr ? state_->debug->errors() : 0;
  stats.withheld_pages = state_->withheld_pages.load(std::memory_order_relaxed);
  return stats;
}

void Dma::set_faults(LiveUpdateFaults faults) {
  state_->fault_short_preserve = faults.short_preserve;
  state_->fault_restore_split = faults.restore_split;
}

void Dma::set_map_fault(MapFault fault) {
  state_->map_fault.store(fault, std::memory_order_relaxed);
}

Swiotlb* Dma::swiotlb() {
  return state_->swiotlb.get();
}

void Dma::device_removed(const Device& device) {
  if (state_->debug != nullptr) state_->debug->device_removed(device);
}

Debug* Dma::debug() {
  return state_->debug.get();
}

P2pRegistry& Dma::p2p() {
  return state_->p2p;
}

const Config& Dma::config() const {
  return state_->config;
}

namespace {

Status check_request(const Device& device, uint64_t size, mm::Gfp gfp, Attr attrs) {
  if (size == 0) return fail(EINVAL, "an allocation of no size");
  if (has(gfp, mm::Gfp::kComp)) {
    CW_WARN_ONCE("dma", "{}: a compound page was asked for", device.name());
    return fail(EINVAL, "a compound page cannot be DMA memory");
  }
  if (has(attrs, Attr::kCcShared | Attr::kAllocCcShared | Attr::kMmio))
    return fail(EINVAL, "attributes an allocation cannot have");
  if (device.coherent_mask() == 0) CW_WARN_ONCE("dma", "{}: no coherent mask was ever set", device.name());
  return {};
}

Result<Allocation> alloc_by_route(Device& device, uint64_t size, mm::Gfp gfp, Attr attrs) {
  Dma::State& state = device.dma().state();
  if (state.device_memories.has(device)) return state.device_memories.alloc(state, device, size);
  if (device.traits().iommu) return fail(EOPNOTSUPP, "the device is behind an IOMMU");
  if (has(attrs, Attr::kNoWarn)) gfp = gfp | mm::Gfp::kNoWarn;
  // Where the memory lies follows from the device's mask, not from the caller; and nobody may move it.
  gfp = mm::without(mm::without(mm::without(gfp, mm::Gfp::kDma32), mm::Gfp::kMovable), mm::Gfp::kZero);
  if (device.iommu() != nullptr) return device.iommu()->alloc(device, size, gfp, attrs);
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
  Dma::State& state = device.dma().state();
  state.allocations.insert(*made);
  track_alloc(state, device, *made);
  CW_POINT("dma.alloc.after");
  return Coherent{made->cpu, made->handle, size};
}

Status free_attrs(Device& device, const Coherent& allocation, Attr attrs) {
  Dma::State& state = device.dma().state();
  const Claim claim{allocation.cpu, allocation.handle, allocation.size, device.requester(),
                    canonical_attrs(attrs, device.traits().coherent)};
  Result<Allocation> taken = fail(EINVAL, "no allocation");
  if (allocation.cpu != nullptr) taken = state.allocations.take(claim);
  // Unmapping may sleep; only a device's own memory needs none.
  if (IrqsOff::here() && !(taken && taken->route == Route::kDeviceMemory))
    CW_WARN_ONCE("dma", "{}: coherent memory is freed with interrupts disabled", device.name());
  if (allocation.cpu == nullptr) return {};
  track_free(state, device, allocation, attrs, taken);
  if (!taken) {
    log::warn("dma", "{}: {} bytes at {} are not freed: {}", device.name(), allocation.size,
              allocation.handle, taken.error().message);
    return fail(taken.error());
  }
  CW_POINT("dma.free.before_pages");
  if (taken->route != Route::kIommu)
    direct::free(state, *taken);
  else if (device.iommu() != nullptr)
    device.iommu()->free(device, *taken);
  else
    log::warn("dma", "{}: {} bytes at {} are lost: the device was detached from its IOMMU before they were freed",
              device.name(), allocation.size, allocation.handle);
  CW_POINT("dma.free.after_pages");
  return {};
}

}  // namespace causeway::dma
