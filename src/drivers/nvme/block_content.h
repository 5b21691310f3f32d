// What the workload's file contains: a function of a seed and the position, so that anybody can say what a block of it
// has to be.
//
//   std::vector<std::byte> image(file_bytes);
//   block_content(pass_seed(seed, pass), 0, image);              // the whole file
//   block_content(pass_seed(seed, pass), 7, buffer);             // from byte 7 * kContentBlock on
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>

namespace causeway::drivers::nvme {

inline constexpr uint64_t kContentBlock = 4096;  // bytes
inline constexpr uint64_t kGoldenRatio = 0x9e3779b97f4a7c15;

// The finaliser of splitmix64.
constexpr uint64_t mix(uint64_t z) {
  z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
  z = (z ^ z >> 27) * 0x94d049bb133111eb;
  return z ^ z >> 31;
}
constexpr uint64_t pass_seed(uint64_t seed, uint64_t pass) { return mix(seed + (pass + 1) * kGoldenRatio); }
// The 8 bytes at byte 8 * index of the file, in the machine's byte order.
constexpr uint64_t content_word(uint64_t seed, uint64_t index) { return mix(seed + (index + 1) * kGoldenRatio); }

// `out`: a multiple of 8 bytes, from the start of `block` on.
inline void block_content(uint64_t seed, uint64_t block, std::span<std::byte> out) {
  uint64_t index = block * (kContentBlock / 8);
  for (size_t at = 0; at + 8 <= out.size(); at += 8, ++index) {
    uint64_t word = content_word(seed, index);
    std::memcpy(out.data() + at, &word, sizeof word);
  }
}

// The offset of the first byte that is not what it has to be; nullopt: all is well.
inline std::optional<size_t> find_difference(uint64_t seed, uint64_t block, std::span<const std::byte> data) {
  uint64_t index = block * (kContentBlock / 8);
  for (size_t at = 0; at + 8 <= data.size(); at += 8, ++index) {
    uint64_t word;
    std::memcpy(&word, data.data() + at, sizeof word);
    if (word != content_word(seed, index)) return at;
  }
  return std::nullopt;
}

}  // namespace causeway::drivers::nvme
