// A device as the DMA subsystem sees it: how wide its addresses are, where its bus puts RAM, and
// which of the platform's peculiarities (incoherent caches, memory encryption, restricted pools) it meets.
//
//   dma::Device device(dma, "0000:00:01.0");
//   CW_TRY(device.set_mask_and_coherent(dma::bit_mask(40)));
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/types.h"

namespace causeway::dma {

class Dma;

// DMA_BIT_MASK(n), n in 1..64.
constexpr uint64_t bit_mask(unsigned bits) {
  return bits >= 64 ? ~uint64_t{0} : (uint64_t{1} << bits) - 1;
}

// One window of the bus onto system memory (dma_range_map).
struct BusWindow {
  PhysAddr cpu_start;
  DmaAddr dma_start;
  uint64_t size;  // bytes
};

// What a platform makes of this device. The defaults are a PCI device on x86.
struct DeviceTraits {
  bool coherent = true;            // dev_is_dma_coherent
  bool force_unencrypted = false;  // force_dma_unencrypted: a guest with encrypted memory
  bool restricted_pool = false;    // is_swiotlb_for_alloc: allocations come from a reserved pool
  bool iommu = false;              // dma_iommu: not the direct path
  bool coherent_memory = false;    // has a per-device coherent pool
  bool can_remap = true;           // CONFIG_DMA_DIRECT_REMAP: incoherent memory is remapped uncached
  bool can_set_uncached = false;   // CONFIG_ARCH_HAS_DMA_SET_UNCACHED
};

class Device {
 public:
  Device(Dma& dma, std::string name, DeviceTraits traits = {});

  // Errors: EIO, a mask that cannot reach enough of RAM (dma_supported).
  Status set_mask(uint64_t mask);
  Status set_coherent_mask(uint64_t mask);
  // The streaming mask's result; the coherent one's is ignored, as in the kernel.
  Status set_mask_and_coherent(uint64_t mask);
  void set_bus_limit(uint64_t highest_address) { bus_limit_ = highest_address; }  // 0: none
  // EINVAL: there are some already; one that is empty or wraps.
  Status set_bus_windows(std::vector<BusWindow> windows);

  uint64_t mask() const { return mask_; }
  uint64_t coherent_mask() const { return coherent_mask_; }
  uint64_t bus_limit() const { return bus_limit_; }
  const DeviceTraits& traits() const { return traits_; }
  const std::string& name() const { return name_; }
  Dma& dma() const { return *dma_; }

  // Through the bus windows; nullopt: no window there.
  std::optional<DmaAddr> to_dma(PhysAddr phys) const;
  std::optional<PhysAddr> to_phys(DmaAddr dma) const;
  // The highest bus address the device may be given for a coherent allocation: mask and bus limit.
  uint64_t coherent_limit() const;
  // The highest physical address whose bus address does not exceed coherent_limit().
  PhysAddr coherent_phys_limit() const;
  // The bus address of [phys, phys + size), if all of it lies in one window and at or below
  // coherent_limit() (dma_coherent_ok).
  std::optional<DmaAddr> coherent_handle(PhysAddr phys, uint64_t size) const;
  // XXH64 of the name: how a preserved allocation remembers its device.
  uint64_t requester() const { return requester_; }

 private:
  Status check_mask(uint64_t mask) const;
  Dma* dma_;
  std::string name_;
  DeviceTraits traits_;
  uint64_t mask_ = bit_mask(32);
  uint64_t coherent_mask_ = bit_mask(32);
  uint64_t bus_limit_ = 0;
  uint64_t requester_;
  std::vector<BusWindow> windows_;
};

}  // namespace causeway::dma
