// A device behind an IOMMU, as the core and its drivers know it (struct device, dev_iommu).
//
//   Device& nic = *CW_TRY(core.probe_device({.bdf = Bdf(0, 1, 0), .name = "0000:00:01.0"}));
//   nic.group().default_domain();
//
// Made by Core::probe_device() and gone with Core::release_device(). A dma::Device is another view of the same hardware.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/types.h"
#include "iommu/domain.h"

namespace causeway::iommu {

class Group;
class Unit;

// What the bus says about it.
struct DeviceInfo {
  Bdf bdf;
  std::string name;
  uint16_t segment = 0;
  bool pci = true;
  bool real_dma_sub_device = false;  // its DMA carries another function's id (VMD)
  bool untrusted = false;            // outside the case: strict, never identity
  bool ats = false;                  // has a device-TLB
  unsigned ats_queue_depth = 0;
  bool page_requests = false;
  unsigned pasid_bits = 0;           // of its PASID capability; 0: none
  std::vector<Bdf> aliases;          // other requester ids its DMA may carry
  // Functions with the same number other than 0 cannot be told apart and share a group.
  uint32_t isolation = 0;
  // The bus's switches of the capabilities above; may be null.
  std::function<void(bool)> set_ats;
  std::function<void(bool)> set_pasid;
};

// What a driver keeps for each device (dev_iommu_priv).
class DeviceData {
 public:
  virtual ~DeviceData() = default;
};

class Device {
 public:
  Device(DeviceInfo info) : info_(std::move(info)) {}
  const DeviceInfo& info() const { return info_; }
  Bdf bdf() const { return info_.bdf; }
  const std::string& name() const { return info_.name; }

  Unit& unit() const { return *unit_; }
  Driver& driver() const;
  Group& group() const { return *group_; }
  unsigned max_pasids() const { return max_pasids_; }  // 0: none; set by the driver's probe_device()
  // Its default domain is attached by Group::attach_deferred(), which whoever maps something first calls.
  bool attach_deferred() const { return attach_deferred_.load(std::memory_order_acquire); }

  // For its driver.
  template <typename T>
  T* data() const { return static_cast<T*>(data_.get()); }
  void set_data(std::unique_ptr<DeviceData> data) { data_ = std::move(data); }
  void set_max_pasids(unsigned count) { max_pasids_ = count; }

 private:
  friend class Core;
  friend class Group;
  const DeviceInfo info_;
  Unit* unit_ = nullptr;
  Group* group_ = nullptr;
  bool needs_direct_ = false;  // has regions that must be mapped one to one, always: it cannot be blocked
  std::atomic<bool> attach_deferred_{false};
  unsigned max_pasids_ = 0;
  std::unique_ptr<DeviceData> data_;
};

}  // namespace causeway::iommu
