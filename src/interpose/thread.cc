#include "interpose/thread.h"

#include <errno.h>
#include <sys/mman.h>
#include <time.h>

#include <atomic>

#include "client/raw.h"
#include "dept/engine_lock.h"
#include "interpose/bootstrap.h"
#include "interpose/lock_calls.h"
#include "interpose/modules.h"
#include "interpose/real.h"
#include "interpose/signals.h"

CW_DEFINE_REAL(pthread_create);
CW_DEFINE_REAL(pthread_join);
CW_DEFINE_REAL(pthread_tryjoin_np);
CW_DEFINE_REAL(pthread_timedjoin_np);
CW_DEFINE_REAL(pthread_clockjoin_np);
CW_DEFINE_REAL(pthread_setname_np);

namespace causeway::interpose {

using dept::EngineLockGuard;
using dept::ThreadContext;
using dept::ThreadId;
using dept::sleeps::Outcome;

namespace {

constinit dept::EngineLock pool_lock;
constinit NewThread* pool = nullptr;
constexpr size_t kPoolBytes = 1u << 16;

NewThread* take_from_pool() {
  const EngineLockGuard hold(pool_lock);
  if (pool == nullptr) {
    const long memory =
        client::raw(SYS_mmap, nullptr, kPoolBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory < 0 && memory > -4096) return nullptr;
    auto* first = reinterpret_cast<NewThread*>(memory);
    for (size_t i = 0; i < kPoolBytes / sizeof(NewThread); ++i) {
      first[i].next = pool;
      pool = &first[i];
    }
  }
  NewThread* fresh = pool;
  pool = fresh->next;
  return fresh;
}

void give_back(NewThread* fresh) {
  const EngineLockGuard hold(pool_lock);
  fresh->next = pool;
  pool = fresh;
}

// Which thread a pthread_t is: handles are addresses, and are used again. A thread's number grows with its creation, so of two that
// had one handle the higher is the one that has it now, whatever order they are told in.
struct Handle {
  std::atomic<uint64_t> handle;
  std::atomic<uint32_t> thread;
};
constexpr uint32_t kHandles = 1u << 16;
constinit Handle handles[kHandles];

Handle* handle_slot(pthread_t handle, bool make) {
  const auto key = static_cast<uint64_t>(handle);
  auto index = static_cast<uint32_t>((key * 0x9E3779B97F4A7C15) >> 48);
  for (unsigned probes = 0; probes < 64; ++probes, index = (index + 1) % kHandles) {
    uint64_t found = handles[index].handle.load(std::memory_order_acquire);
    if (found == key) return &handles[index];
    if (found != 0) continue;
    if (!make) return nullptr;
    if (handles[index].handle.compare_exchange_strong(found, key)) return &handles[index];
    if (found == key) return &handles[index];
  }
  return nullptr;
}

// Cancellation may end the real call: it is a cancellation point, as is whoever calls us.
template <typename Real>
int join(pthread_t thread, dept::Site site, bool timed, Real&& real) {
  Join join;
  join_begins(join, thread, site, timed);
  int result;
  pthread_cleanup_push(abandon_join, &join);
  result = real();
  pthread_cleanup_pop(0);
  join_ends(join, result);
  return result;
}

void* trampoline(void* fresh) {
  const ThreadStart start = begin_thread(static_cast<NewThread*>(fresh));
  return reinterpret_cast<void* (*)(void*)>(start.routine)(start.argument);
}

}  // namespace

NewThread* announce_thread(void* routine, void* argument, dept::Site site) {
  const KeepErrno errno_is_kept;
  NewThread* fresh = take_from_pool();
  if (fresh == nullptr) return nullptr;
  fresh->routine = routine;
  fresh->argument = argument;
  fresh->thread = Tracker::get().thread_created(ThreadContext::current(), reinterpret_cast<uint64_t>(routine), site);
  return fresh;
}

ThreadStart begin_thread(NewThread* fresh) {
  const ThreadStart start{fresh->routine, fresh->argument};
  const ThreadId thread = fresh->thread;
  give_back(fresh);
  if (thread != ThreadId::kNone && Tracker::is_on()) {
    thread_started(pthread_self(), thread);
    Tracker::get().thread_begins(thread, nullptr);
    tracked();  // so that its end will be told, even if it calls nothing of ours
    signals::thread_begins();
  }
  return start;
}

void thread_failed(NewThread* fresh) {
  if (fresh->thread != ThreadId::kNone) {
    dept::Thread& thread = Tracker::get().arena().at<dept::Thread>(fresh->thread);
    thread.ended_ns.store(1, std::memory_order_relaxed);
  }
  give_back(fresh);
}

void thread_started(pthread_t handle, ThreadId thread) {
  Handle* slot = thread == ThreadId::kNone ? nullptr : handle_slot(handle, true);
  if (slot == nullptr) return;
  uint32_t known = slot->thread.load(std::memory_order_relaxed);
  while (known < index_of(thread) && !slot->thread.compare_exchange_weak(known, index_of(thread), std::memory_order_release)) {
  }
}

ThreadId thread_of(pthread_t handle) {
  const Handle* slot = handle_slot(handle, false);
  return slot == nullptr ? ThreadId::kNone : ThreadId(slot->thread.load(std::memory_order_acquire));
}

void threads_after_fork() {
  pool_lock.reset();
  pool = nullptr;  // it may have been half changed
  for (Handle& handle : handles) handle.thread.store(0, std::memory_order_relaxed);
}

void join_begins(Join& join, pthread_t handle, dept::Site site, bool timed) {
  const KeepErrno errno_is_kept;
  join.target = thread_of(handle);
  join.site = site;
  const ThreadContext* self = ThreadContext::current();
  if (join.target == ThreadId::kNone || self == nullptr || self->thread == join.target) return;
  dept::sleeps::begin(join.sleep, Tracker::get().object_of(join.target), site, {.timed = timed});
}

void join_ends(Join& join, int result) {
  const KeepErrno errno_is_kept;
  if (join.sleep.tracked) {
    dept::sleeps::end(join.sleep, result == 0 ? Outcome::kWoken : result == ETIMEDOUT ? Outcome::kTimedOut : Outcome::kDidNotSleep,
                      join.site);
  }
  if (join.target == ThreadId::kNone) return;
  if (result == EDEADLK) refused(Tracker::get().object_of(join.target), dept::Misuse::kSelfJoin, join.site);
  if (result == 0) Tracker::get().thread_joined(ThreadContext::current(), join.target);
}

void abandon_join(void* join) { join_ends(*static_cast<Join*>(join), EINTR); }

}  // namespace causeway::interpose

