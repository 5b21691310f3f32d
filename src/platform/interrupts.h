// Message signalled interrupts: vectors, handlers and the thread that runs them.
//
//   uint8_t vector = CW_TRY(interrupts.allocate());
//   interrupts.set_handler(vector, [this] { poll_completions(); });
//   interrupts.start();
//
// Handlers run one at a time on the interrupt thread. Interrupts raised while no kernel ran are
// pending in the machine's mailbox (hw/bus.h) and handled at start(). Several pending raises of one
// vector are one call.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>

#include "base/result.h"
#include "hw/bus.h"

namespace causeway::platform {

class Interrupts {
 public:
  explicit Interrupts(hw::InterruptMailbox* mailbox);
  ~Interrupts();  // stops the thread

  Result<uint8_t> allocate();            // ENOSPC; vectors 32..255
  Status claim(uint8_t vector);          // one that a running device already uses; EBUSY
  void set_handler(uint8_t vector, std::function<void()> handler);
  void start();
  // Returns when no handler runs and none will.
  void stop();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace causeway::platform
