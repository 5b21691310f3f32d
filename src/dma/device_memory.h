// Memory of one device, from which its coherent allocations come and from nowhere else: an allocation that does not fit
// fails, whatever else is free (dma_declare_coherent_memory).
//
//   CW_TRY(declare_coherent_memory(device, reserved_base, DmaAddr{0x1000}, MiB(1)));
//   Coherent ring = CW_TRY(alloc_coherent(device, KiB(20), kGfpKernel));   // 8 pages of it
//   CW_TRY(release_coherent_memory(device));
//
// A device with DeviceTraits::coherent_memory has such memory without declaring it: made when it is first
// needed. Allocations are naturally aligned regions of 2^get_order(size) pages. They need no mapping, so they may be freed with
// interrupts disabled; dma-debug does not see them; they cannot be preserved. Thread-safe.
#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "base/result.h"
#include "base/types.h"
#include "dma/allocations.h"
#include "dma/device.h"
#include "dma/dma.h"
#include "dma/pool.h"
#include "sync/guarded.h"

namespace causeway::dma {

// [phys, phys + size), which the device sees at `device_base`. The frames are reserved, or the caller's. EINVAL: size 0 or
// less than a page, not page-aligned, not memory that can be mapped; EBUSY: the device has memory of its own already; ENOMEM.
// A coherent mask that does not reach the end is only warned of, as in the kernel.
Status declare_coherent_memory(Device& device, PhysAddr phys, DmaAddr device_base, uint64_t size);
// EINVAL: it has none that was declared; EBUSY: something is allocated there.
Status release_coherent_memory(Device& device);

// The memories of all devices of one kernel. Private to the room.
class DeviceMemories {
 public:
  bool has(const Device& device) const;
  Result<Allocation> alloc(Dma::State& state, const Device& device, uint64_t size);
  void free(const Allocation& block);

  Status declare(const Device& device, PfnRange frames, DmaAddr device_base);
  Status release(const Device& device);

 private:
  struct Memory {
    std::unique_ptr<PagePool> pool;
    std::optional<DmaAddr> device_base;  // of declared memory
  };
  // By the device's name.
  sync::Guarded<std::map<std::string, Memory>> memories_{sync::LockName{"dma.device_memory"}};
  std::atomic<uint64_t> declared_{0};
};

}  // namespace causeway::dma
