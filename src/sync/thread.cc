#include "sync/thread.h"

#include <pthread.h>

#include <cstring>
#include <system_error>
#include <thread>

#include "sync/completion.h"
#include "sync/owner.h"
#include "sync/track.h"

namespace causeway::sync {

struct Thread::State {
  const char* name;
  Body body;
  std::stop_source stop{};
  std::thread thread{};

  track::Object object() const { return {this, name, track::Kind::kThread}; }

  void run() {
    char short_name[16] = {};
    std::strncpy(short_name, name, sizeof short_name - 1);
    ::pthread_setname_np(::pthread_self(), short_name);
    track::thread_started(object());
    body(stop.get_token());
    body = nullptr;  // what it captured ends on this thread, before a joiner goes on
    track::event(object(), track::Wakes::kAll, SourceLocation::current());
    track::thread_exiting(object());
  }
};

Thread::Thread() = default;
Thread::Thread(std::unique_ptr<State> state) : state_(std::move(state)) {}
Thread::Thread(Thread&&) noexcept = default;

Thread& Thread::operator=(Thread&& other) noexcept {
  if (this != &other) {
    request_stop();
    join();
    state_ = std::move(other.state_);
  }
  return *this;
}

Thread::~Thread() {
  request_stop();
  join();
}

Result<Thread> Thread::start(const char* name, Body body, SourceLocation where) {
  std::unique_ptr<State> state(new State{name != nullptr ? name : "thread", std::move(body)});
  track::created(state->object(), where);
  try {
    state->thread = std::thread([running = state.get()] { running->run(); });
  } catch (const std::system_error&) {
    track::destroyed(state->object());
    return fail(EAGAIN, "the system has no thread left", where);
  }
  return Thread(std::move(state));
}

Thread Thread::must_start(Result<Thread> started, const char* name, SourceLocation where) {
  if (!started) detail::die("thread", name, "not started, the system has no thread left, asked for", 0, where);
  return std::move(*started);
}

void Thread::request_stop() {
  if (state_) state_->stop.request_stop();
}

void Thread::join(SourceLocation where) {
  if (!state_) return;
  if (state_->thread.get_id() == std::this_thread::get_id())
    detail::die("thread", state_->name, "joined by itself,", 0, where);
  track::wait_begin(state_->object(), nullptr, track::Timeout::kNone, where);
  state_->thread.join();
  track::wait_end(state_->object(), track::Outcome::kEvent, where);
  track::destroyed(state_->object());
  state_.reset();
}

bool sleep_unless_stopped(const StopToken& stop, std::chrono::nanoseconds span) {
  Completion stopped("sync.stop");
  std::stop_callback wake(stop, [&] { stopped.complete_all(); });
  return !stopped.wait_for(span);
}

}  // namespace causeway::sync
