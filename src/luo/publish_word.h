// One word of a structure that the next kernel may read at any instant.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace causeway::luo {

// `structure` is 8-byte aligned, and so is `offset`. What was written before is visible to whoever sees `value`.
inline void publish_word(void* structure, size_t offset, uint64_t value) {
  auto* word = reinterpret_cast<uint64_t*>(static_cast<std::byte*>(structure) + offset);
  std::atomic_ref(*word).store(value, std::memory_order_release);
}

}  // namespace causeway::luo
