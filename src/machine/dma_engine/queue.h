// One queue of the DMA engine: its registers, its two rings in system memory and the thread that
// serves it. What a descriptor means is up to the derived class.
//
//   class WorkQueue : public Queue { Turn serve() override; };
//   queue.start();
//   queue.write_register(kTail, 4, tail, &why);   // bus thread: rings the bell
//
// Two threads meet here. The bus thread writes registers; the indices a driver advances are atomics, so
// a doorbell never waits. Everything else is under the mutex, which the queue's thread holds while it
// serves: before the bus thread takes it, it asks for attention, and serving stops at the next step.
#pragma once

#include <atomic>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

#include "hw/dma_engine.h"
#include "machine/complaints.h"
#include "machine/fault_injector.h"
#include "machine/register_page.h"
#include "machine/dma_port.h"

namespace causeway::machine {

// What a queue needs of the engine around it.
class QueueOwner {
 public:
  virtual ~QueueOwner() = default;
  // Completions have been published since the last call: one interrupt.
  virtual void on_completions(unsigned queue) = 0;
  virtual FaultInjector& faults() = 0;
  virtual RegisterPage registers() = 0;
  virtual const std::string& name() const = 0;
};

class Queue {
 public:
  Queue(unsigned number, QueueOwner& owner, RegionMap& regions, TranslationSource& translation, Bdf requester);
  virtual ~Queue();
  Queue(const Queue&) = delete;
  Queue& operator=(const Queue&) = delete;

  void start();
  void stop();  // the derived class's destructor must come after it

  // Bus thread. `offset` is relative to the queue's block. False: no such register, or a bad value.
  bool write_register(uint32_t offset, uint32_t width, uint64_t value, const char** why);
  // Back to power-on; returns when no DMA is in flight. Bus thread.
  void reset();
  void set_bus_master(bool on);
  void set_address_width(unsigned bits) { port_.set_address_width(bits); }
  void set_ats(bool on) { port_.set_ats(on); }
  void append_status(std::string& text, const std::string& prefix) const;

 protected:
  // When serve() wants to be called again: at once, at a time, or when the bell rings.
  struct Turn {
    static constexpr uint64_t kNow = 0;
    static constexpr uint64_t kBell = ~uint64_t{0};
    uint64_t at = kBell;  // CLOCK_MONOTONIC ns
  };
  // Does a bounded amount of work, leaving early when attention() is asked for. Mutex held.
  virtual Turn serve() = 0;
  virtual void forget() {}                                                             // reset(), mutex held
  virtual bool write_own_register(uint32_t, uint32_t, const char**) { return false; }  // mutex held

  bool attention() const { return attention_.load(std::memory_order_relaxed) != 0; }
  bool is_enabled() const { return hw::dma_engine::QueueEnable::get(control_.get()) != 0; }
  bool is_runnable() const { return is_enabled() && !halted_ && port_.bus_master(); }
  uint32_t entries() const { return uint32_t{1} << ring_log2_.get(); }
  // A descriptor is posted and its completion has a place.
  bool has_buffer() const;

  // Takes the next descriptor. nullopt: the ring was refused; the queue halts, or bus mastering is off.
  std::optional<hw::dma_engine::Descriptor> take_descriptor();
  // Gives a completion for the descriptor taken last. False: it could not be written; the caller keeps
  // it for later if bus mastering is off, else the queue has halted.
  bool complete(const hw::dma_engine::Completion& completion);
  // The index of the descriptor taken last.
  uint32_t taken_index() const { return head_.get() - 1; }
  void set_busy(bool busy);

  DmaPort& port() { return port_; }
  QueueOwner& owner() { return owner_; }

  Counter<uint32_t> control_;
  Counter<uint32_t> rate_;
  Counter<uint32_t> record_size_;
  Counter<uint64_t> dropped_, starved_, next_sequence_, max_gap_, max_late_;

 private:
  void run();
  void ring_bell();
  template <typename Change>
  auto with_attention(const Change& change);
  bool write_setup_register(uint32_t offset, uint32_t width, uint64_t value, const char** why);
  void halt(const char* what, DmaAddr address, DmaStatus status);
  DmaAddr slot(uint64_t base, uint32_t index, uint32_t entry_size) const;

  const unsigned number_;
  QueueOwner& owner_;
  RegisterPage page_;
  DmaPort port_;
  std::thread thread_;
  std::atomic<bool> stop_{false};
  std::atomic<uint32_t> attention_{0};
  std::atomic<uint32_t> bell_{0};
  std::atomic<uint32_t> sleeps_{0};

  std::mutex mutex_;
  // Written by the driver through the bus thread, read by the queue's thread; the first two without the
  // mutex.
  Counter<uint32_t> tail_, comp_head_;
  Counter<uint64_t> ring_base_, comp_base_;
  Counter<uint32_t> ring_log2_;
  // Written by the queue's thread.
  Counter<uint32_t> head_, comp_tail_;
  Counter<uint64_t> completed_, bytes_, refused_;
  std::atomic<bool> halted_{false};
  bool unsignalled_ = false;  // completions since the last interrupt
};

}  // namespace causeway::machine
