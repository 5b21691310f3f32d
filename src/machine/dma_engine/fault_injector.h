// Faults on request: the nth transfer from now is damaged or refused. One for the whole machine.
//
//   injector.arm(hw::control::Fault::kRefuse, 3);
//   if (injector.refuse_this()) ...            // true for the third call, once
#pragma once

#include <atomic>
#include <cstdint>

#include "base/result.h"
#include "hw/control.h"

namespace causeway::machine {

class FaultInjector {
 public:
  // `nth` from 1; 0 disarms. EINVAL: no such fault.
  Status arm(hw::control::Fault fault, uint64_t nth) {
    switch (fault) {
      case hw::control::Fault::kCorruptByte:
        corrupt_in_.store(nth);
        return {};
      case hw::control::Fault::kRefuse:
        refuse_in_.store(nth);
        return {};
    }
    return fail(EINVAL, "no such fault can be injected");
  }
  bool corrupt_this() { return count_down(corrupt_in_); }
  bool refuse_this() { return count_down(refuse_in_); }

 private:
  static bool count_down(std::atomic<uint64_t>& left) {
    uint64_t now = left.load(std::memory_order_relaxed);
    while (now != 0) {
      if (left.compare_exchange_weak(now, now - 1, std::memory_order_relaxed)) return now == 1;
    }
    return false;
  }
  std::atomic<uint64_t> corrupt_in_{0};
  std::atomic<uint64_t> refuse_in_{0};
};

}  // namespace causeway::machine
