// Semaphores, which are locks, pools or signals by how they are used (interpose/semaphore_role.h).
#include <errno.h>
#include <fcntl.h>
#include <semaphore.h>
#include <stdarg.h>

#include "interpose/bootstrap.h"
#include "interpose/real.h"
#include "interpose/semaphore_role.h"

using namespace causeway::dept;
using namespace causeway::interpose;

CW_DEFINE_REAL(sem_init);
CW_DEFINE_REAL(sem_destroy);
CW_DEFINE_REAL(sem_open);
CW_DEFINE_REAL(sem_wait);
CW_DEFINE_REAL(sem_trywait);
CW_DEFINE_REAL(sem_timedwait);
CW_DEFINE_REAL(sem_clockwait);
CW_DEFINE_REAL(sem_post);

namespace {

using semaphore::Taking;

sleeps::Outcome outcome_of(int result) {
  return result == 0          ? sleeps::Outcome::kWoken
         : errno == EINTR     ? sleeps::Outcome::kInterrupted
         : errno == ETIMEDOUT ? sleeps::Outcome::kTimedOut
                              : sleeps::Outcome::kDidNotSleep;
}

template <typename Real>
int take(sem_t* sem, Site site, bool timed, Real real) {
  Taking taking;
  semaphore::begin(taking, sem, site, timed);
  const int result = real();
  semaphore::end(taking, outcome_of(result));
  return result;
}

// One that was announced as known, and was interrupted, or disturbed by a handler.
[[gnu::noinline]] void end_slowly(sem_t* sem, Site site, int result) {
  Taking taking{.object = Tracker::get().find_object(sem), .site = site, .role = semaphore::Role::kLock};
  semaphore::end(taking, outcome_of(result));
}

[[gnu::noinline]] int wait_slowly(sem_t* sem, Site site) {
  const auto real = CW_REAL(sem_wait);
  if (locks::Announced announced; semaphore::begin_renewed(announced, sem, site)) {
    const int result = real(sem);
    if (result != 0 || !locks::hold_known(announced)) [[unlikely]] end_slowly(sem, site, result);
    return result;
  }
  if (!tracked()) return real(sem);
  return take(sem, site, false, [=] { return real(sem); });
}

[[gnu::noinline]] int post_slowly(sem_t* sem, Site site) {
  const CachedObject* known = sleeps::known_wake(sem);
  if (known != nullptr && (known->object->flags.load(std::memory_order_relaxed) & Object::kSignalLike) != 0) sleeps::repeat_wake(*known);
  else if (tracked()) semaphore::post(sem, site);
  return CW_REAL(sem_post)(sem);
}

}  // namespace

CW_INTERPOSE int sem_init(sem_t* sem, int shared, unsigned value) noexcept {
  const int result = CW_REAL(sem_init)(sem, shared, value);
  if (result == 0 && tracked()) semaphore::born(sem, value, nullptr, CW_SITE);
  return result;
}

CW_INTERPOSE int sem_destroy(sem_t* sem) noexcept {
  const int result = CW_REAL(sem_destroy)(sem);
  if (result == 0 && tracked()) semaphore::died(sem);
  return result;
}

CW_INTERPOSE sem_t* sem_open(const char* name, int flags, ...) noexcept {
  mode_t mode = 0;
  unsigned value = 0;
  if ((flags & O_CREAT) != 0) {
    va_list more;
    va_start(more, flags);
    mode = va_arg(more, mode_t);
    value = va_arg(more, unsigned);
    va_end(more);
  }
  sem_t* sem = CW_REAL(sem_open)(name, flags, mode, value);
  if (sem != SEM_FAILED && tracked()) semaphore::opened(sem, name, CW_SITE);
  return sem;
}

CW_INTERPOSE int sem_wait(sem_t* sem) {
  locks::Announced announced;
  if (!semaphore::begin_known(announced, sem, CW_SITE)) [[unlikely]] return wait_slowly(sem, CW_SITE);
  const int result = CW_REAL_FOUND(sem_wait)(sem);
  if (result != 0 || !locks::hold_known(announced)) [[unlikely]] end_slowly(sem, CW_SITE, result);
  return result;
}

CW_INTERPOSE int sem_timedwait(sem_t* sem, const timespec* until) {
  if (!tracked()) return CW_REAL(sem_timedwait)(sem, until);
  return take(sem, CW_SITE, true, [=] { return CW_REAL(sem_timedwait)(sem, until); });
}

CW_INTERPOSE int sem_clockwait(sem_t* sem, clockid_t clock, const timespec* until) {
  if (!tracked()) return CW_REAL(sem_clockwait)(sem, clock, until);
  return take(sem, CW_SITE, true, [=] { return CW_REAL(sem_clockwait)(sem, clock, until); });
}

CW_INTERPOSE int sem_trywait(sem_t* sem) noexcept {
  const int result = CW_REAL(sem_trywait)(sem);
  if (result == 0 && tracked()) semaphore::taken_by_try(sem, CW_SITE);
  return result;
}

CW_INTERPOSE int sem_post(sem_t* sem) noexcept {
  if (semaphore::post_known(sem)) [[likely]] return CW_REAL_FOUND(sem_post)(sem);
  return post_slowly(sem, CW_SITE);
}
