// PCI enumeration and configuration access (hw/pci.h, ECAM).
//
//   for (PciFunction& fn : pci.scan())
//     if (fn.vendor() == kVendor && fn.device() == kDevice) {
//       fn.set_bus_master(true);
//       MmioWindow regs = fn.bar0();
//     }
#pragma once

#include <vector>

#include "base/result.h"
#include "base/types.h"
#include "platform/mmio.h"

namespace causeway::platform {

class PciFunction {
 public:
  Bdf bdf() const { return bdf_; }
  uint16_t vendor() const;
  uint16_t device() const;
  uint32_t class_code() const;
  PhysAddr bar0_base() const;
  // Exact where the function did not decode memory yet when it was found, else an upper bound.
  uint64_t bar0_size() const;
  MmioWindow bar0() const;

  bool bus_master() const;
  // Off: returns when no DMA of this function is in flight any more.
  void set_bus_master(bool on);
  void enable_memory();
  // Directs the function's MSI to a vector of the kernel's choice. What the device signalled while MSI
  // was disabled is not repeated: look at its completions afterwards.
  void enable_msi(uint8_t vector);
  void disable_msi();
  // The same with MSI-X: entry `entry` of the function's table goes to `vector`. Needs memory decoding. The
  // first entry turns MSI-X on, and MSI off; an entry that another kernel left pointing elsewhere is taken
  // over in one write, so nothing is lost in between. Errors: ENODEV (no MSI-X), EINVAL (the table has no
  // such entry).
  Status enable_msix(unsigned entry, uint8_t vector);
  // A masked entry's interrupt is sent when it is enabled again. ENODEV, EINVAL.
  Status mask_msix(unsigned entry);
  void disable_msix();
  unsigned msix_entries() const;  // 0: no MSI-X

  // Address translation services: invalidations the device holds at once, 0: it has none of this. While they are on,
  // the device keeps translations of its own. ENODEV: no such capability.
  unsigned ats_queue_depth() const;
  bool ats_enabled() const;
  Status set_ats(bool on);
  // Bits of the PASIDs that the device can put on a request; 0: none. ENODEV: no such capability.
  unsigned pasid_bits() const;
  bool pasid_enabled() const;
  Status set_pasid(bool on);

 private:
  friend class PciBus;
  PciFunction(Mmio& mmio, Bdf bdf);
  MmioWindow config() const;
  // Offset of a capability; 0: it has none such.
  uint16_t find_capability(uint8_t id) const;
  // The same among the extended ones.
  uint16_t find_extended_capability(uint16_t id) const;
  // The words of an entry of the MSI-X table.
  Result<MmioWindow> msix_entry(unsigned entry) const;
  void set_command(uint64_t mask, uint64_t value);
  uint64_t size_bar0();
  Mmio* mmio_;
  Bdf bdf_;
  uint64_t bar0_size_ = 0;
};

class PciBus {
 public:
  explicit PciBus(Mmio& mmio) : mmio_(&mmio) {}
  // Every function that answers. One that decodes memory, because an earlier kernel set it up, is only read.
  std::vector<PciFunction> scan();
  // Takes the bus away from every function that has it and waits until their DMA has ended: what a
  // cold boot does before it hands out memory that a running device may still write to. Returns those
  // functions.
  std::vector<Bdf> quiesce_all();

 private:
  Mmio* mmio_;
};

}  // namespace causeway::platform
