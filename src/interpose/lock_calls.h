// The way of a lock through the tracker, whatever kind it is: announce, call, follow what was returned.
//
//   return take_known<false, Mode::kWrite>(mutex, CW_REAL_FOUND(pthread_mutex_lock), lock_slowly, traits_of);
//   return take(mutex, traits, Mode::kWrite, CW_SITE, {}, [&] { return CW_REAL(pthread_mutex_lock)(mutex); });
//   return take_timed(mutex, traits, Mode::kWrite, CW_SITE, [&] { return CW_REAL(pthread_mutex_timedlock)(mutex, until); });
//   return take_try(mutex, traits, Mode::kWrite, CW_SITE, [&] { return CW_REAL(pthread_mutex_trylock)(mutex); });
//
// EOWNERDEAD is success: the lock is ours, and its state is in doubt. Only where tracked() has said yes, but for what
// is known: that is the way of an uncontended lock, and everything that is not needed there stands in functions of its own.
#pragma once

#include <errno.h>

#include "dept/known_locks.h"
#include "dept/locks.h"
#include "dept/tracker.h"
#include "interpose/bootstrap.h"

namespace causeway::interpose {

using dept::Kind;
using dept::Object;
using dept::ObjectId;
using dept::ObjectTraits;
using dept::Site;
using dept::Tracker;
using dept::locks::Mode;

inline bool is_taken(int result) { return result == 0 || result == EOWNERDEAD; }

template <typename Real>
int take(const void* address, const ObjectTraits& traits, Mode mode, Site site, const dept::locks::How& how, Real&& real) {
  const int error = *gate.errno_address;
  const ObjectId object = dept::locks::acquiring_at(address, traits, mode, site, how);
  *gate.errno_address = error;
  const int result = real();
  if (is_taken(result)) {
    dept::locks::acquired(object, mode, site, how);
  } else {
    dept::locks::not_acquired(object);
  }
  *gate.errno_address = error;
  return result;
}

// What has been announced as known, and did not go well, or was interrupted.
void end_slowly(const void* address, const ObjectTraits& traits, Mode mode, Site site, int result);

template <typename Real>
int take_timed(const void* address, const ObjectTraits& traits, Mode mode, Site site, Real&& real) {
  return take(address, traits, mode, site, {.timed = true}, real);
}

void end_try(const void* address, const ObjectTraits& traits, Mode mode, Site site, int result);

template <typename Real>
int take_try(const void* address, const ObjectTraits& traits, Mode mode, Site site, Real&& real) {
  const int result = real();
  end_try(address, traits, mode, site, result);
  return result;
}

// Before the real unlock: once it is unlocked, another thread may free it.
void release(const void* address, const ObjectTraits& traits, Site site);

inline const void* address_of(const volatile void* lock) { return const_cast<const void*>(lock); }

template <bool kHasReaders, Mode kMode, typename Lock>
[[gnu::noinline]] int take_renewed(Lock* lock, Site site, int (*real)(Lock*), int (*slowly)(Lock*, Mode, Site),
                                   const ObjectTraits& (*traits_of)(const Lock*)) {
  dept::locks::Announced announced;
  if (!dept::locks::announce_renewed<kHasReaders>(announced, address_of(lock), kMode, site)) return slowly(lock, kMode, site);
  const int result = real(lock);
  if (result != 0 || !dept::locks::hold_known(announced)) [[unlikely]]
    end_slowly(address_of(lock), traits_of(lock), kMode, site, result);
  return result;
}

// In the wrapper itself: it is the caller's place that counts.
template <bool kHasReaders, Mode kMode, typename Lock>
[[gnu::always_inline]] inline int take_known(Lock* lock, int (*real)(Lock*), int (*slowly)(Lock*, Mode, Site),
                                             const ObjectTraits& (*traits_of)(const Lock*)) {
  dept::locks::Announced announced;
  if (!dept::locks::announce_known<kHasReaders>(announced, address_of(lock), kMode, CW_SITE)) [[unlikely]]
    return take_renewed<kHasReaders, kMode>(lock, CW_SITE, real, slowly, traits_of);
  const int result = real(lock);
  if (result != 0 || !dept::locks::hold_known(announced)) [[unlikely]]
    end_slowly(address_of(lock), traits_of(lock), kMode, CW_SITE, result);
  return result;
}

// A call that the C library refused, which is a mistake of the program's: told, and nothing else is changed.
void refused(ObjectId object, dept::Misuse misuse, Site site);
inline void refused(const void* address, dept::Misuse misuse, Site site) {
  refused(Tracker::get().find_object(address), misuse, site);
}

}  // namespace causeway::interpose
