// Copying a structure out of, or into, memory that another party may be writing at the same time.
//
//   Request request = load_words(&ring->slot[i]);   // read once; checks then see one value
//
// Word by word and relaxed: what orders the copy is the index or checksum around it.
#pragma once

#include <atomic>
#include <cstdint>
#include <cstring>
#include <type_traits>

namespace causeway::hw {

template <typename T>
T load_words(const T* shared) {
  static_assert(std::is_trivially_copyable_v<T> && sizeof(T) % 8 == 0 && alignof(T) == 8);
  uint64_t words[sizeof(T) / 8];
  auto* from = reinterpret_cast<uint64_t*>(const_cast<T*>(shared));
  for (size_t i = 0; i < sizeof(T) / 8; ++i)
    words[i] = std::atomic_ref<uint64_t>(from[i]).load(std::memory_order_relaxed);
  T value;
  std::memcpy(&value, words, sizeof(T));
  return value;
}

template <typename T>
void store_words(T* shared, const T& value) {
  static_assert(std::is_trivially_copyable_v<T> && sizeof(T) % 8 == 0 && alignof(T) == 8);
  uint64_t words[sizeof(T) / 8];
  std::memcpy(words, &value, sizeof(T));
  auto* to = reinterpret_cast<uint64_t*>(shared);
  for (size_t i = 0; i < sizeof(T) / 8; ++i)
    std::atomic_ref<uint64_t>(to[i]).store(words[i], std::memory_order_relaxed);
}

}  // namespace causeway::hw
