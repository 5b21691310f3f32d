// Thread: a named thread that is asked to stop and joined when its object goes.
//
//   Thread worker_("dma.worker", [this](StopToken stop) {
//     while (!stop.stop_requested()) serve_one();
//   });
//
// StopToken is std::stop_token; a thread that sleeps must be woken by the request:
//
//   std::stop_callback wake(stop, [&] { queue_.wake_all(); });
//   queue_.wait([&] { return stop.stop_requested() || has_work(); });
//
// Declare a Thread after (below) the members its function uses: it then stops before they go.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <stop_token>
#include <type_traits>
#include <utility>

#include "base/result.h"
#include "base/source_location.h"

namespace causeway::sync {

using StopToken = std::stop_token;

class Thread {
 public:
  // No thread; joinable() is false.
  Thread();
  // Runs `function(StopToken)` or `function()`. `name` is a string literal, the class of the thread;
  // the system shows its first 15 bytes. Aborts if the system has no thread left: where that can be
  // reported, use create().
  template <typename Function>
  Thread(const char* name, Function function, SourceLocation where = SourceLocation::current())
      : Thread(must_start(start(name, with_token(std::move(function)), where), name, where)) {}
  // The same; EAGAIN if the system has no thread left.
  template <typename Function>
  static Result<Thread> create(const char* name, Function function,
                               SourceLocation where = SourceLocation::current()) {
    return start(name, with_token(std::move(function)), where);
  }

  Thread(Thread&&) noexcept;
  // Stops and joins what *this ran before.
  Thread& operator=(Thread&&) noexcept;
  // Asks it to stop and joins it.
  ~Thread();

  bool joinable() const { return state_ != nullptr; }
  // Sets the stop token; returns at once. Nothing if there is no thread.
  void request_stop();
  // Returns when the thread's function has. Aborts when called by the thread itself. Nothing if
  // there is no thread.
  void join(SourceLocation where = SourceLocation::current());

 private:
  struct State;
  using Body = std::function<void(StopToken)>;

  template <typename Function>
  static Body with_token(Function function) {
    // Shared, because a std::function must be copyable and the caller's function may not be.
    auto shared = std::make_shared<Function>(std::move(function));
    if constexpr (std::is_invocable_v<Function&, StopToken>) {
      return [shared](StopToken stop) { (*shared)(std::move(stop)); };
    } else {
      return [shared](StopToken) { (*shared)(); };
    }
  }
  static Result<Thread> start(const char* name, Body body, SourceLocation where);
  static Thread must_start(Result<Thread> started, const char* name, SourceLocation where);
  explicit Thread(std::unique_ptr<State> state);

  std::unique_ptr<State> state_;
};

// Sleeps for `span`, or until `stop` is requested: true if the whole time passed.
bool sleep_unless_stopped(const StopToken& stop, std::chrono::nanoseconds span);

}  // namespace causeway::sync
