// Reserved memory of devices: coherent allocations from the pool that their streaming maps bounce through.
#include "base/log.h"
#include "base/point.h"
#include "dma/state.h"
#include "dma/swiotlb/swiotlb_state.h"

namespace causeway::dma {

Result<PhysAddr> Swiotlb::alloc(const Device& device, size_t size) {
  if (!restricted_) return fail(EOPNOTSUPP, "coherent memory does not come from this pool");
  if (size == 0) return fail(EINVAL, "an allocation of no size");
  if (!state_->may_serve(device))
    return fail(EPERM, "the pool is encrypted differently than the device needs");
  CW_FAIL_POINT("dma.swiotlb.restricted_alloc");
  const uint64_t bytes = Order::covering(size).bytes();
  // No original, so nothing to be aligned as it is: the device's min_align_mask does not count.
  SlotRequest request = CW_TRY(SlotRequest::make(bytes, PhysAddr(0), bytes - 1, 0));
  request.boundary = device.segment_boundary_mask();
  BouncePool& pool = *state_->pool;
  BounceMapping mapping{.size = static_cast<uint32_t>(bytes)};
  auto base = pool.take(request, mapping, bus_slot(device, pool.begin()), 0);
  if (!base) return fail(ENOMEM, "the restricted pool is exhausted");
  state_->account(request.slots);
  return *base;
}

bool Swiotlb::free(PhysAddr base, size_t size) {
  BouncePool& pool = *state_->pool;
  if (!restricted_ || size == 0 || !pool.contains(base)) return false;
  BouncePool::Held held = pool.find(base);
  if (held.mapping == nullptr || held.data != base || held.mapping->orig != BounceMapping::kNoOriginal) return false;
  if (held.mapping->size != Order::covering(size).bytes()) return false;
  const int64_t slots = held.mapping->slots;
  if (!pool.give(held)) return false;
  state_->account(-slots);
  return true;
}

Swiotlb* restricted_swiotlb(Dma::State& state, bool cc_shared) {
  return state.restricted_pools.with([&](Dma::State::RestrictedPools& pools) {
    std::unique_ptr<Swiotlb>& pool = cc_shared ? pools.decrypted : pools.encrypted;
    if (pool) return pool.get();
    Swiotlb::Options options{.size = state.config.restricted_pool_size, .restricted = true, .cc_shared = cc_shared};
    auto made = Swiotlb::create(state.allocator, state.attributes, options);
    if (made) {
      pool = std::move(*made);
    } else {
      log::warn("dma", "no restricted pool of {} bytes: {}", options.size, made.error().message);
      pool = Swiotlb::disabled(state.allocator, state.attributes, options);
    }
    return pool.get();
  });
}

}  // namespace causeway::dma
