// Barriers: an arrival is the event first, for those who sleep there, and then a wait for the others. Who comes last does not sleep, but
// could have. The barrier never depends on itself.
#include <pthread.h>

#include "interpose/bootstrap.h"
#include "interpose/real.h"
#include "interpose/sleeping.h"

using namespace causeway::dept;
using namespace causeway::interpose;

CW_DEFINE_REAL(pthread_barrier_init);
CW_DEFINE_REAL(pthread_barrier_destroy);
CW_DEFINE_REAL(pthread_barrier_wait);

CW_INTERPOSE int pthread_barrier_init(pthread_barrier_t* barrier, const pthread_barrierattr_t* attributes,
                                      unsigned count) noexcept {
  const int error = CW_REAL(pthread_barrier_init)(barrier, attributes, count);
  if (error == 0 && tracked()) {
    const KeepErrno errno_is_kept;
    Tracker& tracker = Tracker::get();
    const ObjectId object = tracker.object_born(barrier, {.kind = Kind::kBarrier}, CW_SITE);
    if (object != ObjectId::kNone) tracker.arena().at<Object>(object).value.store(count, std::memory_order_relaxed);
  }
  return error;
}

CW_INTERPOSE int pthread_barrier_destroy(pthread_barrier_t* barrier) noexcept {
  const int error = CW_REAL(pthread_barrier_destroy)(barrier);
  if (error == 0 && tracked()) {
    const KeepErrno errno_is_kept;
    Tracker::get().object_died(barrier);
  }
  return error;
}

CW_INTERPOSE int pthread_barrier_wait(pthread_barrier_t* barrier) noexcept {
  if (!tracked()) return CW_REAL(pthread_barrier_wait)(barrier);
  sleeping::Slot* slot = nullptr;
  const Site site = CW_SITE;
  {
    const KeepErrno errno_is_kept;
    Tracker& tracker = Tracker::get();
    const ObjectId object = tracker.object_at(barrier, {.kind = Kind::kBarrier}, site);
    const bool alone = object == ObjectId::kNone || tracker.arena().at<Object>(object).value.load(std::memory_order_relaxed) == 1;
    if (!alone) {
      sleeps::wake(object, site, sleeps::Wakes::kAll);
      slot = sleeping::begin(object, site, {});
    }
  }
  const int result = CW_REAL(pthread_barrier_wait)(barrier);
  const KeepErrno errno_is_kept;
  sleeping::end(slot, sleeps::Outcome::kWoken);
  return result;
}
