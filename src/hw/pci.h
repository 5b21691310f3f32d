// PCI configuration space as far as the machine's devices have it: a type 0 header, an MSI capability and,
// where a device has several queues, an MSI-X capability. Source: PCI Local Bus Specification 3.0,
// sections 6.1 (header), 6.2 (registers), 6.7 (capabilities), 6.8 (MSI and MSI-X).
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

// Every capability starts with its id and the offset of the next one (0: the last).
inline constexpr uint16_t kCapabilityNext = 0x01;

// MSI-X capability (id 0x11); offsets from its start. Its table and pending bits lie in BAR 0.
inline constexpr uint8_t kMsixCapabilityId = 0x11;
inline constexpr uint16_t kMsixOffset = 0x70;       // where our devices have it
inline constexpr uint16_t kMsixControl = 0x02;      // u16
inline constexpr uint16_t kMsixTableOffset = 0x04;  // u32
inline constexpr uint16_t kMsixPbaOffset = 0x08;    // u32
using MsixTableSize = Field<10, 0>;                 // of kMsixControl: entries minus 1, read-only
using MsixFunctionMask = Field<14, 14>;
using MsixEnable = Field<15, 15>;
using MsixBir = Field<2, 0>;     // of the two offsets: which BAR, 0
using MsixInBar = Field<31, 3>;  // the offset without its low three bits
// An entry of the table. While it is masked, or the function is, an interrupt sets its pending bit instead,
// and is sent when the mask goes away.
inline constexpr uint32_t kMsixEntrySize = 16;
inline constexpr uint32_t kMsixEntryAddressLow = 0x00;
inline constexpr uint32_t kMsixEntryAddressHigh = 0x04;
inline constexpr uint32_t kMsixEntryData = 0x08;     // MsiVector
inline constexpr uint32_t kMsixEntryControl = 0x0c;  // MsixEntryMask, 1 at power-on
using MsixEntryMask = Field<0, 0>;

// Extended capabilities start at 0x100 and are 32 bits of id, version and next, then their own (PCI Express Base 3.0, 7.9.3;
// ATS 1.1; PASID ECN). Offsets from a capability's start.
inline constexpr uint16_t kExtendedCapabilities = 0x100;
using ExtendedId = Field<15, 0>;
using ExtendedVersion = Field<19, 16>;
using ExtendedNext = Field<31, 20>;  // 0: the last
inline constexpr uint16_t kAtsCapabilityId = 0x0f;
inline constexpr uint16_t kAtsOffset = 0x100;       // where our devices have it
inline constexpr uint16_t kAtsCapability = 0x04;    // u16
inline constexpr uint16_t kAtsControl = 0x06;       // u16
using AtsQueueDepth = Field<4, 0>;                  // of kAtsCapability; 0: 32
using AtsEnable = Field<15, 15>;                    // of kAtsControl
inline constexpr uint16_t kPasidCapabilityId = 0x1b;
inline constexpr uint16_t kPasidOffset = 0x110;     // where our devices have it
inline constexpr uint16_t kPasidCapability = 0x04;  // u16
inline constexpr uint16_t kPasidControl = 0x06;     // u16
using PasidMaxWidth = Field<12, 8>;                 // of kPasidCapability
using PasidEnable = Field<0, 0>;                    // of kPasidControl

// ECAM: where a function's 4 KiB of configuration space lie (PCI Express Base 3.0, section 7.2.2).
constexpr uint64_t ecam_offset(Bdf bdf) {
  return uint64_t{bdf.bus()} << 20 | uint64_t{bdf.device()} << 15 | uint64_t{bdf.function()} << 12;
}
inline constexpr unsigned kDevicesPerBus = 32;
inline constexpr unsigned kFunctionsPerDevice = 8;

}  // namespace causeway::hw::pci
