// pthread reader-writer locks. Readers pass waiting writers but for one kind, which stands in the lock itself (glibc
// sysdeps/nptl/bits/struct_rwlock.h, __flags): where it is PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP they queue.
#include <pthread.h>

#include "interpose/lock_calls.h"
#include "interpose/real.h"

CW_DEFINE_REAL(pthread_rwlock_rdlock);
CW_DEFINE_REAL(pthread_rwlock_tryrdlock);
CW_DEFINE_REAL(pthread_rwlock_timedrdlock);
CW_DEFINE_REAL(pthread_rwlock_clockrdlock);
CW_DEFINE_REAL(pthread_rwlock_wrlock);
CW_DEFINE_REAL(pthread_rwlock_trywrlock);
CW_DEFINE_REAL(pthread_rwlock_timedwrlock);
CW_DEFINE_REAL(pthread_rwlock_clockwrlock);
CW_DEFINE_REAL(pthread_rwlock_unlock);
CW_DEFINE_REAL(pthread_rwlock_init);
CW_DEFINE_REAL(pthread_rwlock_destroy);

namespace causeway::interpose {
namespace {

constexpr ObjectTraits kTraits{.kind = Kind::kRwLock, .flags = Object::kReaderLock};
constexpr ObjectTraits kQueuedTraits{.kind = Kind::kRwLock, .flags = Object::kReaderLock | Object::kQueued};

const ObjectTraits& traits_of(const pthread_rwlock_t* lock) {
  return lock->__data.__flags == PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP ? kQueuedTraits : kTraits;
}

// Who writes already is refused, and does not wait.
template <typename Real>
int lock(pthread_rwlock_t* rwlock, Mode mode, Site site, bool timed, Real&& real) {
  if (__builtin_expect(rwlock->__data.__cur_writer == gate.tid, 0)) {
    const int result = real();
    if (result == EDEADLK) refused(rwlock, dept::Misuse::kErrorIgnored, site);
    return result;
  }
  return take(rwlock, traits_of(rwlock), mode, site, {.timed = timed}, real);
}

[[gnu::noinline]] int lock_slowly(pthread_rwlock_t* rwlock, Mode mode, Site site) {
  const auto real = mode == Mode::kRead ? CW_REAL(pthread_rwlock_rdlock) : CW_REAL(pthread_rwlock_wrlock);
  if (!tracked()) return real(rwlock);
  return lock(rwlock, mode, site, false, [=] { return real(rwlock); });
}

[[gnu::noinline]] int unlock_slowly(pthread_rwlock_t* rwlock, Site site) {
  const auto real = CW_REAL(pthread_rwlock_unlock);
  if (!tracked()) return real(rwlock);
  release(rwlock, traits_of(rwlock), site);
  return real(rwlock);
}

}  // namespace
}  // namespace causeway::interpose

using namespace causeway::interpose;
using namespace causeway::dept::locks;

CW_INTERPOSE int pthread_rwlock_rdlock(pthread_rwlock_t* rwlock) noexcept {
  if (rwlock->__data.__cur_writer != 0) [[unlikely]] return lock_slowly(rwlock, Mode::kRead, CW_SITE);
  return take_known<true, Mode::kRead>(rwlock, CW_REAL_FOUND(pthread_rwlock_rdlock), lock_slowly, traits_of);
}

CW_INTERPOSE int pthread_rwlock_wrlock(pthread_rwlock_t* rwlock) noexcept {
  if (rwlock->__data.__cur_writer != 0) [[unlikely]] return lock_slowly(rwlock, Mode::kWrite, CW_SITE);
  return take_known<true, Mode::kWrite>(rwlock, CW_REAL_FOUND(pthread_rwlock_wrlock), lock_slowly, traits_of);
}

CW_INTERPOSE int pthread_rwlock_timedrdlock(pthread_rwlock_t* rwlock, const timespec* until) noexcept {
  const auto real = CW_REAL(pthread_rwlock_timedrdlock);
  if (!tracked()) return real(rwlock, until);
  return lock(rwlock, Mode::kRead, CW_SITE, true, [&] { return real(rwlock, until); });
}

CW_INTERPOSE int pthread_rwlock_timedwrlock(pthread_rwlock_t* rwlock, const timespec* until) noexcept {
  const auto real = CW_REAL(pthread_rwlock_timedwrlock);
  if (!tracked()) return real(rwlock, until);
  return lock(rwlock, Mode::kWrite, CW_SITE, true, [&] { return real(rwlock, until); });
}

CW_INTERPOSE int pthread_rwlock_clockrdlock(pthread_rwlock_t* rwlock, clockid_t clock, const timespec* until) noexcept {
  const auto real = CW_REAL(pthread_rwlock_clockrdlock);
  if (!tracked()) return real(rwlock, clock, until);
  return lock(rwlock, Mode::kRead, CW_SITE, true, [&] { return real(rwlock, clock, until); });
}

CW_INTERPOSE int pthread_rwlock_clockwrlock(pthread_rwlock_t* rwlock, clockid_t clock, const timespec* until) noexcept {
  const auto real = CW_REAL(pthread_rwlock_clockwrlock);
  if (!tracked()) return real(rwlock, clock, until);
  return lock(rwlock, Mode::kWrite, CW_SITE, true, [&] { return real(rwlock, clock, until); });
}

CW_INTERPOSE int pthread_rwlock_tryrdlock(pthread_rwlock_t* rwlock) noexcept {
  const auto real = CW_REAL(pthread_rwlock_tryrdlock);
  if (!tracked()) return real(rwlock);
  return take_try(rwlock, traits_of(rwlock), Mode::kRead, CW_SITE, [&] { return real(rwlock); });
}

CW_INTERPOSE int pthread_rwlock_trywrlock(pthread_rwlock_t* rwlock) noexcept {
  const auto real = CW_REAL(pthread_rwlock_trywrlock);
  if (!tracked()) return real(rwlock);
  return take_try(rwlock, traits_of(rwlock), Mode::kWrite, CW_SITE, [&] { return real(rwlock); });
}

CW_INTERPOSE int pthread_rwlock_unlock(pthread_rwlock_t* rwlock) noexcept {
  if (release_known<true>(rwlock)) [[likely]] return CW_REAL_FOUND(pthread_rwlock_unlock)(rwlock);
  return unlock_slowly(rwlock, CW_SITE);
}

CW_INTERPOSE int pthread_rwlock_init(pthread_rwlock_t* rwlock, const pthread_rwlockattr_t* attributes) noexcept {
  const int result = CW_REAL(pthread_rwlock_init)(rwlock, attributes);
  if (result == 0 && tracked()) {
    const KeepErrno errno_is_kept;
    Tracker::get().object_born(rwlock, traits_of(rwlock), CW_SITE);
  }
  return result;
}

CW_INTERPOSE int pthread_rwlock_destroy(pthread_rwlock_t* rwlock) noexcept {
  const int result = CW_REAL(pthread_rwlock_destroy)(rwlock);
  if (result == 0 && tracked()) {
    const KeepErrno errno_is_kept;
    Tracker::get().object_died(rwlock);
  }
  return result;
}
