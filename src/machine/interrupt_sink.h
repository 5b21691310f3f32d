// Where message signalled interrupts end: the interrupt mailbox of hw/bus.h.
//
//   sink.raise(33);   // any thread
//
// Counts per vector, so that none is lost while no kernel runs; the next one finds it pending.
#pragma once

#include "hw/bus.h"
#include "hw/futex.h"

namespace causeway::machine {

class InterruptSink {
 public:
  explicit InterruptSink(hw::InterruptMailbox& mailbox) : mailbox_(mailbox) {}

  void raise(uint8_t vector) {
    mailbox_.raised[vector].fetch_add(1, std::memory_order_release);
    mailbox_.doorbell.fetch_add(1, std::memory_order_seq_cst);
    if (mailbox_.kernel_sleeps.load(std::memory_order_seq_cst) != 0) hw::futex_wake(mailbox_.doorbell);
  }

 private:
  hw::InterruptMailbox& mailbox_;
};

}  // namespace causeway::machine
