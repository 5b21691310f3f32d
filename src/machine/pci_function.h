// One PCI function: configuration space with a type 0 header, one 64-bit BAR, MSI and, if it wants it, MSI-X,
// for a device model to derive from.
//
//   class DmaEngine : public PciFunction { void write_bar(...) override; ... };
//
// The BAR is assigned at power-on, as by firmware, and does not move. Software can size it: all ones
// written read back as the mask, until the next configuration write of any kind brings the address
// back. So a kernel that dies between the two leaves nothing that a later one could not mend. While
// the BAR shows a mask, or memory decoding is off, register accesses go nowhere.
#pragma once

#include <atomic>
#include <optional>
#include <string>

#include "base/types.h"
#include "machine/config_space.h"
#include "machine/interrupt_sink.h"
#include "machine/mmio_target.h"
#include "machine/msix_table.h"

namespace causeway::machine {

class PciFunction : public MmioTarget {
 public:
  // Where in BAR 0 the structures of MSI-X are; no entries: no such capability.
  struct Msix {
    unsigned entries = 0;
    uint32_t table = 0;
    uint32_t pending_bits = 0;
    std::byte* bar = nullptr;  // BAR 0 in the bus memory
  };
  struct Identity {
    uint16_t vendor;
    uint16_t device;
    uint32_t class_code;
    PhysAddr bar_base;
    uint64_t bar_size;            // power of two, >= one page
    bool multi_function = false;  // other functions share the device number
    Msix msix = {};
    bool ats = false;         // an ATS capability
    unsigned pasid_bits = 0;  // of a PASID capability; 0: none
  };
  PciFunction(Bdf bdf, const Identity& identity, std::byte* ecam_page, InterruptSink& interrupts);
  ~PciFunction() override = default;
  PciFunction(const PciFunction&) = delete;
  PciFunction& operator=(const PciFunction&) = delete;

  Bdf bdf() const { return bdf_; }
  PhysAddr bar_base() const { return bar_base_; }
  uint64_t bar_size() const { return bar_size_; }

  // Software's accesses, on the bus thread. Width 1, 2 or 4, aligned.
  void write_config(uint32_t offset, uint32_t width, uint32_t value);
  uint32_t read_config(uint32_t offset, uint32_t width) const { return config_.read(offset, width); }
  // The BAR is where it was assigned and memory decoding is on.
  bool decodes_memory() const override;
  // The bus thread's.
  bool bus_master() const;
  bool ats_enabled() const;

  PhysAddr mmio_base() const final { return bar_base_; }
  uint64_t mmio_size() const final { return bar_size_; }
  bool write_mmio(uint32_t offset, uint32_t width, uint64_t value, const char** why) final {
    return write_bar(offset, width, value, why);
  }
  uint64_t read_mmio(uint32_t offset, uint32_t width) final { return read_bar(offset, width); }

  // Software's register accesses, on the bus thread. Width 1, 2, 4 or 8, aligned, inside the BAR. False:
  // no such register, or a value it cannot take; `why` then says so for the log.
  virtual bool write_bar(uint32_t offset, uint32_t width, uint64_t value, const char** why) = 0;
  virtual uint64_t read_bar(uint32_t offset, uint32_t width) = 0;  // with its side effects

  virtual void start() = 0;
  virtual void stop() = 0;  // idempotent; no thread of the function runs afterwards
  virtual void append_status(std::string& text, const std::string& name) const = 0;

 protected:
  // The command register changed. Off: returns when no DMA is in flight and none will start.
  virtual void on_bus_master(bool on) = 0;
  // ATS was enabled or disabled.
  virtual void on_ats(bool) {}
  // The BAR has begun or ceased to be where it was assigned: for memory that others reach through it.
  virtual void on_decodes_memory(bool) {}
  // Any thread; nothing happens while MSI is disabled.
  void raise_msi();
  // The interrupt of an MSI-X entry; the one of MSI while MSI-X is disabled.
  void raise_interrupt(unsigned entry);
  // Software's write inside the MSI-X table; false as for write_bar().
  bool write_msix_table(uint32_t offset, uint32_t width, uint64_t value, const char** why);
  bool msix_enabled() const { return msix_ && msix_->enabled(); }

 private:
  void add_extended_capabilities(const Identity& identity);
  void update_msi();
  void update_msix();
  void settle_bar(uint32_t offset, uint32_t width);
  const Bdf bdf_;
  const PhysAddr bar_base_;
  const uint64_t bar_size_;
  ConfigSpace config_;
  InterruptSink& interrupts_;
  std::optional<MsixTable> msix_;
  const bool has_ats_;
  std::atomic<int> msi_vector_{-1};  // -1: disabled, or not directed at the interrupt window
};

}  // namespace causeway::machine
