// pthread mutexes of every kind. What kind one is stands in the mutex itself (glibc sysdeps/nptl/bits/struct_mutex.h, __kind; the bits
// are those of nptl/pthreadP.h), so that one with a static initialiser, or a std::mutex, which no init call
// announces, is known as well as another.
#include <pthread.h>

#include "interpose/lock_calls.h"
#include "interpose/real.h"

CW_DEFINE_REAL(pthread_mutex_lock);
CW_DEFINE_REAL(pthread_mutex_trylock);
CW_DEFINE_REAL(pthread_mutex_timedlock);
CW_DEFINE_REAL(pthread_mutex_clocklock);
CW_DEFINE_REAL(pthread_mutex_unlock);
CW_DEFINE_REAL(pthread_mutex_init);
CW_DEFINE_REAL(pthread_mutex_destroy);

namespace causeway::interpose {
namespace {

using dept::Misuse;

constexpr unsigned kTypeMask = 3;         // PTHREAD_MUTEX_TIMED_NP ... PTHREAD_MUTEX_ADAPTIVE_NP
constexpr unsigned kRobustBit = 16;       // PTHREAD_MUTEX_ROBUST_NORMAL_NP
constexpr unsigned kInheritBit = 32;      // PTHREAD_MUTEX_PRIO_INHERIT_NP
constexpr unsigned kProtectBit = 64;      // PTHREAD_MUTEX_PRIO_PROTECT_NP

unsigned kind_of(const pthread_mutex_t* mutex) { return static_cast<unsigned>(mutex->__data.__kind); }
bool is_recursive(unsigned kind) { return (kind & kTypeMask) == PTHREAD_MUTEX_RECURSIVE_NP; }
bool is_errorcheck(unsigned kind) { return (kind & kTypeMask) == PTHREAD_MUTEX_ERRORCHECK_NP; }

// Whose unlock fails with EPERM where the caller does not own it.
bool checks_owner(unsigned kind) {
  return is_recursive(kind) || is_errorcheck(kind) || (kind & (kRobustBit | kInheritBit | kProtectBit)) != 0;
}

// By type and robustness, made once: the way of an uncontended lock is short.
struct TraitsOfKinds {
  ObjectTraits of[2][kTypeMask + 1];
  constexpr TraitsOfKinds() {
    for (unsigned robust = 0; robust < 2; ++robust) {
      for (ObjectTraits& traits : of[robust]) traits = {.kind = Kind::kMutex, .flags = robust != 0 ? uint32_t{Object::kRobust} : 0};
      of[robust][PTHREAD_MUTEX_RECURSIVE_NP].flags |= Object::kRecursive;
      of[robust][PTHREAD_MUTEX_ERRORCHECK_NP].flags |= Object::kErrorCheck;
    }
  }
};
constexpr TraitsOfKinds kTraits;

const ObjectTraits& traits_of(unsigned kind) { return kTraits.of[(kind & kRobustBit) != 0][kind & kTypeMask]; }
const ObjectTraits& traits_of_mutex(const pthread_mutex_t* mutex) { return traits_of(kind_of(mutex)); }

[[gnu::noinline]] int lock_slowly(pthread_mutex_t* mutex, Mode mode, Site site) {
  const auto real = CW_REAL(pthread_mutex_lock);
  if (!tracked()) return real(mutex);
  return take(mutex, traits_of_mutex(mutex), mode, site, {}, [=] { return real(mutex); });
}

[[gnu::noinline]] int trylock_slowly(pthread_mutex_t* mutex, Site site) {
  const auto real = CW_REAL(pthread_mutex_trylock);
  if (!tracked()) return real(mutex);
  return take_try(mutex, traits_of_mutex(mutex), Mode::kWrite, site, [=] { return real(mutex); });
}

[[gnu::noinline]] int unlock_slowly(pthread_mutex_t* mutex, Site site) {
  const auto real = CW_REAL(pthread_mutex_unlock);
  if (!tracked()) return real(mutex);
  if (checks_owner(kind_of(mutex)) && mutex->__data.__owner != gate.tid) {
    const int result = real(mutex);
    if (result == EPERM) refused(mutex, Misuse::kUnlockNotHeld, site);
    return result;
  }
  if (!dept::locks::release_known<false>(mutex)) release(mutex, traits_of_mutex(mutex), site);
  return real(mutex);
}

}  // namespace
}  // namespace causeway::interpose

using namespace causeway::interpose;
using namespace causeway::dept::locks;

CW_INTERPOSE int pthread_mutex_lock(pthread_mutex_t* mutex) noexcept {
  return take_known<false, Mode::kWrite>(mutex, CW_REAL_FOUND(pthread_mutex_lock), lock_slowly, traits_of_mutex);
}

CW_INTERPOSE int pthread_mutex_timedlock(pthread_mutex_t* mutex, const timespec* until) noexcept {
  const auto real = CW_REAL(pthread_mutex_timedlock);
  if (!tracked()) return real(mutex, until);
  return take_timed(mutex, traits_of(kind_of(mutex)), Mode::kWrite, CW_SITE, [&] { return real(mutex, until); });
}

CW_INTERPOSE int pthread_mutex_clocklock(pthread_mutex_t* mutex, clockid_t clock, const timespec* until) noexcept {
  const auto real = CW_REAL(pthread_mutex_clocklock);
  if (!tracked()) return real(mutex, clock, until);
  return take_timed(mutex, traits_of(kind_of(mutex)), Mode::kWrite, CW_SITE, [&] { return real(mutex, clock, until); });
}

CW_INTERPOSE int pthread_mutex_trylock(pthread_mutex_t* mutex) noexcept {
  if (!is_open()) return trylock_slowly(mutex, CW_SITE);
  const int result = CW_REAL_FOUND(pthread_mutex_trylock)(mutex);
  if (result != 0 || !hold_known_try<false>(mutex, Mode::kWrite, CW_SITE)) [[unlikely]]
    end_try(mutex, traits_of_mutex(mutex), Mode::kWrite, CW_SITE, result);
  return result;
}

CW_INTERPOSE int pthread_mutex_unlock(pthread_mutex_t* mutex) noexcept {
  if (release_known<false>(mutex)) [[likely]] return CW_REAL_FOUND(pthread_mutex_unlock)(mutex);
  return unlock_slowly(mutex, CW_SITE);
}

CW_INTERPOSE int pthread_mutex_init(pthread_mutex_t* mutex, const pthread_mutexattr_t* attributes) noexcept {
  const int result = CW_REAL(pthread_mutex_init)(mutex, attributes);
  if (result == 0 && tracked()) {
    const KeepErrno errno_is_kept;
    Tracker::get().object_born(mutex, traits_of(kind_of(mutex)), CW_SITE);
  }
  return result;
}

CW_INTERPOSE int pthread_mutex_destroy(pthread_mutex_t* mutex) noexcept {
  const int result = CW_REAL(pthread_mutex_destroy)(mutex);
  if (!tracked()) return result;
  if (result == EBUSY) refused(mutex, Misuse::kDestroyHeld, CW_SITE);
  if (result == 0) {
    const KeepErrno errno_is_kept;
    Tracker::get().object_died(mutex);
  }
  return result;
}
