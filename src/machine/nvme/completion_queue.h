// A completion queue: a ring in a driver's memory that any number of submission queues post to.
//
//   cq.create({.base = base, .entries = 64, .vector = 1, .interrupts = true});
//   switch (cq.post(port, completion)) { case Posted::kFull: ...come back when the driver has consumed... }
//
// The driver's head comes from the bus thread and waits for nobody; posting is under a mutex.
#pragma once

#include <atomic>
#include <mutex>

#include "machine/dma_port.h"
#include "machine/nvme/host.h"

namespace causeway::machine::nvme {

enum class Posted : uint8_t {
  kYes,
  kFull,     // the driver has to consume first
  kNotNow,   // bus mastering is off
  kRefused,  // the controller has stopped
};

class CompletionQueue {
 public:
  CompletionQueue(unsigned number, Host& host);

  struct Setup {
    uint64_t base = 0;
    uint32_t entries = 0;
    unsigned vector = 0;
    bool interrupts = false;
  };
  void create(const Setup& setup);
  void remove() { create({}); }
  unsigned number() const { return number_; }
  bool exists() const { return entries_.get() != 0; }

  // Gives it the phase tag. A queue that is gone takes everything and keeps nothing.
  Posted post(DmaPort& port, hw::nvme::Completion completion);

  // Doorbell, bus thread. False: not between the old head and the tail.
  bool set_head(uint64_t value, const char** why);
  // After set_head(). True once after a post() that found it full: somebody waits for the head to move.
  bool take_waiters() { return has_waiters_.exchange(false, std::memory_order_seq_cst); }

 private:
  uint32_t tail_index() const { return static_cast<uint32_t>(hw::nvme::CwCqTailIndex::get(tail_.get())); }
  bool is_full() const;

  const unsigned number_;
  Host& host_;
  RegisterPage page_;
  std::mutex mutex_;
  Counter<uint64_t> base_;
  Counter<uint32_t> entries_, head_, tail_, vector_;  // tail with the phase, as in the register
  std::atomic<bool> has_waiters_{false};
};

}  // namespace causeway::machine::nvme