using namespace causeway::interpose;

CW_INTERPOSE int pthread_create(pthread_t* thread, const pthread_attr_t* attributes, void* (*routine)(void*), void* argument) noexcept {
  const auto real = CW_REAL(pthread_create);
  // Constructors of a module that start threads may wait for them; if that never ends, the module is to be known.
  if (tracked() && is_loading()) record_modules();
  NewThread* fresh = tracked() ? announce_thread(reinterpret_cast<void*>(routine), argument, CW_SITE) : nullptr;
  if (fresh == nullptr) return real(thread, attributes, routine, argument);
  const ThreadId number = fresh->thread;
  const int result = real(thread, attributes, trampoline, fresh);
  if (result == 0) {
    thread_started(*thread, number);
  } else {
    thread_failed(fresh);
  }
  return result;
}

CW_INTERPOSE int pthread_join(pthread_t thread, void** value) {
  const auto real = CW_REAL(pthread_join);
  if (!tracked()) return real(thread, value);
  return join(thread, CW_SITE, false, [&] { return real(thread, value); });
}

CW_INTERPOSE int pthread_timedjoin_np(pthread_t thread, void** value, const timespec* until) {
  const auto real = CW_REAL(pthread_timedjoin_np);
  if (!tracked()) return real(thread, value, until);
  return join(thread, CW_SITE, until != nullptr, [&] { return real(thread, value, until); });
}

CW_INTERPOSE int pthread_clockjoin_np(pthread_t thread, void** value, clockid_t clock, const timespec* until) {
  const auto real = CW_REAL(pthread_clockjoin_np);
  if (!tracked()) return real(thread, value, clock, until);
  return join(thread, CW_SITE, until != nullptr, [&] { return real(thread, value, clock, until); });
}

CW_INTERPOSE int pthread_tryjoin_np(pthread_t thread, void** value) noexcept {
  const int result = CW_REAL(pthread_tryjoin_np)(thread, value);
  if (result == 0 && tracked()) {
    Join join;
    join.target = thread_of(thread);
    join_ends(join, 0);
  }
  return result;
}

CW_INTERPOSE int pthread_setname_np(pthread_t thread, const char* name) noexcept {
  const int result = CW_REAL(pthread_setname_np)(thread, name);
  if (result != 0 || !tracked()) return result;
  const ThreadId named = pthread_equal(thread, pthread_self()) != 0 && ThreadContext::current() != nullptr
                             ? ThreadContext::current()->thread
                             : thread_of(thread);
  if (named == ThreadId::kNone) return result;
  char(&to)[16] = Tracker::get().arena().at<causeway::dept::Thread>(named).name;
  for (unsigned i = 0; i + 1 < sizeof to; ++i) {
    to[i] = *name;
    if (*name != '\0') ++name;
  }
  return result;
}
