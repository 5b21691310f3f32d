#include "iommu/delayed_work.h"

#include <utility>

namespace causeway::iommu {

using sync::Deadline;
using sync::MutexLock;

DelayedWork::DelayedWork(const char* name, std::chrono::nanoseconds delay, std::function<void()> function)
    : name_(name), delay_(delay), function_(std::move(function)) {}

void DelayedWork::stop() {
  sync::Thread thread;
  {
    MutexLock lock(mutex_);
    stop_ = true;
    thread = std::move(thread_);
  }
  changed_.notify_all();
  thread.join();
}

void DelayedWork::wake() {
  {
    MutexLock lock(mutex_);
    if (!stop_ && !thread_.joinable()) thread_ = sync::Thread(name_, [this] { run(); });
  }
  changed_.notify_one();
}

void DelayedWork::run() {
  MutexLock lock(mutex_);
  for (;;) {
    while (!stop_ && !armed_.load(std::memory_order_acquire)) changed_.wait(mutex_);
    Deadline due = Deadline::after(delay_);
    while (!stop_ && changed_.wait_until(mutex_, due)) {
    }
    if (stop_) return;
    // Cleared first: what comes from now on may be too late for this run.
    armed_.store(false, std::memory_order_seq_cst);
    lock.unlock();
    function_();
    lock.lock();
  }
}

}  // namespace causeway::iommu
