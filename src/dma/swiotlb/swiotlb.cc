#include "dma/swiotlb/swiotlb.h"

#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cstdlib>
#include <utility>

#include "base/log.h"
#include "base/point.h"
#include "base/warn_once.h"
#include "dma/swiotlb/swiotlb_state.h"

namespace causeway::dma {

namespace {

struct Size {
  uint32_t slots, areas;
};

Result<Size> size_for(const Swiotlb::Options& options) {
  constexpr uint64_t kMost = uint64_t{1} << 30;
  if (options.size == 0) return fail(EINVAL, "a bounce pool of no size");
  if (options.size > kMost) return fail(EINVAL, "a bounce pool of more than 1 GiB");
  // Reserved memory is as large as it is, and has one area.
  if (options.restricted)
    return Size{static_cast<uint32_t>(align_up(options.size, kPageSize) >> kSlotShift), 1};
  uint64_t areas = options.areas != 0 ? options.areas : static_cast<uint64_t>(::sysconf(_SC_NPROCESSORS_CONF));
  areas = std::bit_ceil(std::clamp<uint64_t>(areas, 1, kMost / kMaxBounce));
  uint64_t slots = std::max(align_up(options.size, kSlotSize) >> kSlotShift, areas * kSlotsPerSet);
  return Size{static_cast<uint32_t>(std::bit_ceil(slots)), static_cast<uint32_t>(areas)};
}

// What the kernel calls BUG: the caller does not know what it does to whose memory.
void require(Direction direction) {
  if (is_valid(direction)) return;
  log::error("dma", "bounce buffer synced in no direction");
  std::abort();
}

Attr without(Attr set, Attr attr) {
  return static_cast<Attr>(static_cast<uint64_t>(set) & ~static_cast<uint64_t>(attr));
}

// Copies what lies inside the mapping, and complains about the rest.
void copy(const BouncePool& pool, const BouncePool::Held& held, const Device& device, PhysAddr phys, size_t size,
          BouncePool::Copy way) {
  BouncePool::Part part = pool.clip(held, phys, size);
  if (!part.whole)
    CW_WARN_ONCE("dma", "{}: bounce buffer overflow: {} bytes at {}, want at most {} of the {} mapped at {}",
                 device.name(), size, phys, part.size, held.mapping->size, held.data);
  pool.copy(held, part, way);
}

}  // namespace

Swiotlb::Swiotlb(std::unique_ptr<State> state, const Options& options)
    : state_(std::move(state)),
      force_bounce_(options.force || options.restricted),
      restricted_(options.restricted),
      cc_shared_(options.cc_shared),
      first_(state_->pool->begin()),
      first_bytes_(state_->pool->bytes()),
      dynamic_(state_->growth != nullptr) {}

Swiotlb::~Swiotlb() = default;

Result<std::unique_ptr<Swiotlb>> Swiotlb::create(mm::PageAllocator& allocator, PageAttributes& attributes,
                                                 const Options& options) {
  Size size = CW_TRY(size_for(options));
  auto state = std::make_unique<State>(allocator, attributes, options);
  state->pool = CW_TRY(state->make_pool(size.slots, size.areas));
  if (options.dynamic && !options.restricted) {
    State* owner = state.get();
    state->growth = std::make_unique<Growth>(Growth::Maker{
        .shared = [owner, size] { return owner->make_pool(size.slots, size.areas); },
        .transient = [owner](const Device& device, uint32_t slots, uint64_t alignment) {
          return owner->make_transient(device, slots, alignment);
        },
        .free_transient = [owner](const BouncePool& pool) { owner->free_transient(pool); }});
  }
  return std::unique_ptr<Swiotlb>(new Swiotlb(std::move(state), options));
}

std::unique_ptr<Swiotlb> Swiotlb::disabled(mm::PageAllocator& allocator, PageAttributes& attributes,
                                           const Options& options) {
  auto state = std::make_unique<State>(allocator, attributes, options);
  state->pool = std::make_unique<BouncePool>(BouncePool::Extent{}, state->memory());
  return std::unique_ptr<Swiotlb>(new Swiotlb(std::move(state), options));
}

Result<PhysAddr> Swiotlb::take(const Device& device, PhysAddr orig, size_t size, uint64_t alloc_align_mask) {
  SlotRequest request = CW_TRY(SlotRequest::make(size, orig, alloc_align_mask, device.min_align_mask()));
  request.boundary = device.segment_boundary_mask();
  if (alloc_align_mask > kPageSize - 1)
    CW_WARN_ONCE("dma", "{}: alignment mask {:#x}: a buffer of the largest size may never fit", device.name(),
                 alloc_align_mask);
  BounceMapping mapping{orig.value(), static_cast<uint32_t>(size), device.min_align_mask()};
  BouncePool& pool = *state_->pool;
  if (auto bounce = pool.take(request, mapping, bus_slot(device, pool.begin()), current_cpu())) {
    state_->account(request.slots);
    return *bounce;
  }
  if (!state_->growth) return fail(ENOMEM, "the bounce buffers are full");
  PhysAddr bounce = CW_TRY(state_->growth->take(device, request, mapping));
  state_->account(request.slots);
  return bounce;
}

Result<PhysAddr> Swiotlb::map(Device& device, PhysAddr orig, size_t size, uint64_t alloc_align_mask,
                              Direction direction, Attr* attrs) {
  require(direction);
  if (!state_->may_serve(device))
    return fail(EPERM, "the bounce buffers are encrypted differently than the device needs");
  uint64_t end;
  if (!checked_add(orig.value(), size, &end) || end > state_->memory().limit())
    return fail(EINVAL, "what is to be bounced is not memory");
  Result<PhysAddr> bounce = take(device, orig, size, alloc_align_mask);
  if (!bounce) {
    if (!has(*attrs, Attr::kNoWarn) && state_->full_warnings.allows()) {
      Stats now = stats();
      log::warn("dma", "{}: swiotlb buffer is full (sz: {} bytes), total {} (slots), used {} (slots): {}",
                device.name(), size, now.slots, now.used, bounce.error().message);
    }
    return bounce;
  }
  *attrs = cc_shared_ ? *attrs | Attr::kCcShared : without(*attrs, Attr::kCcShared);
  if (device.skip_sync()) device.set_skip_sync(false);
  CW_POINT("dma.swiotlb.before_copy_in");
  // Whatever the direction and kSkipCpuSync: what the device does not overwrite is copied back later, and must be what
  // was there and not what somebody else left in the slots.
  BouncePool* pool = state_->find(device, *bounce);
  BouncePool::Held held = pool->find(*bounce);
  pool->copy(held, pool->clip(held, *bounce, size), BouncePool::Copy::kToBounce);
  return bounce;
}

void Swiotlb::unmap(Device& device, PhysAddr bounce, size_t size, Direction direction, Attr attrs) {
  require(direction);
  BouncePool* pool = state_->find(device, bounce);
  BouncePool::Held held = pool != nullptr ? pool->find(bounce) : BouncePool::Held{};
  if (held.mapping == nullptr || held.data != bounce || held.mapping->orig == BounceMapping::kNoOriginal) {
    CW_WARN_ONCE("dma", "{}: unmapped bounce buffer {} was not mapped, or not from there on", device.name(), bounce);
    return;
  }
  if (held.mapping->min_align_mask != device.min_align_mask())
    CW_WARN_ONCE("dma", "{}: min_align_mask is {:#x}, want the {:#x} it was when {} was mapped", device.name(),
                 device.min_align_mask(), held.mapping->min_align_mask, bounce);
  if (device_writes(direction) && !has(attrs, Attr::kSkipCpuSync))
    copy(*pool, held, device, bounce, size, BouncePool::Copy::kToOriginal);
  CW_POINT("dma.swiotlb.before_release");
  const int64_t slots = held.mapping->slots;
  if (!pool->give(held)) return;
  state_->account(-slots);
  if (state_->growth && pool != state_->pool.get()) state_->growth->retire(*pool);
}

void Swiotlb::sync_for_cpu(Device& device, PhysAddr bounce, size_t size, Direction direction) {
  require(direction);
  if (!device_writes(direction)) return;
  BouncePool* pool = state_->find(device, bounce);
  BouncePool::Held held = pool != nullptr ? pool->find(bounce) : BouncePool::Held{};
  if (held.mapping != nullptr) copy(*pool, held, device, bounce, size, BouncePool::Copy::kToOriginal);
}

void Swiotlb::sync_for_device(Device& device, PhysAddr bounce, size_t size, Direction direction) {
  require(direction);
  if (!device_reads(direction)) return;
  BouncePool* pool = state_->find(device, bounce);
  BouncePool::Held held = pool != nullptr ? pool->find(bounce) : BouncePool::Held{};
  if (held.mapping != nullptr) copy(*pool, held, device, bounce, size, BouncePool::Copy::kToBounce);
}

bool Swiotlb::contains_dynamic(const Device& device, PhysAddr phys) const {
  return state_->growth->find(device, phys) != nullptr;
}

size_t Swiotlb::max_mapping_size(const Device& device) const {
  uint64_t lost = align_up(device.min_align_mask(), kSlotSize);
  return lost < kMaxBounce ? kMaxBounce - lost : 0;
}

Swiotlb::Stats Swiotlb::stats() const {
  Stats stats{.slots = state_->pool->slots(), .used = state_->pool->used(), .pools = 1, .base = first_};
  if (state_->growth) {
    Growth::Stats grown = state_->growth->stats();
    stats.slots += grown.slots;
    stats.used += grown.used;
    stats.pools += grown.pools;
    stats.transient_slots = grown.transient_slots;
  }
  stats.used_hiwater = static_cast<uint64_t>(state_->hiwater.load(std::memory_order_relaxed));
  return stats;
}

Status Swiotlb::reset_hiwater() {
  state_->hiwater.store(0, std::memory_order_relaxed);
  return {};
}

PhysAddr Swiotlb::default_base() {
  if (state_->growth) state_->growth->freeze();
  return first_;
}

void Swiotlb::settle() {
  if (state_->growth) state_->growth->settle();
}

std::vector<uint16_t> Swiotlb::free_runs() const {
  return state_->pool->free_runs();
}

}  // namespace causeway::dma
