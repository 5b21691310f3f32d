// A device as the DMA subsystem sees it: how wide its addresses are, where its bus puts RAM, and
// which of the platform's peculiarities (incoherent caches, memory encryption, restricted pools) it meets.
//
//   dma::Device device(dma, "0000:00:01.0");
//   CW_TRY(device.set_mask_and_coherent(dma::bit_mask(40)));
#pragma once

#include <atomic>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/types.h"

namespace causeway::dma {

class Dma;
class IommuDma;
class Swiotlb;

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
  bool iommu = false;              // mapped by operations this subsystem does not have; attach_iommu() is another thing
  bool untrusted = false;          // pci_dev->untrusted: nothing else may share a page with what it can reach
  bool prefer_32bit_iova = true;   // a PCI device: addresses below 4 GiB first
  bool coherent_memory = false;    // has a per-device coherent pool
  bool can_remap = true;           // CONFIG_DMA_DIRECT_REMAP: incoherent memory is remapped uncached
  bool can_set_uncached = false;   // CONFIG_ARCH_HAS_DMA_SET_UNCACHED
};

// struct device_dma_parameters: what the device can take in one segment. 0: the default.
struct DmaParameters {
  uint32_t max_segment_size = 0;       // bytes; default 64 KiB
  uint32_t min_align_mask = 0;         // low bits of an address that a bounce must keep; default none
  uint64_t segment_boundary_mask = 0;  // no segment crosses a multiple of it plus 1; default all ones
};

// Where the device sits, for peer to peer (pci_p2pdma).
struct PciPath {
  uint32_t upstream_bridge = 0;      // devices below the same one can reach each other through it; 0: none
  bool acs_redirect = false;         // ... unless access control sends them up
  bool host_bridge_allowed = false;  // its host bridge forwards peer-to-peer
};

// A bool that other threads may read.
class SharedFlag {
 public:
  SharedFlag(bool value = false) : value_(value) {}
  SharedFlag(const SharedFlag& other) : value_(other.get()) {}
  SharedFlag& operator=(const SharedFlag& other) { return set(other.get()), *this; }
  bool get() const { return value_.load(std::memory_order_relaxed); }
  void set(bool value) { value_.store(value, std::memory_order_relaxed); }
  bool exchange(bool value) { return value_.exchange(value, std::memory_order_relaxed); }

 private:
  std::atomic<bool> value_;
};

class Device {
 public:
  Device(Dma& dma, std::string name, DeviceTraits traits = {});

  // Errors: EIO, a mask that cannot reach enough of RAM (dma_supported).
  Status set_mask(uint64_t mask);
  Status set_coherent_mask(uint64_t mask);
  // The streaming mask's result; the coherent one's is ignored, as in the kernel.
  Status set_mask_and_coherent(uint64_t mask);
  void set_bus_limit(uint64_t highest_address);  // 0: none
  // EINVAL: there are some already; one that is empty or wraps.
  Status set_bus_windows(std::vector<BusWindow> windows);

  // A device that cannot DMA at all (dma_mask NULL): every map warns and fails, set_mask() is EIO.
  void remove_mask() { has_mask_ = false; }
  bool has_mask() const { return has_mask_; }

  void set_parameters(const DmaParameters& parameters) { parameters_ = parameters; }
  uint32_t max_segment_size() const { return parameters_.max_segment_size != 0 ? parameters_.max_segment_size : 65536; }
  uint64_t segment_boundary_mask() const {
    return parameters_.segment_boundary_mask != 0 ? parameters_.segment_boundary_mask : ~uint64_t{0};
  }
  uint32_t min_align_mask() const { return parameters_.min_align_mask; }
  void set_pci_path(const PciPath& path) { pci_path_ = path; }
  const PciPath& pci_path() const { return pci_path_; }

  // The bounce buffers of this device (dev->dma_io_tlb_mem); null: none. The system's unless it has its own.
  Swiotlb* swiotlb() const { return swiotlb_; }
  void set_swiotlb(Swiotlb* pool);
  // The device's IOMMU mappings (dma_iommu); null: the direct path. Set by attach_iommu() (iommu/iommu_dma.h).
  IommuDma* iommu() const { return iommu_; }
  void set_iommu(IommuDma* iommu) { iommu_ = iommu; }
  // Addresses below 4 GiB are tried first, until there once was none left: then never again.
  bool tries_32bit_iova() const { return traits_.prefer_32bit_iova && !iova_low_full_.get(); }
  // True for the first one who says so.
  bool give_up_32bit_iova() { return !iova_low_full_.exchange(true); }
  // dma_skip_sync: no sync of this device does anything. Set by set_mask() for a coherent device, cleared by its
  // first bounce.
  bool skip_sync() const { return skip_sync_.get(); }
  void set_skip_sync(bool skip) { skip_sync_.set(skip); }
  // The direct path has bounced something of this device, ever: a bus address may be one of a bounce buffer.
  bool bounced() const { return bounced_.get(); }
  void set_bounced() { bounced_.set(true); }
  // On the direct path a bus address is the physical one and nothing is to be done but to look whether the device can reach
  // it: coherent, no bus windows, no memory encryption, nothing bounces by force.
  bool is_plain() const { return plain_; }

  uint64_t mask() const { return mask_; }
  uint64_t coherent_mask() const { return coherent_mask_; }
  uint64_t bus_limit() const { return bus_limit_; }
  const DeviceTraits& traits() const { return traits_; }
  const std::string& name() const { return name_; }
  Dma& dma() const { return *dma_; }

  // Through the bus windows; nullopt: no window there.
  std::optional<DmaAddr> to_dma(PhysAddr phys) const;
  std::optional<PhysAddr> to_phys(DmaAddr dma) const;
  // Of a range; nullopt also if it leaves its window. `size` may be 0.
  std::optional<DmaAddr> to_dma(PhysAddr phys, uint64_t size) const;
  std::span<const BusWindow> bus_windows() const { return windows_; }
  // The highest bus address the device may be given for a coherent allocation: mask and bus limit.
  uint64_t coherent_limit() const;
  // The same for streaming maps.
  uint64_t limit() const { return limit_; }
  // The highest physical address whose bus address does not exceed coherent_limit().
  PhysAddr coherent_phys_limit() const;
  // The bus address of [phys, phys + size), if all of it lies in one window and at or below
  // coherent_limit() (dma_coherent_ok).
  std::optional<DmaAddr> coherent_handle(PhysAddr phys, uint64_t size) const;
  // XXH64 of the name: how a preserved allocation remembers its device.
  uint64_t requester() const { return requester_; }

 private:
  Status check_mask(uint64_t mask) const;
  void recompute();
  Dma* dma_;
  std::string name_;
  DeviceTraits traits_;
  uint64_t mask_ = bit_mask(32);
  uint64_t coherent_mask_ = bit_mask(32);
  uint64_t bus_limit_ = 0;
  uint64_t requester_;
  std::vector<BusWindow> windows_;
  bool has_mask_ = true;
  SharedFlag skip_sync_;
  SharedFlag bounced_;
  SharedFlag iova_low_full_;
  bool plain_ = false;             // derived: recompute()
  uint64_t limit_ = bit_mask(32);  // derived
  DmaParameters parameters_;
  PciPath pci_path_;
  Swiotlb* swiotlb_ = nullptr;
  IommuDma* iommu_ = nullptr;
};

}  // namespace causeway::dma
