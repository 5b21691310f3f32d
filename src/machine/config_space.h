// The first 512 bytes of a function's configuration space, extended capabilities included:
// values, and which bits of them software can write.
//
//   ConfigSpace config(bus.ecam(bdf));
//   config.set(pci::kBar0, 4, bar_base, ~(bar_size - 1));   // sizing by all ones follows from the mask
//   config.write(pci::kCommand, 2, value);
//
// The values live here; the ECAM page only mirrors them. Not thread-safe: the bus thread's.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace causeway::machine {

class ConfigSpace {
 public:
  static constexpr uint32_t kSize = 512;
  explicit ConfigSpace(std::byte* ecam_page);

  // Gives a register its power-on value and its writable bits. `width` 1, 2 or 4 bytes, aligned.
  void set(uint32_t offset, uint32_t width, uint32_t value, uint32_t writable = 0);
  // A write by software: changes writable bits alone; beyond kSize it changes nothing.
  void write(uint32_t offset, uint32_t width, uint32_t value);
  // Zero beyond kSize, as an extended space without capabilities.
  uint32_t read(uint32_t offset, uint32_t width) const;

 private:
  void mirror(uint32_t offset);
  std::byte* ecam_page_;
  std::array<uint8_t, kSize> value_{};
  std::array<uint8_t, kSize> writable_{};
};

}  // namespace causeway::machine
