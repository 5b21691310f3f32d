// A function that runs once, some time after somebody asked for it (a timer, a delayed work). Private to the room.
//
//   DelayedWork flush("iommu.flush", std::chrono::milliseconds(10), [this] { flush_all(); });
//   flush.arm();     // in 10 ms; nothing if it is armed already
//
// arm() is one load while it is armed. The thread is made by the first arm(). A function that arms
// its own work runs again. The destructor waits for a run in progress; what is armed then does not run.
#pragma once

#include <atomic>
#include <chrono>
#include <functional>

#include "sync/cond_var.h"
#include "sync/mutex.h"
#include "sync/thread.h"

namespace causeway::iommu {

class DelayedWork {
 public:
  DelayedWork(const char* name, std::chrono::nanoseconds delay, std::function<void()> function);
  ~DelayedWork() { stop(); }
  // Waits for the function; it does not run again.
  void stop();
  void arm() {
    if (!armed_.load(std::memory_order_relaxed) && !armed_.exchange(true, std::memory_order_acq_rel)) wake();
  }

 private:
  void wake();
  void run();

  const char* const name_;
  const std::chrono::nanoseconds delay_;
  const std::function<void()> function_;
  std::atomic<bool> armed_{false};
  sync::Mutex mutex_{"iommu.delayed_work"};
  sync::CondVar changed_{"iommu.delayed_work"};
  bool stop_ CW_GUARDED_BY(mutex_) = false;
  sync::Thread thread_ CW_GUARDED_BY(mutex_);
};

}  // namespace causeway::iommu
