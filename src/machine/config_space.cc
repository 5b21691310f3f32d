#include "machine/config_space.h"

#include <atomic>
#include <cstring>

#include "base/types.h"

namespace causeway::machine {

ConfigSpace::ConfigSpace(std::byte* ecam_page) : ecam_page_(ecam_page) {
  std::memset(ecam_page_, 0, kPageSize);
}

void ConfigSpace::set(uint32_t offset, uint32_t width, uint32_t value, uint32_t writable) {
  for (uint32_t i = 0; i < width; ++i) {
    value_[offset + i] = static_cast<uint8_t>(value >> (8 * i));
    writable_[offset + i] = static_cast<uint8_t>(writable >> (8 * i));
  }
  mirror(offset);
}

void ConfigSpace::write(uint32_t offset, uint32_t width, uint32_t value) {
  if (offset + width > kSize) return;
  for (uint32_t i = 0; i < width; ++i) {
    uint8_t mask = writable_[offset + i];
    auto byte = static_cast<uint8_t>(value >> (8 * i));
    value_[offset + i] = static_cast<uint8_t>((value_[offset + i] & ~mask) | (byte & mask));
  }
  mirror(offset);
}

uint32_t ConfigSpace::read(uint32_t offset, uint32_t width) const {
  if (offset + width > kSize) return 0;
  uint32_t value = 0;
  for (uint32_t i = 0; i < width; ++i) value |= uint32_t{value_[offset + i]} << (8 * i);
  return value;
}

void ConfigSpace::mirror(uint32_t offset) {
  offset &= ~3u;
  auto* word = reinterpret_cast<uint32_t*>(ecam_page_ + offset);
  std::atomic_ref<uint32_t>(*word).store(read(offset, 4), std::memory_order_release);
}

}  // namespace causeway::machine
