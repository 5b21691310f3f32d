// Completion: "this work is done", counted. The kernel's struct completion.
//
//   Completion done("dma.drain");
//   queue.submit(request, [&] { done.complete(); });
//   if (!done.wait_for(std::chrono::seconds(1))) log::warn("dma", "drain takes over a second");
//
// complete() lets exactly one wait() through, whether it comes before or after it: n calls, n waits.
// complete_all() lets every wait through from then on, until reinit(). May live on the waiter's
// stack: complete() touches the object no more once a waiter can return.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <type_traits>

#include "sync/deadline.h"
#include "sync/track.h"

namespace causeway::sync {

class Completion {
 public:
  constexpr Completion(SourceLocation where = SourceLocation::current()) : Completion(nullptr, where) {}
  // `name` is a string literal: the class of the event, "room.what".
  constexpr explicit Completion(const char* name, SourceLocation where = SourceLocation::current())
      : name_(name) {
    if (!std::is_constant_evaluated()) track::created(object(), where);
  }
  // Debug builds abort if somebody still waits.
  ~Completion();
  Completion(const Completion&) = delete;
  Completion& operator=(const Completion&) = delete;

  // Adds one; wakes one waiter. Does nothing once complete_all() was called.
  void complete(SourceLocation where = SourceLocation::current());
  void complete_all(SourceLocation where = SourceLocation::current());

  // Returns when there is a completion, and takes it.
  void wait(SourceLocation where = SourceLocation::current()) { (void)wait_until(Deadline::never(), where); }
  // False if there was none until the deadline; nothing was taken then.
  [[nodiscard]] bool wait_until(Deadline deadline, SourceLocation where = SourceLocation::current());
  [[nodiscard]] bool wait_for(std::chrono::nanoseconds span, SourceLocation where = SourceLocation::current()) {
    return wait_until(Deadline::after(span), where);
  }
  // Takes a completion if there is one.
  [[nodiscard]] bool try_wait();

  // Is there one? Takes nothing (completion_done()).
  bool done() const { return count(word_.load(std::memory_order_acquire)) != 0; }
  // Back to none. Not while anybody waits or completes: they cannot tell the old round from the new.
  void reinit();

  const char* name() const { return name_; }

 private:
  // word_: waiters in the upper half, completions in the lower, so that one atomic operation can take
  // a completion and leave: afterwards the object may be gone. Sleepers use the lower half.
  static constexpr uint32_t kAll = UINT32_MAX;
  static constexpr uint64_t kWaiter = uint64_t{1} << 32;
  static constexpr uint32_t count(uint64_t word) { return static_cast<uint32_t>(word); }

  constexpr track::Object object() const { return {this, name_, track::Kind::kCompletion}; }
  void add(uint32_t completions, int wake, SourceLocation where);

  std::atomic<uint64_t> word_{0};
  const char* name_;
};

}  // namespace causeway::sync
