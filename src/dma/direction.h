// Which way data moves: enum dma_data_direction, with the kernel's values; and the one address that is none.
#pragma once

#include <cstdint>

#include "base/types.h"

namespace causeway::dma {

enum class Direction : uint8_t { kBidirectional = 0, kToDevice = 1, kFromDevice = 2, kNone = 3 };
const char* name_of(Direction direction);  // "DMA_TO_DEVICE"

constexpr bool is_valid(Direction direction) { return direction < Direction::kNone; }
// The device reads the memory; the device writes it.
constexpr bool device_reads(Direction direction) { return direction != Direction::kFromDevice; }
constexpr bool device_writes(Direction direction) { return direction != Direction::kToDevice; }

// DMA_MAPPING_ERROR: what a failed map returns.
inline constexpr DmaAddr kMappingError{~uint64_t{0}};

}  // namespace causeway::dma
