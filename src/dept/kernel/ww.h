// Wait/wound mutexes: many of one class, in any order, inside an acquire context that backs off when it is told to.
//
//   static kernel::WwClass reservations{"dma.resv"};
//   kernel::ww_acquire_init(context, reservations, site);
//   kernel::ww_locking(a, &context, kernel::WwWay::kNormal, site);     // before it may block
//   kernel::ww_locked(a, &context, kernel::WwResult::kLocked, site);   // kBackOff: it was refused with EDEADLK
//   ...
//   kernel::ww_unlock(a, site);
//   kernel::ww_acquire_fini(context, site);
//
// The context is a lock of its own, under which locks of the class nest freely; without a context they are plain mutexes.
// Misuse::kWwContext is reported for: finishing twice, ending while locks are held, locking after done or from a context that has
// ended, a context of another class, locking on after a refusal before all is given back, or something else than what was
// refused, the slow way without a refusal, counts that do not match.
#pragma once

#include "dept/kernel/ldt.h"

namespace causeway::dept::kernel {

struct WwClass {
  const char* name;
  Key acquire{};
  Key mutex{};
};

struct WwMutex;

struct WwContext {
  WwClass* cls = nullptr;
  bool active = false;
  bool done = false;
  unsigned acquired = 0;
  WwMutex* contending = nullptr;  // what was refused last
  Map map{};
};

struct WwMutex {
  WwClass* cls = nullptr;
  WwContext* context = nullptr;  // that holds it
  Map map{};
};

enum class WwWay : uint8_t { kNormal, kSlow };
enum class WwResult : uint8_t { kLocked, kAlready, kBackOff };

void ww_init(WwMutex& mutex, WwClass& cls, Site site);
void ww_acquire_init(WwContext& context, WwClass& cls, Site site);
void ww_acquire_done(WwContext& context, Site site);
void ww_acquire_fini(WwContext& context, Site site);
void ww_locking(WwMutex& mutex, WwContext* context, WwWay way, Site site);
void ww_locked(WwMutex& mutex, WwContext* context, WwResult result, Site site);
void ww_trylocked(WwMutex& mutex, WwContext* context, Site site);
void ww_unlock(WwMutex& mutex, Site site);

}  // namespace causeway::dept::kernel
