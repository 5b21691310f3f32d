// Message signalled interrupts: vectors, handlers and the thread that runs them.
//
//   uint8_t vector = CW_TRY(interrupts.allocate());
//   interrupts.set_handler(vector, [this] { poll_completions(); });
//   interrupts.start();
//
// Handlers run one at a time on the interrupt thread. Interrupts raised while no kernel ran are
// pending in the machine's mailbox (hw/bus.h) and handled at start(), or when their handler is set.
// Several pending raises of one vector are one call. One is acknowledged after its handler has run: a
// kernel that dies inside a handler leaves it pending for the next one.
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

  Result<uint8_t> allocate();    // ENOSPC; vectors 32..255
  Status claim(uint8_t vector);  // one that a running device already uses; EBUSY
  // Replaces the handler; empty: none, interrupts stay pending. Returns when the old one does not run
  // any more (called inside that handler itself, it returns at once).
  void set_handler(uint8_t vector, std::function<void()> handler);
  void release(uint8_t vector);  // undoes allocate() or claim(), and set_handler(vector, {})
  void start();
  // Returns when no handler runs and none will, until start() is called again. Not inside a handler.
  void stop();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace causeway::platform
