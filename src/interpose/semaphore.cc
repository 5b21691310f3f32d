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

template <typename Real>
int take(sem_t* sem, Site site, bool timed, Real real) {
  Taking taking;
  semaphore::begin(taking, sem, site, timed);
  const int result = real();
  semaphore::end(taking, result == 0          ? sleeps::Outcome::kWoken
                         : errno == EINTR     ? sleeps::Outcome::kInterrupted
                         : errno == ETIMEDOUT ? sleeps::Outcome::kTimedOut
                                              : sleeps::Outcome::kDidNotSleep);
  return result;
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
  if (!tracked()) return CW_REAL(sem_wait)(sem);
  return take(sem, CW_SITE, false, [sem] { return CW_REAL(sem_wait)(sem); });
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
  if (tracked()) semaphore::post(sem, CW_SITE);
  return CW_REAL(sem_post)(sem);
}
