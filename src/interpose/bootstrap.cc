#include "interpose/bootstrap.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/single_threaded.h>
#include <unistd.h>

#include <atomic>
#include <string_view>

#include "base/clock.h"
#include "client/raw.h"
#include "dept/known_locks.h"
#include "dept/tracker.h"
#include "dept/unwind.h"
#include "interpose/modules.h"
#include "interpose/places.h"
#include "interpose/real.h"
#include "interpose/say.h"
#include "interpose/settings.h"
#include "interpose/sleeping.h"
#include "interpose/thread.h"

extern "C" int __register_atfork(void (*prepare)(), void (*parent)(), void (*child)(), void* library) noexcept;
extern "C" int __cxa_at_quick_exit(void (*handler)(void*), void* library) noexcept;
CW_DEFINE_REAL(__register_atfork);

namespace causeway::interpose {

using client::raw;
using dept::ArenaHeader;
using dept::Tracker;

constinit thread_local ThreadGate gate{};

namespace {

// kForked: the child of a fork that has done nothing yet, and may be about to exec: no arena is made for that.
enum class State : uint8_t { kNew, kStarting, kOn, kForked, kOff };
constinit std::atomic<State> state{State::kNew};
constinit std::atomic<int> own_pid{0};
constinit Environment environment;
constinit pthread_key_t end_key{};

std::string_view read_file(const char* path, char* buffer, size_t size) {
  const long fd = raw(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC, 0);
  if (fd < 0) return {};
  const long length = raw(SYS_read, fd, buffer, size);
  raw(SYS_close, fd);
  return {buffer, length > 0 ? static_cast<size_t>(length) : 0};
}

// Who this is, for who reads the arena.
void describe_process() {
  dept::Arena& arena = Tracker::get().arena();
  ArenaHeader& header = arena.header();
  char buffer[2048];
  const long length = raw(SYS_readlink, "/proc/self/exe", buffer, sizeof buffer);
  if (length > 0) header.program.store(index_of(arena.intern({buffer, static_cast<size_t>(length)})), std::memory_order_relaxed);
  std::string_view command = read_file("/proc/self/cmdline", buffer, sizeof buffer);
  while (command.ends_with('\0')) command.remove_suffix(1);
  for (size_t i = 0; i < command.size(); ++i) {
    if (buffer[i] == '\0') buffer[i] = ' ';
  }
  header.command.store(index_of(arena.intern(command)), std::memory_order_relaxed);
}

// Runs four times, as often as the C library is willing to: others' destructors still lock.
void end_of_thread(void* round) {
  const auto next = reinterpret_cast<uintptr_t>(round) + 1;
  if (next <= PTHREAD_DESTRUCTOR_ITERATIONS && pthread_setspecific(end_key, reinterpret_cast<void*>(next)) == 0) return;
  thread_is_over();
}

void quick_exit_handler(void*) { process_ends(); }

// The last handler of the parent, and the first of the child, since ours were registered first (__register_atfork is wrapped).
void atfork_prepare() { before_fork(); }
void atfork_child() { child_of_fork(); }

// Whether what the child begins with can still be told later: the parent goes on, and its arena is shared.
constinit bool fork_is_simple = false;

bool begin_child() {
  gate.busy = true;
  threads_after_fork();
  const int fd = environment.create_arena_file();
  const int result = Tracker::child_after_fork(fd < 0 ? -1 : fd);
  if (fd >= 0) raw(SYS_close, fd);
  if (result < 0) say("cannot track the child of a fork: ", strerrorname_np(-result));
  const bool is_on = result == 0 && Tracker::is_on();
  if (is_on) {
    describe_process();
    record_modules();
  }
  gate.busy = false;
  state.store(is_on ? State::kOn : State::kOff, std::memory_order_release);
  return is_on;
}

bool start(char** variables) {
  State expected = State::kNew;
  if (!state.compare_exchange_strong(expected, State::kStarting)) return expected == State::kOn;
  gate.busy = true;
  resolve_all();
  environment.read(variables);
  int result = -1;
  if (!environment.has_directory()) {
    say("CAUSEWAY_DEPT_DIR is not set, and this process is not tracked: start it with causeway dept");
  } else if (const int fd = environment.create_arena_file(); fd >= 0) {
    dept::Settings settings = environment.settings();
    settings.fd = fd;
    own_pid.store(static_cast<int>(raw(SYS_getpid)), std::memory_order_relaxed);
    know_places();
    result = Tracker::start(settings);
    raw(SYS_close, fd);
    if (result < 0) say("cannot track this process: ", strerrorname_np(-result));
  }
  if (result == 0) {
    if (!environment.follows()) Environment::forget_us(variables);
    pthread_key_create(&end_key, end_of_thread);
    CW_REAL(__register_atfork)(atfork_prepare, nullptr, atfork_child, nullptr);
    __cxa_at_quick_exit(quick_exit_handler, nullptr);
    describe_process();
    record_modules();
    dept::Frame frames[dept::kStackDepth];
    dept::unwind(frames, dept::kStackDepth, 0);  // warm: the first look-up may take the loader's lock
  }
  gate.busy = false;
  state.store(result == 0 ? State::kOn : State::kOff, std::memory_order_release);
  return result == 0;
}

}  // namespace

namespace {

bool make_ready() {
  switch (state.load(std::memory_order_acquire)) {
    case State::kNew:
      // Without an environment yet, libc itself is not initialised; with none at all, there is no directory either.
      if (environ == nullptr || !start(environ)) return false;
      break;
    case State::kForked:
      if (!begin_child()) return false;
      break;
    case State::kOn: break;
    default: return false;
  }
  gate.busy = true;
  gate.errno_address = &errno;
  gate.tid = static_cast<int>(raw(SYS_gettid));
  pthread_setspecific(end_key, reinterpret_cast<void*>(1));
  gate.busy = false;
  gate.ready = true;
  dept::locks::open_known();
  return true;
}

}  // namespace

bool tracked_slow() {
  if (gate.busy || gate.over) return false;
  const int error = errno;
  const bool ready = make_ready();
  errno = error;
  return ready;
}

void thread_is_over() {
  if (gate.ready) {
    gate.ready = false;
    dept::locks::close_known();
    sleeping::leave_all();
    if (Tracker::is_on()) Tracker::get().thread_ends(dept::ThreadContext::current());
  }
  gate.over = true;
}

bool is_own_process() { return raw(SYS_getpid) == own_pid.load(std::memory_order_relaxed); }

void before_fork() {
  if (!gate.ready) return;
  const dept::ThreadContext* self = dept::ThreadContext::current();
  fork_is_simple =
      __libc_single_threaded != 0 && self != nullptr && self->held() == 0;
}

void child_of_fork() {
  const State now = state.load(std::memory_order_acquire);
  if ((now != State::kOn && now != State::kForked) || is_own_process()) return;
  own_pid.store(static_cast<int>(raw(SYS_getpid)), std::memory_order_relaxed);
  const bool was_ready = gate.ready;
  gate.ready = false;
  dept::locks::close_known();
  state.store(State::kForked, std::memory_order_release);
  if (was_ready && !fork_is_simple) tracked_slow();
}

void process_ends() {
  if (state.load(std::memory_order_acquire) != State::kOn || !is_own_process()) return;
  Tracker::get().arena().header().ended_ns.store(monotonic_ns(), std::memory_order_relaxed);
}

void process_goes_on() {
  if (state.load(std::memory_order_acquire) != State::kOn || !is_own_process()) return;
  Tracker::get().arena().header().ended_ns.store(0, std::memory_order_relaxed);
}

namespace {

// Ours is the last to be loaded of what has no dependencies, and so runs before the program's own constructors; those of its
// libraries may have been here before.
[[gnu::constructor(101)]] void when_loaded(int, char**, char** variables) {
  State expected = State::kNew;
  if (state.load(std::memory_order_acquire) == expected) start(variables);
}

// Of all destructors the last, or nearly: what others do afterwards still counts, and _exit() says it once more.
[[gnu::destructor(101)]] void when_unloaded() { process_ends(); }

}  // namespace
}  // namespace causeway::interpose
