// Lets one thread pass in and out of a section, and others wait until it is outside.
//
//   gate.enter();                    // the DMA thread
//   if (allowed.load()) copy();      // seq_cst
//   gate.leave();
//
//   allowed.store(false);            // seq_cst; another thread
//   gate.drain();                    // now no copy runs, and every later pass sees `false`
//
// One thread at a time passes a gate; any number may drain. It never blocks the passing thread, so a
// busy device cannot starve who waits for it. Passes are short, so the wait is by polling.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <thread>

#include "hw/futex.h"

namespace causeway::machine {

class Gate {
 public:
  void enter() { passes_.fetch_add(1, std::memory_order_seq_cst); }
  void leave() { passes_.fetch_add(1, std::memory_order_release); }

  // Returns when the pass under way at the time of the call, if any, has ended.
  void drain() const {
    uint64_t seen = passes_.load(std::memory_order_seq_cst);
    if (seen % 2 == 0) return;
    for (int turn = 0; passes_.load(std::memory_order_acquire) == seen; ++turn) {
      if (turn < 200) {
        hw::cpu_relax();
      } else {
        std::this_thread::sleep_for(std::chrono::microseconds(10));
      }
    }
  }

 private:
  std::atomic<uint64_t> passes_{0};  // odd: inside
};

class Pass {
 public:
  explicit Pass(Gate& gate) : gate_(gate) { gate_.enter(); }
  ~Pass() { gate_.leave(); }
  Pass(const Pass&) = delete;
  Pass& operator=(const Pass&) = delete;

 private:
  Gate& gate_;
};

}  // namespace causeway::machine
