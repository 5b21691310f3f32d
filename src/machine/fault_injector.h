// Faults on request: the nth transfer from now is damaged or refused. One for the whole machine.
//
//   injector.arm(hw::control::Fault::kRefuse, 3);
//   if (injector.refuse_this()) ...            // true for the third call, once
#pragma once

#include <array>
#include <atomic>
#include <cstdint>

#include "base/result.h"
#include "hw/control.h"

namespace causeway::machine {

class FaultInjector {
 public:
  // `nth` from 1; 0 disarms. EINVAL: no such fault.
  Status arm(hw::control::Fault fault, uint64_t nth) {
    auto index = static_cast<size_t>(fault);
    if (index == 0 || index >= left_.size()) return fail(EINVAL, "no such fault can be injected");
    left_[index].store(nth);
    return {};
  }
  bool corrupt_this() { return is_due(hw::control::Fault::kCorruptByte); }
  bool refuse_this() { return is_due(hw::control::Fault::kRefuse); }
  // Counts one more thing that the fault could befall.
  bool is_due(hw::control::Fault fault) { return count_down(left_[static_cast<size_t>(fault)]); }

 private:
  static bool count_down(std::atomic<uint64_t>& left) {
    uint64_t now = left.load(std::memory_order_relaxed);
    while (now != 0) {
      if (left.compare_exchange_weak(now, now - 1, std::memory_order_relaxed)) return now == 1;
    }
    return false;
  }
  std::array<std::atomic<uint64_t>, hw::control::kFaults> left_{};  // by Fault
};

}  // namespace causeway::machine
