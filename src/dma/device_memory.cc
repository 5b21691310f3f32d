#include "dma/device_memory.h"

#include <cstring>

#include "base/log.h"
#include "base/point.h"
#include "dma/state.h"

namespace causeway::dma {

bool DeviceMemories::has(const Device& device) const {
  if (device.traits().coherent_memory) return true;
  if (declared_.load(std::memory_order_acquire) == 0) return false;
  return memories_.with([&](const auto& memories) { return memories.contains(device.name()); });
}

Result<Allocation> DeviceMemories::alloc(Dma::State& state, const Device& device, uint64_t size) {
  Allocation block{.size = size,
                   .requester = device.requester(),
                   .order = Order::covering(size),
                   .route = Route::kDeviceMemory};
  CW_TRY(memories_.with([&](auto& memories) -> Status {
    auto own = memories.find(device.name());
    if (own == memories.end()) {
      if (!device.traits().coherent_memory) return fail(ENOMEM, "the device's memory was taken away");
      auto made = CW_TRY(
          PagePool::create(state.allocator, state.config.device_memory_size, device.coherent_phys_limit()));
      own = memories.emplace(device.name(), Memory{std::move(made), std::nullopt}).first;
    }
    PagePool& pool = *own->second.pool;
    if (block.order.pages() > pool.range().pages()) return fail(ENOMEM, "larger than the device's memory");
    block.phys = CW_TRY(pool.alloc_region(block.order));
    if (own->second.device_base) {
      block.handle = *own->second.device_base + (block.phys - pool.range().begin.address());
      return {};
    }
    if (auto handle = device.coherent_handle(block.phys, pages_for(size) << kPageShift)) {
      block.handle = *handle;
      return {};
    }
    pool.free(block.phys, block.order.pages());
    return fail(ENOMEM, "the device cannot reach its memory");
  }));
  block.cpu = state.linear(block.phys);
  std::memset(block.cpu, 0, pages_for(size) << kPageShift);
  return block;
}

void DeviceMemories::free(const Allocation& block) {
  memories_.with([&](auto& memories) {
    for (auto& [name, memory] : memories)
      if (memory.pool->free(block.phys, block.order.pages())) return;
  });
}

Status DeviceMemories::declare(const Device& device, PfnRange frames, DmaAddr device_base) {
  CW_FAIL_POINT("dma.device_memory.declare");
  return memories_.with([&](auto& memories) -> Status {
    if (device.traits().coherent_memory || memories.contains(device.name()))
      return fail(EBUSY, "the device has memory of its own already");
    memories.emplace(device.name(), Memory{PagePool::adopt(frames), device_base});
    declared_.fetch_add(1, std::memory_order_release);
    return {};
  });
}

Status DeviceMemories::release(const Device& device) {
  return memories_.with([&](auto& memories) -> Status {
    auto own = memories.find(device.name());
    if (own == memories.end() || !own->second.device_base) return fail(EINVAL, "the device has no declared memory");
    PagePool& pool = *own->second.pool;
    if (pool.free_pages() != pool.range().pages()) return fail(EBUSY, "the device's memory is in use");
    memories.erase(own);
    declared_.fetch_sub(1, std::memory_order_release);
    return {};
  });
}

Status declare_coherent_memory(Device& device, PhysAddr phys, DmaAddr device_base, uint64_t size) {
  Dma::State& state = device.dma().state();
  uint64_t last;
  if (size < kPageSize) return fail(EINVAL, "device memory of less than a page");
  if (!phys.is_aligned(kPageSize) || !device_base.is_aligned(kPageSize) || !is_aligned(size, kPageSize))
    return fail(EINVAL, "device memory is not whole pages");
  if (!checked_add(phys.value(), size - 1, &last) || Pfn::containing(PhysAddr(last)).value() >= state.map().end_pfn() ||
      !checked_add(device_base.value(), size - 1, &last))
    return fail(EINVAL, "device memory wraps or lies outside the memory map");
  const PfnRange frames{Pfn::containing(phys), Pfn::containing(phys) + (size >> kPageShift)};
  for (Pfn pfn = frames.begin; pfn < frames.end; ++pfn) {
    mm::FrameState frame = state.allocator.state(pfn);
    if (frame != mm::FrameState::kReserved && frame != mm::FrameState::kAllocated)
      return fail(EINVAL, "device memory is neither reserved nor allocated");
  }
  if (last > device.coherent_limit())
    log::warn("dma", "{}: its memory ends at {:#x}, beyond its coherent mask {:#x}", device.name(), last,
              device.coherent_limit());
  return state.device_memories.declare(device, frames, device_base);
}

Status release_coherent_memory(Device& device) {
  return device.dma().state().device_memories.release(device);
}

}  // namespace causeway::dma
