// C11 threads. The C library's own calls inside itself, not the POSIX functions, so each has a wrapper of its own.
#include <pthread.h>
#include <threads.h>

#include "interpose/condition.h"
#include "interpose/lock_calls.h"
#include "interpose/real.h"
#include "interpose/thread.h"

using namespace causeway::dept;
using namespace causeway::interpose;

CW_DEFINE_REAL(mtx_init);
CW_DEFINE_REAL(mtx_destroy);
CW_DEFINE_REAL(mtx_lock);
CW_DEFINE_REAL(mtx_trylock);
CW_DEFINE_REAL(mtx_timedlock);
CW_DEFINE_REAL(mtx_unlock);
CW_DEFINE_REAL(cnd_init);
CW_DEFINE_REAL(cnd_destroy);
CW_DEFINE_REAL(cnd_wait);
CW_DEFINE_REAL(cnd_timedwait);
CW_DEFINE_REAL(cnd_signal);
CW_DEFINE_REAL(cnd_broadcast);
CW_DEFINE_REAL(thrd_create);
CW_DEFINE_REAL(thrd_join);

namespace {

constexpr Results c11_results{thrd_success, thrd_timedout};

// glibc makes it of a pthread_mutex_t.
static_assert(sizeof(mtx_t) == sizeof(pthread_mutex_t));

ObjectTraits traits_of(const mtx_t* mutex) {
  const int kind = reinterpret_cast<const pthread_mutex_t*>(mutex)->__data.__kind;
  return {.kind = Kind::kMutex, .flags = (kind & 3) == PTHREAD_MUTEX_RECURSIVE_NP ? uint32_t{Object::kRecursive} : 0};
}

// In the words of lock_calls.h, which are those of POSIX.
int as_posix(int result) {
  switch (result) {
    case thrd_success: return 0;
    case thrd_busy: return EBUSY;
    case thrd_timedout: return ETIMEDOUT;
    default: return EINVAL;
  }
}

int run_thread(void* fresh) {
  const ThreadStart start = begin_thread(static_cast<NewThread*>(fresh));
  return reinterpret_cast<thrd_start_t>(start.routine)(start.argument);
}

}  // namespace

CW_INTERPOSE int mtx_init(mtx_t* mutex, int type) noexcept {
  const int result = CW_REAL(mtx_init)(mutex, type);
  if (result == thrd_success && tracked()) {
    const KeepErrno errno_is_kept;
    Tracker::get().object_born(mutex, traits_of(mutex), CW_SITE);
  }
  return result;
}

CW_INTERPOSE void mtx_destroy(mtx_t* mutex) noexcept {
  if (tracked()) {
    const KeepErrno errno_is_kept;
    Tracker::get().object_died(mutex);
  }
  CW_REAL(mtx_destroy)(mutex);
}

CW_INTERPOSE int mtx_lock(mtx_t* mutex) {
  if (!tracked()) return CW_REAL(mtx_lock)(mutex);
  int result = 0;
  take(mutex, traits_of(mutex), Mode::kWrite, CW_SITE, {}, [&] { return as_posix(result = CW_REAL(mtx_lock)(mutex)); });
  return result;
}

CW_INTERPOSE int mtx_timedlock(mtx_t* mutex, const timespec* until) {
  if (!tracked()) return CW_REAL(mtx_timedlock)(mutex, until);
  int result = 0;
  take_timed(mutex, traits_of(mutex), Mode::kWrite, CW_SITE,
       [&] { return as_posix(result = CW_REAL(mtx_timedlock)(mutex, until)); });
  return result;
}

CW_INTERPOSE int mtx_trylock(mtx_t* mutex) {
  if (!tracked()) return CW_REAL(mtx_trylock)(mutex);
  int result = 0;
  take_try(mutex, traits_of(mutex), Mode::kWrite, CW_SITE, [&] { return as_posix(result = CW_REAL(mtx_trylock)(mutex)); });
  return result;
}

CW_INTERPOSE int mtx_unlock(mtx_t* mutex) noexcept {
  if (tracked()) release(mutex, traits_of(mutex), CW_SITE);
  return CW_REAL(mtx_unlock)(mutex);
}

CW_INTERPOSE int cnd_init(cnd_t* cond) {
  const int result = CW_REAL(cnd_init)(cond);
  if (result == thrd_success && tracked()) condition::born(cond, CW_SITE);
  return result;
}

CW_INTERPOSE void cnd_destroy(cnd_t* cond) {
  if (!tracked()) return CW_REAL(cnd_destroy)(cond);
  condition::destroy(cond, CW_SITE, [cond] {
    CW_REAL(cnd_destroy)(cond);
    return 0;
  });
}

CW_INTERPOSE int cnd_wait(cnd_t* cond, mtx_t* mutex) {
  if (!tracked()) return CW_REAL(cnd_wait)(cond, mutex);
  return condition::wait(cond, mutex, CW_SITE, condition::Limit::kNone, c11_results,
                         [=] { return CW_REAL(cnd_wait)(cond, mutex); });
}

CW_INTERPOSE int cnd_timedwait(cnd_t* cond, mtx_t* mutex, const timespec* until) {
  if (!tracked()) return CW_REAL(cnd_timedwait)(cond, mutex, until);
  return condition::wait(cond, mutex, CW_SITE, condition::Limit::kTimed, c11_results,
                         [=] { return CW_REAL(cnd_timedwait)(cond, mutex, until); });
}

CW_INTERPOSE int cnd_signal(cnd_t* cond) {
  condition::wake(cond, CW_SITE, sleeps::Wakes::kOne);
  return CW_REAL(cnd_signal)(cond);
}

CW_INTERPOSE int cnd_broadcast(cnd_t* cond) {
  condition::wake(cond, CW_SITE, sleeps::Wakes::kAll);
  return CW_REAL(cnd_broadcast)(cond);
}

CW_INTERPOSE int thrd_create(thrd_t* thread, thrd_start_t routine, void* argument) {
  if (!tracked()) return CW_REAL(thrd_create)(thread, routine, argument);
  NewThread* fresh = announce_thread(reinterpret_cast<void*>(routine), argument, CW_SITE);
  if (fresh == nullptr) return CW_REAL(thrd_create)(thread, routine, argument);
  const ThreadId id = fresh->thread;
  const int result = CW_REAL(thrd_create)(thread, run_thread, fresh);
  if (result == thrd_success) {
    thread_started(*thread, id);
  } else {
    thread_failed(fresh);
  }
  return result;
}

CW_INTERPOSE int thrd_join(thrd_t thread, int* answer) {
  if (!tracked()) return CW_REAL(thrd_join)(thread, answer);
  Join join;
  join_begins(join, thread, CW_SITE, false);
  volatile int result = 0;
  pthread_cleanup_push(abandon_join, &join);
  result = CW_REAL(thrd_join)(thread, answer);
  pthread_cleanup_pop(0);
  join_ends(join, as_posix(result));
  return result;
}
