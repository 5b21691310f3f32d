#include "interpose/once.h"

#include <pthread.h>
#include <threads.h>

#include <atomic>

#include "dept/locks.h"
#include "interpose/bootstrap.h"
#include "interpose/real.h"

using namespace causeway::dept;
using namespace causeway::interpose;

CW_DEFINE_REAL(pthread_once);
CW_DEFINE_REAL(call_once);

namespace causeway::interpose::once {

ObjectId waits(const void* control, Kind kind, Done done, Site site) {
  const KeepErrno errno_is_kept;
  Tracker& tracker = Tracker::get();
  ThreadContext* self = ThreadContext::current();
  if (self == nullptr) return ObjectId::kNone;
  if (done == Done::kNo) {
    const ObjectId object = tracker.object_at(control, {.kind = kind}, site);
    locks::acquiring(object, locks::Mode::kWrite, site, {});
    return object;
  }
  if (!tracker.settings().predict || self->held() == 0) return ObjectId::kNone;
  const ObjectId object = tracker.find_object(control);
  if (object == ObjectId::kNone || tracker.holds(self, object, bit(Event::kWrite))) return ObjectId::kNone;
  tracker.wait(self, object, bit(Event::kWrite), site, {.flags = Witness::kPredicted});
  return object;
}

void runs(ObjectId object, Site site) noexcept {
  const KeepErrno errno_is_kept;
  locks::acquired(object, locks::Mode::kWrite, site, {});
}

void ran(ObjectId object, Site site) noexcept {
  const KeepErrno errno_is_kept;
  if (ThreadContext* self = ThreadContext::current()) Tracker::get().order().release(*self, object);
  locks::releasing(object, site);
}

void others_ran(ObjectId object) {
  const KeepErrno errno_is_kept;
  locks::not_acquired(object);
  if (ThreadContext* self = ThreadContext::current()) Tracker::get().order().acquire(*self, object);
}

namespace {

// The routine that the C library is about to run on this thread, if it is us who run it.
struct Next {
  void (*routine)();
  ObjectId object;
  Site site;
};
thread_local Next* next = nullptr;

void run_next() {
  const Next mine = *next;
  next = nullptr;
  run(mine.object, mine.site, mine.routine);
}

// glibc sysdeps/nptl/pthreadP.h: the word of a control that is through.
constexpr int kDoneBit = 2;
bool is_done(const int* control) {
  return (std::atomic_ref<int>(*const_cast<int*>(control)).load(std::memory_order_acquire) & kDoneBit) != 0;
}

// Returns whether the routine has been run by the real call.
template <typename Real>
auto call(int* control, void (*routine)(), Site site, Real real) {
  const bool done = is_done(control);
  const ObjectId object = waits(control, Kind::kOnce, done ? Done::kYes : Done::kNo, site);
  Next mine{routine, object, site};
  Next* const outer = next;
  next = &mine;
  real();
  const bool was_us = next != &mine;
  next = outer;
  if (!was_us && object != ObjectId::kNone) others_ran(object);
}

}  // namespace
}  // namespace causeway::interpose::once

CW_INTERPOSE int pthread_once(pthread_once_t* control, void (*routine)()) {
  if (!tracked()) return CW_REAL(pthread_once)(control, routine);
  int result = 0;
  once::call(control, routine, CW_SITE, [&] { result = CW_REAL(pthread_once)(control, once::run_next); });
  return result;
}

static_assert(sizeof(once_flag) == sizeof(int));

CW_INTERPOSE void call_once(once_flag* flag, void (*routine)()) {
  if (!tracked()) return CW_REAL(call_once)(flag, routine);
  once::call(reinterpret_cast<int*>(flag), routine, CW_SITE, [&] { CW_REAL(call_once)(flag, once::run_next); });
}
