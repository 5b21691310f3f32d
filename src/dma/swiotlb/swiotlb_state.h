// What a Swiotlb consists of, and where its memory comes from. Private to the room.
//
//   PhysAddr base = CW_TRY(state.alloc_memory(&slots));    // below the limit, halving `slots` until it fits
//   BouncePool* pool = state.find(device, phys);
#pragma once

#include <atomic>
#include <memory>

#include "base/clock.h"
#include "dma/swiotlb/bounce_pool.h"
#include "dma/swiotlb/growth.h"
#include "dma/swiotlb/swiotlb.h"

namespace causeway::dma {

// Lets ten messages of a kind through every five seconds.
class RateLimit {
 public:
  bool allows() {
    constexpr uint64_t kWindow = 5'000'000'000;
    uint64_t now = monotonic_ns();
    uint64_t begin = begin_.load(std::memory_order_relaxed);
    if ((begin == 0 || now - begin > kWindow) && begin_.compare_exchange_strong(begin, now, std::memory_order_relaxed))
      count_.store(0, std::memory_order_relaxed);
    return count_.fetch_add(1, std::memory_order_relaxed) < 10;
  }

 private:
  std::atomic<uint64_t> begin_{0};
  std::atomic<uint32_t> count_{0};
};

struct Swiotlb::State {
  State(mm::PageAllocator& allocator_, PageAttributes& attributes_, const Options& options_)
      : allocator(allocator_), attributes(attributes_), options(options_) {}

  const platform::DirectMap& memory() { return allocator.map().direct_map(); }

  // `slots` and `areas` as they should be; a pool of fewer where memory is short, down to 1 MiB. ENOMEM, EIO.
  Result<std::unique_ptr<BouncePool>> make_pool(uint32_t slots, uint32_t areas);
  // Pages of one buffer that `device` can reach, aligned. ENOMEM, EIO.
  Result<std::unique_ptr<BouncePool>> make_transient(const Device& device, uint32_t slots, uint64_t alignment);
  void free_transient(const BouncePool& pool);

  // Null: in no pool that serves `device`.
  BouncePool* find(const Device& device, PhysAddr phys) const {
    if (pool->contains(phys)) return pool.get();
    return growth ? growth->find(device, phys) : nullptr;
  }
  void account(int64_t slots);
  // A guest's devices use what is encrypted as they need it; a host that encrypts needs a decrypted pool for all.
  bool may_serve(const Device& device) const {
    return options.host_encrypted ? options.cc_shared : device.traits().force_unencrypted == options.cc_shared;
  }

  mm::PageAllocator& allocator;
  PageAttributes& attributes;
  const Options options;
  std::unique_ptr<BouncePool> pool;  // the first one; of no slots if there is no memory
  std::unique_ptr<Growth> growth;    // dynamic only

  std::atomic<int64_t> used{0};  // both with track_hiwater only
  std::atomic<int64_t> hiwater{0};
  RateLimit full_warnings;

 private:
  Result<PhysAddr> alloc_below(uint64_t bytes);
  Result<PhysAddr> share(PhysAddr base, uint64_t bytes);
};

}  // namespace causeway::dma
