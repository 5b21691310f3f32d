// pthread spin locks. They do not sleep, and block all the same.
#include <pthread.h>

#include "interpose/lock_calls.h"
#include "interpose/real.h"

CW_DEFINE_REAL(pthread_spin_lock);
CW_DEFINE_REAL(pthread_spin_trylock);
CW_DEFINE_REAL(pthread_spin_unlock);
CW_DEFINE_REAL(pthread_spin_init);
CW_DEFINE_REAL(pthread_spin_destroy);

using namespace causeway::interpose;

namespace {
constexpr ObjectTraits kTraits{.kind = Kind::kSpinLock};
const ObjectTraits& traits_of(const pthread_spinlock_t*) { return kTraits; }

int lock_slowly(pthread_spinlock_t* lock, Mode mode, Site site) {
  const auto real = CW_REAL(pthread_spin_lock);
  if (!tracked()) return real(lock);
  return take(address_of(lock), kTraits, mode, site, {}, [=] { return real(lock); });
}

int unlock_slowly(pthread_spinlock_t* lock, Site site) {
  const auto real = CW_REAL(pthread_spin_unlock);
  if (!tracked()) return real(lock);
  release(address_of(lock), kTraits, site);
  return real(lock);
}
}  // namespace

CW_INTERPOSE int pthread_spin_lock(pthread_spinlock_t* lock) noexcept {
  return take_known<false, Mode::kWrite>(lock, CW_REAL_FOUND(pthread_spin_lock), lock_slowly, traits_of);
}

CW_INTERPOSE int pthread_spin_trylock(pthread_spinlock_t* lock) noexcept {
  const auto real = CW_REAL(pthread_spin_trylock);
  if (!tracked()) return real(lock);
  return take_try(address_of(lock), kTraits, Mode::kWrite, CW_SITE, [&] { return real(lock); });
}

CW_INTERPOSE int pthread_spin_unlock(pthread_spinlock_t* lock) noexcept {
  if (causeway::dept::locks::release_known<false>(address_of(lock))) [[likely]] return CW_REAL_FOUND(pthread_spin_unlock)(lock);
  return unlock_slowly(lock, CW_SITE);
}

CW_INTERPOSE int pthread_spin_init(pthread_spinlock_t* lock, int shared) noexcept {
  const int result = CW_REAL(pthread_spin_init)(lock, shared);
  if (result == 0 && tracked()) {
    const KeepErrno errno_is_kept;
    Tracker::get().object_born(address_of(lock), kTraits, CW_SITE);
  }
  return result;
}

CW_INTERPOSE int pthread_spin_destroy(pthread_spinlock_t* lock) noexcept {
  const int result = CW_REAL(pthread_spin_destroy)(lock);
  if (result == 0 && tracked()) {
    const KeepErrno errno_is_kept;
    Tracker::get().object_died(address_of(lock));
  }
  return result;
}
