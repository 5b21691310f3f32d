// Limits what a broken or hostile party can write into the log: the first few, then ever fewer.
//
//   if (complaints.next()) log::warn("machine", "request ring: width {}, want 1, 2, 4 or 8", width);
#pragma once

#include <atomic>
#include <bit>
#include <cstdint>

namespace causeway::machine {

class Complaints {
 public:
  // True for the first eight and then for every power of two.
  bool next() {
    uint64_t count = count_.fetch_add(1, std::memory_order_relaxed) + 1;
    return count <= 8 || std::has_single_bit(count);
  }
  uint64_t count() const { return count_.load(std::memory_order_relaxed); }

 private:
  std::atomic<uint64_t> count_{0};
};

}  // namespace causeway::machine
