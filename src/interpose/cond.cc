// Condition variables. The mutex that is passed is not held during the wait and is taken again after it, also when the wait ends by
// cancellation: the C library has taken it again before the first cleanup handler runs, and ours is the first.
#include <errno.h>
#include <pthread.h>

#include "dept/sleeps.h"
#include "interpose/bootstrap.h"
#include "interpose/condition.h"
#include "interpose/real.h"

using namespace causeway::dept;
using namespace causeway::interpose;

CW_DEFINE_REAL(pthread_cond_init);
CW_DEFINE_REAL(pthread_cond_destroy);
CW_DEFINE_REAL(pthread_cond_wait);
CW_DEFINE_REAL(pthread_cond_timedwait);
CW_DEFINE_REAL(pthread_cond_clockwait);
CW_DEFINE_REAL(pthread_cond_signal);
CW_DEFINE_REAL(pthread_cond_broadcast);

CW_INTERPOSE int pthread_cond_init(pthread_cond_t* cond, const pthread_condattr_t* attributes) noexcept {
  const int error = CW_REAL(pthread_cond_init)(cond, attributes);
  if (error == 0 && tracked()) condition::born(cond, CW_SITE);
  return error;
}

CW_INTERPOSE int pthread_cond_destroy(pthread_cond_t* cond) noexcept {
  if (!tracked()) return CW_REAL(pthread_cond_destroy)(cond);
  return condition::destroy(cond, CW_SITE, [cond] { return CW_REAL(pthread_cond_destroy)(cond); });
}

CW_INTERPOSE int pthread_cond_wait(pthread_cond_t* cond, pthread_mutex_t* mutex) {
  if (!tracked()) return CW_REAL(pthread_cond_wait)(cond, mutex);
  return condition::wait(cond, mutex, CW_SITE, condition::Limit::kNone, pthread_results,
                         [=] { return CW_REAL(pthread_cond_wait)(cond, mutex); });
}

CW_INTERPOSE int pthread_cond_timedwait(pthread_cond_t* cond, pthread_mutex_t* mutex, const timespec* until) {
  if (!tracked()) return CW_REAL(pthread_cond_timedwait)(cond, mutex, until);
  return condition::wait(cond, mutex, CW_SITE, condition::Limit::kTimed, pthread_results,
                         [=] { return CW_REAL(pthread_cond_timedwait)(cond, mutex, until); });
}

CW_INTERPOSE int pthread_cond_clockwait(pthread_cond_t* cond, pthread_mutex_t* mutex, clockid_t clock, const timespec* until) {
  if (!tracked()) return CW_REAL(pthread_cond_clockwait)(cond, mutex, clock, until);
  return condition::wait(cond, mutex, CW_SITE, condition::Limit::kTimed, pthread_results,
                         [=] { return CW_REAL(pthread_cond_clockwait)(cond, mutex, clock, until); });
}

CW_INTERPOSE int pthread_cond_signal(pthread_cond_t* cond) noexcept {
  condition::wake(cond, CW_SITE, sleeps::Wakes::kOne);
  return CW_REAL(pthread_cond_signal)(cond);
}

CW_INTERPOSE int pthread_cond_broadcast(pthread_cond_t* cond) noexcept {
  condition::wake(cond, CW_SITE, sleeps::Wakes::kAll);
  return CW_REAL(pthread_cond_broadcast)(cond);
}
