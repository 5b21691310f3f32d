// The pools of a dynamic swiotlb beyond its first: those a worker adds for everybody, and transient ones of a single
// buffer each. Private to the room.
//
//   Growth growth(state);
//   BouncePool* pool = growth.find(device, bounce);                      // lock-free
//   Result<PhysAddr> bounce = growth.take(device, request, mapping);     // a shared pool, or one of its own
//   growth.retire(*pool);                                                // after its buffer was given back
//
// A shared pool stays for ever. A transient pool's memory is freed by the worker, a grace period after retire(): until
// then somebody may still be walking over it.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "base/result.h"
#include "dma/device.h"
#include "dma/swiotlb/bounce_pool.h"
#include "dma/swiotlb/grace.h"
#include "sync/cond_var.h"
#include "sync/mutex.h"
#include "sync/thread.h"

namespace causeway::dma {

class Growth {
 public:
  // How pools are made; both may be called by several threads at once.
  struct Maker {
    std::function<Result<std::unique_ptr<BouncePool>>()> shared;
    std::function<Result<std::unique_ptr<BouncePool>>(const Device&, uint32_t slots, uint64_t alignment)> transient;
    std::function<void(const BouncePool&)> free_transient;
  };
  explicit Growth(Maker maker);
  ~Growth();  // pools go, their memory does not

  // The pool that `phys` lies in, if it serves `device`. What is found stays as long as the caller has a buffer in it.
  BouncePool* find(const Device& device, PhysAddr phys) const;
  // From a shared pool; else wakes the worker and makes a transient one. ENOMEM, EIO.
  Result<PhysAddr> take(const Device& device, const SlotRequest& request, const BounceMapping& mapping);
  // Takes the pool away if it is a transient one.
  void retire(const BouncePool& pool);

  void freeze();  // no more shared pools, once it has returned
  void settle();  // waits until the worker has nothing to do

  struct Stats {
    uint64_t slots = 0, used = 0, pools = 0, transient_slots = 0;
  };
  Stats stats() const;

 private:
  struct Node;
  void serve(const sync::StopToken& stop);
  void add_shared();

  const Maker maker_;
  std::atomic<Node*> shared_{nullptr};     // newest first; never shrinks
  std::atomic<Node*> transient_{nullptr};  // changed with mutex_ held
  std::atomic<uint64_t> transient_slots_{0};
  Grace grace_;

  mutable sync::Mutex mutex_{"dma.swiotlb.growth"};
  sync::CondVar work_{"dma.swiotlb.work"};
  sync::CondVar idle_{"dma.swiotlb.idle"};
  bool grow_ CW_GUARDED_BY(mutex_) = false;
  bool frozen_ CW_GUARDED_BY(mutex_) = false;
  bool busy_ CW_GUARDED_BY(mutex_) = false;
  std::vector<std::unique_ptr<Node>> retired_ CW_GUARDED_BY(mutex_);
  sync::Thread worker_;
};

// The number, in slots, of a pool's beginning on the device's bus: what its segment boundary is about.
uint64_t bus_slot(const Device& device, PhysAddr begin);
// The processor this thread runs on, or ran on a moment ago.
unsigned current_cpu();

}  // namespace causeway::dma
