// PCI configuration space as far as the machine's devices have it: a type 0 header and an MSI
// capability. Source: PCI Local Bus Specification 3.0, sections 6.1 (header), 6.2 (registers), 6.8 (MSI).
#pragma once

#include <cstdint>

#include "base/bits.h"
#include "base/types.h"

namespace causeway::hw::pci {

// Offsets of the type 0 header.
inline constexpr uint16_t kVendorId = 0x00;       // u16; 0xffff: no function here
inline constexpr uint16_t kDeviceId = 0x02;       // u16
inline constexpr uint16_t kCommand = 0x04;        // u16
inline constexpr uint16_t kStatus = 0x06;         // u16
inline constexpr uint16_t kClassRevision = 0x08;  // u32: class code << 8 | revision
inline constexpr uint16_t kHeaderType = 0x0e;     // u8
inline constexpr uint16_t kBar0 = 0x10;           // six u32; BAR0 here is 64 bit and uses two
inline constexpr uint16_t kCapabilities = 0x34;   // u8
inline constexpr uint16_t kNoVendor = 0xffff;

// Command register.
using CommandMemory = Field<1, 1>;
using CommandBusMaster = Field<2, 2>;  // 0: the device may not start a DMA; those in flight have ended
// Status register.
using StatusCapabilities = Field<4, 4>;

// MSI capability (id 0x05), 64-bit address, no masking; offsets from its start.
inline constexpr uint8_t kMsiCapabilityId = 0x05;
inline constexpr uint16_t kMsiOffset = 0x50;   // where our devices have it
inline constexpr uint16_t kMsiControl = 0x02;  // u16
inline constexpr uint16_t kMsiAddressLow = 0x04;
inline constexpr uint16_t kMsiAddressHigh = 0x08;
inline constexpr uint16_t kMsiData = 0x0c;  // u16: the vector, 0..255
using MsiEnable = Field<0, 0>;              // of kMsiControl
using MsiVector = Field<7, 0>;              // of kMsiData

// ECAM: where a function's 4 KiB of configuration space lie (PCI Express Base 3.0, section 7.2.2).
constexpr uint64_t ecam_offset(Bdf bdf) {
  return uint64_t{bdf.bus()} << 20 | uint64_t{bdf.device()} << 15 | uint64_t{bdf.function()} << 12;
}
inline constexpr unsigned kDevicesPerBus = 32;
inline constexpr unsigned kFunctionsPerDevice = 8;

}  // namespace causeway::hw::pci
