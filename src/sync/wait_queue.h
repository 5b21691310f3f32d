// WaitQueue: sleep until a condition that needs no lock becomes true. The kernel's wait_event().
//
//   std::atomic<uint32_t> free_slots;
//   WaitQueue queue("server.slots");
//
//   queue.wait([&] { return free_slots.load() > 0; });
//
//   free_slots.fetch_add(1);
//   queue.wake_one();                  // after the condition was made true, or it may be missed
//
// The predicate runs on the waiting thread, without a lock, any number of times. wake_one() and
// wake_all() cost one atomic operation when nobody waits.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <type_traits>
#include <utility>

#include "sync/deadline.h"
#include "sync/track.h"

namespace causeway::sync {

class WaitQueue {
 public:
  constexpr WaitQueue(SourceLocation where = SourceLocation::current()) : WaitQueue(nullptr, where) {}
  // `name` is a string literal: the class of the event, "room.what".
  constexpr explicit WaitQueue(const char* name, SourceLocation where = SourceLocation::current())
      : name_(name) {
    if (!std::is_constant_evaluated()) track::created(object(), where);
  }
  // Debug builds abort if somebody still waits.
  ~WaitQueue();
  WaitQueue(const WaitQueue&) = delete;
  WaitQueue& operator=(const WaitQueue&) = delete;

  // Returns when predicate() is true.
  template <typename Predicate>
  void wait(Predicate predicate, SourceLocation where = SourceLocation::current()) {
    (void)wait_until(Deadline::never(), std::move(predicate), where);
  }
  // False if predicate() was still false at the deadline.
  template <typename Predicate>
  [[nodiscard]] bool wait_until(Deadline deadline, Predicate predicate,
                                SourceLocation where = SourceLocation::current()) {
    if (predicate()) {
      track::passed(object(), where);
      return true;
    }
    Waiter waiter(*this);
    while (true) {
      // The signal is read before the predicate: a wake after it changes the signal.
      uint32_t signal = signal_.load(std::memory_order_acquire);
      if (predicate()) {
        track::passed(object(), where);
        return true;
      }
      if (deadline.has_passed()) return false;
      sleep(signal, deadline, where);
    }
  }
  template <typename Predicate>
  [[nodiscard]] bool wait_for(std::chrono::nanoseconds span, Predicate predicate,
                              SourceLocation where = SourceLocation::current()) {
    return wait_until(Deadline::after(span), std::move(predicate), where);
  }

  // Wakes one or all of those who sleep now; each looks at its own predicate. One that still finds it
  // false sleeps again and the wake is used up: with different predicates use wake_all().
  void wake_one(SourceLocation where = SourceLocation::current());
  void wake_all(SourceLocation where = SourceLocation::current());

  const char* name() const { return name_; }

 private:
  // In waiters_ while it lives. Its read-modify-write and that of wake() are ordered: either the waker
  // sees the waiter, or the waiter's next look at the predicate sees what the waker did before.
  class Waiter {
   public:
    explicit Waiter(WaitQueue& queue) : queue_(queue) {
      queue_.waiters_.fetch_add(1, std::memory_order_acq_rel);
    }
    ~Waiter() { queue_.waiters_.fetch_sub(1, std::memory_order_acq_rel); }
    Waiter(const Waiter&) = delete;
    Waiter& operator=(const Waiter&) = delete;

   private:
    WaitQueue& queue_;
  };

  constexpr track::Object object() const { return {this, name_, track::Kind::kWaitQueue}; }
  void sleep(uint32_t signal, Deadline deadline, SourceLocation where);
  void wake(int count, SourceLocation where);

  std::atomic<uint32_t> signal_{0};
  std::atomic<uint32_t> waiters_{0};
  const char* name_;
};

}  // namespace causeway::sync
