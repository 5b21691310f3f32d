// The serialize lock: every operation on sessions passes through it, and a live update shuts it.
//
//   Gate::Pass pass(gate);             // waits while the gate is shut
//   if (!pass) return fail(ENODEV, "this kernel has been replaced");
//   ...
//   gate.shut();                       // waits until everybody is out; then nobody gets in
//   gate.open();                       // the live update failed
//
// A lock of its own because it has no owner: shut by the thread that starts the update, it stays shut until the
// jump, and whoever takes the kernel down in the same process lets the waiters go with remove(). A pass
// is not recursive: a thread inside must not ask for another.
#pragma once

#include <cstdint>

#include "sync/cond_var.h"
#include "sync/mutex.h"

namespace causeway::luo {

class Gate {
 public:
  class Pass {
   public:
    explicit Pass(Gate& gate) : gate_(gate.enter() ? &gate : nullptr) {}
    ~Pass() {
      if (gate_ != nullptr) gate_->leave();
    }
    Pass(const Pass&) = delete;
    Pass& operator=(const Pass&) = delete;
    // False: the gate was removed; nothing may be touched any more.
    explicit operator bool() const { return gate_ != nullptr; }

   private:
    Gate* gate_;
  };

  // Waits for everybody inside, and for whoever has shut it before. False: removed.
  [[nodiscard]] bool shut();
  void open();
  // For ever; lets the waiters go. Waits until everybody is out.
  void remove();

 private:
  enum class State : uint8_t { kOpen, kShutting, kShut, kRemoved };

  bool enter();
  void leave();

  sync::Mutex mutex_{"luo.gate"};
  sync::CondVar changed_{"luo.gate_changed"};
  State state_ CW_GUARDED_BY(mutex_) = State::kOpen;
  uint64_t inside_ CW_GUARDED_BY(mutex_) = 0;
};

}  // namespace causeway::luo
