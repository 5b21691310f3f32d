#include "dept/kernel/ww.h"

#include "dept/kernel/thread.h"

namespace causeway::dept::kernel {
namespace {

void misuse(const Map& map, Site site) {
  if (Within self; self) self.misuse(Misuse::kWwContext, Level::kCertain, map.object, site);
}

// The first of a context is a lock like any other; those after it nest in it.
uint8_t nesting(const WwContext* context) {
  return context != nullptr ? static_cast<uint8_t>(context->acquired % 255) : uint8_t{0};
}

void hold(WwMutex& mutex, WwContext* context, Site site) {
  if (mutex.context != nullptr) misuse(mutex.map, site);
  ecxt_enter(mutex.map, Event::kWrite, site, nesting(context));
  mutex.context = context;
  if (context != nullptr) ++context->acquired;
}

}  // namespace

void ww_init(WwMutex& mutex, WwClass& cls, Site site) {
  mutex.cls = &cls;
  mutex.context = nullptr;
  ldt_init(mutex.map, &cls.mutex, 0, cls.name, site);
}

void ww_acquire_init(WwContext& context, WwClass& cls, Site site) {
  context.cls = &cls;
  context.active = true;
  context.done = false;
  context.acquired = 0;
  context.contending = nullptr;
  map_init(context.map, &cls.acquire, 0, cls.name, site);
  ldt_lock(context.map, {}, site);
}

void ww_acquire_done(WwContext& context, Site site) {
  if (!context.active || context.done) misuse(context.map, site);
  context.done = true;
}

void ww_acquire_fini(WwContext& context, Site site) {
  if (!context.active || context.acquired != 0) misuse(context.map, site);
  if (context.active) ldt_unlock(context.map, site);
  context.active = false;
}

void ww_locking(WwMutex& mutex, WwContext* context, WwWay way, Site site) {
  if (context != nullptr) {
    const bool refused = context->contending != nullptr;
    if (!context->active || context->done || context->cls != mutex.cls || (way == WwWay::kSlow && !refused) ||
        (refused && (context->acquired != 0 || context->contending != &mutex))) {
      misuse(mutex.map, site);
    }
    context->contending = nullptr;
  }
  wait(mutex.map, bit(Event::kWrite), site, nesting(context), 0);
}

void ww_locked(WwMutex& mutex, WwContext* context, WwResult result, Site site) {
  if (result == WwResult::kBackOff && context != nullptr) context->contending = &mutex;
  if (result == WwResult::kLocked) hold(mutex, context, site);
}

void ww_trylocked(WwMutex& mutex, WwContext* context, Site site) { hold(mutex, context, site); }

void ww_unlock(WwMutex& mutex, Site site) {
  if (WwContext* context = mutex.context) {
    if (context->acquired == 0) {
      misuse(mutex.map, site);
    } else {
      --context->acquired;
    }
    mutex.context = nullptr;
  }
  ldt_unlock(mutex.map, site);
}

}  // namespace causeway::dept::kernel
