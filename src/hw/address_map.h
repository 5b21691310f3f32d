// The physical address space of the machine.
//
//   0                    +-----------------------------+
//                        | boot RAM, low part          |  half of boot RAM, at most 2 GiB
//   low_ram_end          +-----------------------------+
//                        | hole                        |
//   kEcamBase            +-----------------------------+  0xb000_0000: PCI configuration space, bus 0
//   kBarBase             +-----------------------------+  0xe000_0000: BAR window
//   kIommuBase           +-----------------------------+  0xfed9_0000: registers of IOMMUs
//   kMsiBase             +-----------------------------+  0xfee0_0000: a write here is an interrupt
//   kHighRamBase         +-----------------------------+  4 GiB
//                        | boot RAM, high part         |
//                        +-----------------------------+
//   kHotAddAlignment     | regions added at run time   |  each starts on a 2 MiB boundary
//
// Every number is in bytes. The split of boot RAM makes DMA masks, zones and bounce buffers real.
#pragma once

#include <algorithm>

#include "base/types.h"

namespace causeway::hw {

inline constexpr PhysAddr kEcamBase{0xb000'0000};
inline constexpr uint64_t kEcamSize = MiB(1);  // one bus: 32 devices x 8 functions x 4 KiB
inline constexpr PhysAddr kBarBase{0xe000'0000};
inline constexpr uint64_t kBarWindowSize = MiB(16);
inline constexpr PhysAddr kIommuBase{0xfed9'0000};
inline constexpr unsigned kMaxIommus = 8;
inline constexpr uint64_t kIommuWindowSize = kMaxIommus * kPageSize;  // a page of registers each
inline constexpr PhysAddr kMsiBase{0xfee0'0000};
inline constexpr uint64_t kMsiSize = MiB(1);
inline constexpr PhysAddr kHighRamBase{GiB(4)};

inline constexpr uint64_t kMaxLowRam = GiB(2);
inline constexpr uint64_t kRamGranularity = MiB(8);  // boot RAM is a multiple of it
// The largest folio of a file: its pages are as aligned in memory as they are in the file. No more than that, so
// that thousands of small files lie close together.
inline constexpr uint64_t kHotAddAlignment = MiB(2);

// Physical addresses have 46 bits (64 TiB), as on the processors this models.
inline constexpr unsigned kPhysAddrBits = 46;

// Bytes of boot RAM below 4 GiB; the rest starts at kHighRamBase.
constexpr uint64_t low_ram_size(uint64_t boot_ram) {
  return std::min(boot_ram / 2, kMaxLowRam);
}

}  // namespace causeway::hw
