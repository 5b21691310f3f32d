// The DMA remapping table (ACPI DMAR) that firmware leaves for the kernel: which remapping units there are, where their
// registers lie and which devices are behind each. Source: Intel VT-d specification 4.1, section 8.
//
//   DmarHeader, then structures, each with its own length:
//     kHardwareUnit      DmarUnit, then DmarScope for each device (none with kIncludeAll)
//     kReservedMemory    DmarReservedMemory, then DmarScope: mapped one to one before the devices are translated
//
// It lies in the bus memfd at kFirmwareTable (bus.h), one page; a machine without units has none: signature 0.
#pragma once

#include <cstddef>
#include <cstdint>

namespace causeway::hw {

struct [[gnu::packed]] DmarHeader {
  char signature[4];  // "DMAR"
  uint32_t length;    // of the whole table
  uint8_t revision;   // 1
  uint8_t checksum;   // all bytes sum up to 0
  char oem_id[6];
  char oem_table_id[8];
  uint32_t oem_revision;
  char creator_id[4];
  uint32_t creator_revision;
  uint8_t host_address_width;  // bits, minus 1
  uint8_t flags;
  uint8_t reserved[10];
};
static_assert(sizeof(DmarHeader) == 48);

enum class DmarType : uint16_t { kHardwareUnit = 0, kReservedMemory = 1 };
struct [[gnu::packed]] DmarStructure {
  DmarType type;
  uint16_t length;
};
inline constexpr uint8_t kIncludeAll = 1;  // every device of the segment that no other unit has
struct [[gnu::packed]] DmarUnit {
  DmarStructure header;
  uint8_t flags;
  uint8_t size;
  uint16_t segment;
  uint64_t register_base;
};
static_assert(sizeof(DmarUnit) == 16);
struct [[gnu::packed]] DmarReservedMemory {
  DmarStructure header;
  uint16_t reserved;
  uint16_t segment;
  uint64_t base;
  uint64_t limit;  // inclusive
};
static_assert(sizeof(DmarReservedMemory) == 24);
struct [[gnu::packed]] DmarScope {
  uint8_t type;    // 1: an endpoint
  uint8_t length;  // 8
  uint8_t flags;
  uint8_t reserved;
  uint8_t enumeration_id;
  uint8_t bus;
  uint8_t device;
  uint8_t function;
};
static_assert(sizeof(DmarScope) == 8);
inline constexpr uint8_t kScopeEndpoint = 1;

}  // namespace causeway::hw
