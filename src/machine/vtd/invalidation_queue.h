// The invalidation queue of a unit: fetches descriptors in order and has them executed (VT-d 6.5.2).
//
//   queue.set_address(iqa);
//   queue.enable(true);
//   queue.set_tail(iqt);      // processes what is there
//
// A wait's status is written when everything before it has taken effect and, where the commands asked for it, every DMA
// that began before has ended. A bad descriptor stops the queue at it (IQE) until software clears the error; a device
// that does not answer stops it behind the next wait, whose status is never written (ITE). Only the bus thread uses it.
#pragma once

#include <cstdint>

#include "base/types.h"
#include "hw/vtd.h"
#include "machine/gate.h"
#include "machine/register_page.h"
#include "machine/vtd/table_memory.h"

namespace causeway::machine::vtd {

class InvalidationQueue {
 public:
  // What commands do, and where errors go.
  class Host {
   public:
    virtual ~Host() = default;
    enum class Outcome : uint8_t { kDone, kMalformed, kTimeout };
    virtual Outcome execute(const hw::vtd::Descriptor& descriptor) = 0;
    virtual void drain() = 0;  // until every DMA under way has ended
    virtual bool needs_wide_descriptors() const = 0;
    virtual void raise_queue_error(uint64_t fault_status_bit) = 0;
  };
  InvalidationQueue(Host& host, const TableMemory& memory, Gate& gate, RegisterPage page);

  bool enabled() const { return enabled_; }
  void enable(bool on);
  void set_address(uint64_t value);
  void set_tail(uint64_t value);
  void resume_after_error();    // IQE was cleared
  void resume_after_timeout();  // ITE was cleared
  uint64_t executed() const { return executed_.load(std::memory_order_relaxed); }

 private:
  using Words = hw::vtd::WideDescriptor;
  void process();
  bool fetch(Words* words) const;
  // False: the queue has stopped.
  bool run(const Words& words);
  void wait(const hw::vtd::Descriptor& descriptor);
  void stop_with(hw::vtd::QueueErrorCode code);
  uint64_t slot_bytes() const { return wide_ ? sizeof(hw::vtd::WideDescriptor) : sizeof(hw::vtd::Descriptor); }

  Host& host_;
  const TableMemory& memory_;
  Gate& gate_;
  RegisterPage page_;
  bool enabled_ = false;
  bool wide_ = false;
  bool stopped_ = false;    // by an error
  bool timed_out_ = false;  // the next wait will not complete
  bool must_drain_ = false;
  PhysAddr base_;
  uint64_t bytes_ = 0;  // of the ring
  uint64_t head_ = 0;
  uint64_t tail_ = 0;
  std::atomic<uint64_t> executed_{0};
};

}  // namespace causeway::machine::vtd
