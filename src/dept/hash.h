// Mixing of words into one, for tables and for names that are the same in every run.
//
//   uint64_t key = mix(mix(kSeed, module), offset);
#pragma once

#include <bit>
#include <cstdint>
#include <string_view>

namespace causeway::dept {

inline constexpr uint64_t kSeed = 0x9e3779b97f4a7c15;

// Never 0, so that a table may use 0 for an empty place.
constexpr uint64_t mix(uint64_t a, uint64_t b) {
  // Both are turned, so that the bit that makes the factor odd is not lost: neighbouring lines are two places.
  const auto product = static_cast<unsigned __int128>(a ^ 0x2545f4914f6cdd1d) * ((b ^ kSeed) | 1);
  uint64_t value = static_cast<uint64_t>(product) ^ static_cast<uint64_t>(product >> 64) ^ std::rotl(b, 63) ^ std::rotl(a, 7);
  value ^= value >> 32;
  value *= 0xd6e8feb86659fd93;
  value ^= value >> 29;
  return value == 0 ? 1 : value;
}

constexpr uint64_t hash_of(std::string_view text) {
  uint64_t value = mix(kSeed, text.size());
  for (const char c : text) value = (value ^ static_cast<unsigned char>(c)) * 0x100000001b3;
  return mix(value, kSeed);
}

}  // namespace causeway::dept
