// Register access over the bus memfd (hw/bus.h).
//
//   MmioWindow regs = mmio.window(bar_base, bar_size);
//   regs.write32(kTail, tail);               // posted: returns at once
//   uint32_t head = regs.read32(kHead);      // plain load, after our earlier writes have been applied
//   uint32_t cause = regs.read32_with_effect(kIntCause);  // asks the device: a round trip
//
// Thread-safe. A machine that is gone (its control socket is closed, or it makes no progress for five
// seconds) makes reads return all ones, as on PCI, and writes vanish; that is logged once.
#pragma once

#include <cstdint>
#include <memory>

#include "base/types.h"

namespace causeway::platform {

class Mmio;

// A range of physical MMIO addresses. Offsets in bytes, naturally aligned.
class MmioWindow {
 public:
  MmioWindow() = default;
  void write8(uint32_t offset, uint8_t value) { write(offset, value, 1); }
  void write16(uint32_t offset, uint16_t value) { write(offset, value, 2); }
  void write32(uint32_t offset, uint32_t value) { write(offset, value, 4); }
  void write64(uint32_t offset, uint64_t value) { write(offset, value, 8); }
  uint16_t read16(uint32_t offset) const { return static_cast<uint16_t>(read(offset, 2)); }
  uint32_t read32(uint32_t offset) const { return static_cast<uint32_t>(read(offset, 4)); }
  uint64_t read64(uint32_t offset) const { return read(offset, 8); }
  uint32_t read32_with_effect(uint32_t offset) const;
  // The plain load alone, without waiting for our own posted writes: for polling an index that only
  // the device writes. Acquire ordering.
  uint32_t peek32(uint32_t offset) const;
  uint64_t size() const { return size_; }

 private:
  friend class Mmio;
  MmioWindow(Mmio* mmio, PhysAddr base, uint64_t size) : mmio_(mmio), base_(base), size_(size) {}
  void write(uint32_t offset, uint64_t value, uint32_t width);
  uint64_t read(uint32_t offset, uint32_t width) const;
  Mmio* mmio_ = nullptr;
  PhysAddr base_;
  uint64_t size_ = 0;
};

class Mmio {
 public:
  // `bus`: the mapped bus memfd. `control`: a socket whose end tells that the machine is gone; -1: none.
  explicit Mmio(std::byte* bus, int control = -1);
  ~Mmio();
  // Inside ECAM, the BAR window or the IOMMU window.
  MmioWindow window(PhysAddr base, uint64_t size);

  void write(PhysAddr address, uint64_t value, uint32_t width);
  uint64_t read(PhysAddr address, uint32_t width);              // no side effects; all ones outside
  uint64_t read_with_effect(PhysAddr address, uint32_t width);  // through the ring
  uint32_t peek32(PhysAddr address) const;
  void flush();  // returns when every posted write of this kernel has been applied, or the machine is gone
  bool machine_is_gone() const;  // as far as is known

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace causeway::platform
