#include "sync/dept_hooks.h"

#include <pthread.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "dept/engine_lock.h"
#include "dept/hash.h"
#include "dept/kernel/proc.h"
#include "dept/locks.h"
#include "dept/own/report_text.h"
#include "dept/sleeps.h"
#include "dept/tracker.h"

namespace causeway::sync::track {
namespace {

using dept::Inside;
using dept::Level;
using dept::ObjectId;
using dept::ObjectTraits;
using dept::Printer;
using dept::ReportId;
using dept::Site;
using dept::ThreadContext;
using dept::ThreadId;
using dept::Tracker;

constexpr int kExitStatus = 86;

enum class Start : int { kNot, kUnderWay, kDone };
constinit std::atomic<Start> g_start{Start::kNot};
constinit std::atomic<unsigned> g_findings{0};
constinit dept::EngineLock g_print_lock;
constinit Level g_level = Level::kLikely;
constinit bool g_fails = true;

void print_finding(ReportId id) {
  dept::Arena& arena = Tracker::get().arena();
  if (arena.at<dept::Report>(id).level < g_level) return;
  g_findings.fetch_add(1, std::memory_order_relaxed);
  dept::EngineLockGuard hold(g_print_lock);
  Printer out(STDERR_FILENO);
  dept::own::print_report(out, arena, id);
}

// Handlers that were registered later have run. Those of before do not, nor do destructors of static objects: the process has failed.
void finish() {
  if (std::getenv("CAUSEWAY_DEPT_STATS") != nullptr) dept::kernel::print_stats(STDERR_FILENO);
  const unsigned findings = g_findings.load(std::memory_order_relaxed);
  if (findings == 0) return;
  std::fflush(nullptr);
  {
    Printer out(STDERR_FILENO);
    out.text("dept: ").number(findings).text(findings == 1 ? " finding" : " findings").text(" in process ");
    out.number(static_cast<uint64_t>(::getpid())).text("\n");
  }
  if (g_fails) ::_exit(kExitStatus);
}

void in_child() {
  g_print_lock.reset();
  g_findings.store(0, std::memory_order_relaxed);
  if (Tracker::is_on()) Tracker::child_after_fork(-1);
}

bool start() {
  Start before = Start::kNot;
  if (!g_start.compare_exchange_strong(before, Start::kUnderWay)) return false;
  const char* mode = std::getenv("CAUSEWAY_DEPT");
  const bool off = mode != nullptr && std::strcmp(mode, "off") == 0;
  g_fails = mode == nullptr || std::strcmp(mode, "report") != 0;
  dept::Settings settings;
  settings.predict = false;
  settings.on_report = print_finding;
  if (const char* level = std::getenv("CAUSEWAY_DEPT_LEVEL"); level != nullptr && std::strcmp(level, "possible") == 0) {
    g_level = Level::kPossible;
    settings.predict = true;
  }
  const bool on = !off && Tracker::start(settings) == 0;
  if (on) {
    ::pthread_atfork(nullptr, nullptr, in_child);
    std::atexit(finish);
  }
  g_start.store(Start::kDone, std::memory_order_release);
  return on;
}

// Before threads and static objects: a lock that was taken untracked would be released tracked.
[[gnu::constructor(101)]] void start_early() { start(); }

// A thread that nobody announced ends with its thread-local objects.
struct EndOfThread {
  ~EndOfThread() {
    if (ThreadContext* self = ThreadContext::current()) Tracker::get().thread_ends(self);
  }
};

bool begin_thread() {
  if (ThreadContext::current() == nullptr) return false;
  thread_local EndOfThread end;
  (void)&end;
  return true;
}

// Whether this call is to be tracked.
bool ready() {
  if (!Tracker::is_on()) [[unlikely]] {
    if (g_start.load(std::memory_order_acquire) != Start::kNot || !start()) return false;
  }
  if (dept::detail::tls.inside != 0) [[unlikely]] return false;
  return dept::detail::tls.context != nullptr || begin_thread();
}

Site site_of(SourceLocation where) { return Site::at(where.file_name(), where.line()); }

// Texts are literals, so their address stands for them, within one run.
uint64_t key_of(const char* text) {
  struct Known {
    const char* text;
    uint64_t key;
  };
  static thread_local constinit Known known[256] = {};
  Known& entry = known[reinterpret_cast<uintptr_t>(text) / 8 % std::size(known)];
  if (entry.text != text) entry = {text, dept::hash_of(text)};
  return entry.key;
}

ObjectTraits traits_of(const Object& object, SourceLocation where) {
  ObjectTraits traits;
  switch (object.kind) {
    case Kind::kMutex: traits.kind = dept::Kind::kMutex; break;
    case Kind::kSpinLock: traits.kind = dept::Kind::kSpinLock; break;
    case Kind::kRwLock: traits.kind = dept::Kind::kRwLock; break;
    case Kind::kCondVar: traits.kind = dept::Kind::kCondVar; break;
    case Kind::kCompletion: traits.kind = dept::Kind::kCompletion; break;
    case Kind::kWaitQueue: traits.kind = dept::Kind::kWaitQueue; break;
    case Kind::kThread: traits.kind = dept::Kind::kThread; break;
  }
  // A waiting writer keeps new readers out.
  if (object.kind == Kind::kRwLock) traits.flags = dept::Object::kReaderLock | dept::Object::kQueued;
  const uint64_t key = object.name != nullptr ? key_of(object.name) : dept::mix(key_of(where.file_name()), where.line());
  traits.key = dept::mix(key, static_cast<uint64_t>(object.kind));
  traits.name = object.name;
  return traits;
}

ObjectId object_of(const Object& object, SourceLocation where) {
  return Tracker::get().object_at(object.address, traits_of(object, where), site_of(where));
}

dept::locks::Mode mode_of(Mode mode) {
  return mode == Mode::kExclusive ? dept::locks::Mode::kWrite : dept::locks::Mode::kRead;
}

// The record of a thread's object here says which thread it is: what a join waits for is the tracker's own object.
ThreadId thread_of(const Object& object) {
  const ObjectId id = Tracker::get().find_object(object.address);
  return id == ObjectId::kNone ? ThreadId::kNone : ThreadId(Tracker::get().arena().at<dept::Object>(id).value.load());
}

// One sleep at a time, from its wait_begin to its wait_end.
thread_local constinit dept::sleeps::Sleep t_sleep;

}  // namespace

void created(const Object& object, SourceLocation where) {
  if (!ready()) return;
  ThreadId thread = ThreadId::kNone;
  if (object.kind == Kind::kThread) {
    // The name is the class: what all threads of this name run.
    thread = Tracker::get().thread_created(ThreadContext::current(), key_of(object.name), site_of(where));
  }
  const ObjectId id = Tracker::get().object_born(object.address, traits_of(object, where), site_of(where));
  if (object.kind == Kind::kThread && id != ObjectId::kNone)
    Tracker::get().arena().at<dept::Object>(id).value.store(dept::index_of(thread));
}

void destroyed(const Object& object) {
  if (ready()) Tracker::get().object_died(object.address);
}

void acquiring(const Object& object, Mode mode, SourceLocation where) {
  if (!ready()) return;
  dept::locks::acquiring_at(object.address, traits_of(object, where), mode_of(mode), site_of(where), {});
}

void acquired(const Object& object, Mode mode, Attempt attempt, SourceLocation where) {
  if (!ready()) return;
  dept::locks::acquired(object_of(object, where), mode_of(mode), site_of(where), {.is_try = attempt == Attempt::kTry});
}

void releasing(const Object& object, Mode, SourceLocation where) {
  if (ready()) dept::locks::releasing(object_of(object, where), site_of(where));
}

void wait_begin(const Object& object, const Object* released, Timeout timeout, SourceLocation where) {
  if (!ready()) return;
  dept::sleeps::How how;
  how.timed = timeout == Timeout::kSome;
  how.loops = object.kind == Kind::kCondVar || object.kind == Kind::kWaitQueue;
  if (released != nullptr) how.released = object_of(*released, where);
  const ObjectId id = object.kind == Kind::kThread ? Tracker::get().object_of(thread_of(object)) : object_of(object, where);
  t_sleep = {};
  if (id != ObjectId::kNone) dept::sleeps::begin(t_sleep, id, site_of(where), how);
}

void wait_end(const Object& object, Outcome outcome, SourceLocation where) {
  if (!ready()) return;
  dept::sleeps::end(t_sleep, outcome == Outcome::kEvent ? dept::sleeps::Outcome::kWoken : dept::sleeps::Outcome::kTimedOut,
                    site_of(where));
  if (object.kind == Kind::kThread) Tracker::get().thread_joined(ThreadContext::current(), thread_of(object));
}

void passed(const Object& object, SourceLocation where) {
  if (!ready()) return;
  ThreadContext* self = ThreadContext::current();
  const ObjectId id = object_of(object, where);
  if (id == ObjectId::kNone) return;
  if (Tracker::get().settings().predict) {
    dept::sleeps::Sleep sleep;
    dept::sleeps::begin(sleep, id, site_of(where), {.predicted = true});
    dept::sleeps::end(sleep, dept::sleeps::Outcome::kDidNotSleep, site_of(where));
  }
  Inside inside;
  Tracker::get().order().acquire(*self, id);
}

void event(const Object& object, Wakes who, SourceLocation where) {
  // The end of a thread is thread_exiting()'s.
  if (!ready() || object.kind == Kind::kThread) return;
  dept::sleeps::wake(object_of(object, where), site_of(where),
                     who == Wakes::kOne ? dept::sleeps::Wakes::kOne : dept::sleeps::Wakes::kAll);
}

void thread_started(const Object& object) {
  if (Tracker::is_on()) Tracker::get().thread_begins(thread_of(object), object.name);
}

void thread_exiting(const Object&) {
  if (ready()) Tracker::get().thread_ends(ThreadContext::current());
}

}  // namespace causeway::sync::track
