// The four registers by which a unit sends an interrupt of its own: control, data, address, upper address.
//
//   event.raise();                     // sent, or pending while it is masked
//   event.write(offset, value);        // offset from the control register
#pragma once

#include <cstdint>

#include "hw/address_map.h"
#include "hw/vtd.h"
#include "machine/interrupt_sink.h"
#include "machine/register_page.h"

namespace causeway::machine::vtd {

class EventRegisters {
 public:
  EventRegisters(RegisterPage page, InterruptSink& interrupts) : page_(page), interrupts_(interrupts) { mirror(); }

  void raise() {
    if (hw::vtd::EventMask::get(control_) != 0) {
      control_ |= static_cast<uint32_t>(hw::vtd::EventPending::kMask);
      return mirror();
    }
    const uint64_t address = uint64_t{upper_} << 32 | address_;
    if (address >= hw::kMsiBase.value() && address - hw::kMsiBase.value() < hw::kMsiSize)
      interrupts_.raise(static_cast<uint8_t>(data_));
  }
  // Nothing that the event was for is left.
  void forget() {
    control_ &= ~static_cast<uint32_t>(hw::vtd::EventPending::kMask);
    mirror();
  }
  void write(uint32_t offset, uint32_t value) {
    switch (offset) {
      case 0: {
        const bool pending = hw::vtd::EventPending::get(control_) != 0;
        control_ = static_cast<uint32_t>(hw::vtd::EventMask::set(control_, hw::vtd::EventMask::get(value)));
        if (pending && hw::vtd::EventMask::get(control_) == 0) {
          forget();
          raise();
        }
        break;
      }
      case 4:
        data_ = value;
        break;
      case 8:
        address_ = value;
        break;
      default:
        upper_ = value;
        break;
    }
    mirror();
  }

 private:
  void mirror() {
    page_.set32(0, control_);
    page_.set32(4, data_);
    page_.set32(8, address_);
    page_.set32(12, upper_);
  }
  RegisterPage page_;
  InterruptSink& interrupts_;
  uint32_t control_ = static_cast<uint32_t>(hw::vtd::EventMask::kMask);
  uint32_t data_ = 0;
  uint32_t address_ = 0;
  uint32_t upper_ = 0;
};

}  // namespace causeway::machine::vtd
