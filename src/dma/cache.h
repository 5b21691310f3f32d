// The CPU caches as an incoherent device meets them: arch_sync_dma_for_device(), arch_sync_dma_for_cpu() and the
// barrier after a batch.
//
//   cache.for_device(phys, size, Direction::kToDevice);   // write back
//   cache.for_cpu(phys, size, Direction::kFromDevice);    // drop what became stale
//   cache.flush();                                        // wait until both have happened
//
// The processors Causeway runs on are coherent, so nothing has to be done; operations are counted, and a test may
// put a model of a cache that really holds lines behind them. Thread-safe.
#pragma once

#include <atomic>
#include <cstdint>

#include "base/types.h"
#include "dma/direction.h"

namespace causeway::dma {

class CacheModel {
 public:
  virtual ~CacheModel() = default;
  virtual void for_device(PhysAddr phys, uint64_t size, Direction direction) = 0;
  virtual void for_cpu(PhysAddr phys, uint64_t size, Direction direction) = 0;
};

class Cache {
 public:
  void for_device(PhysAddr phys, uint64_t size, Direction direction) {
    for_device_.fetch_add(1, std::memory_order_relaxed);
    if (CacheModel* model = model_.load(std::memory_order_acquire)) model->for_device(phys, size, direction);
  }
  void for_cpu(PhysAddr phys, uint64_t size, Direction direction) {
    for_cpu_.fetch_add(1, std::memory_order_relaxed);
    if (CacheModel* model = model_.load(std::memory_order_acquire)) model->for_cpu(phys, size, direction);
  }
  void flush() { flushes_.fetch_add(1, std::memory_order_relaxed); }

  // Not owned; null: none.
  void set_model(CacheModel* model) { model_.store(model, std::memory_order_release); }
  struct Counts {
    uint64_t for_device, for_cpu, flushes;
  };
  Counts counts() const {
    return {for_device_.load(std::memory_order_relaxed), for_cpu_.load(std::memory_order_relaxed),
            flushes_.load(std::memory_order_relaxed)};
  }

 private:
  std::atomic<uint64_t> for_device_{0}, for_cpu_{0}, flushes_{0};
  std::atomic<CacheModel*> model_{nullptr};
};

}  // namespace causeway::dma
