#include "dept/kernel/ldt.h"

#include "dept/kernel/thread.h"

namespace causeway::dept::kernel {
namespace {

// The vertex of L is that of W.
void take(Map& map, EventMask waits_for, Event then_holds, const LockHow& how, Site site) {
  Within self;
  if (!self) return;
  const ObjectId object = known(map, site);
  if (object == ObjectId::kNone) return;
  Tracker& tracker = self.tracker();
  if (!how.is_try) check_wait_type(self, map, site);
  if (how.nest != nullptr && !tracker.holds(self.context(), how.nest->object, kAllEvents))
    self.misuse(Misuse::kWrongContext, Level::kLikely, object, site);
  if (!how.is_try && how.nest == nullptr)
    tracker.wait(self.context(), object, waits_for, site, {.timed = how.timed, .nesting = how.nesting});
  uint8_t flags = 0;
  if (then_holds == Event::kRead) flags |= Held::kShared;
  if (how.is_try) flags |= Held::kTry;
  if (how.nest != nullptr) flags |= Held::kIgnored;
  tracker.enter(self.context(), object, then_holds, site, flags, how.nesting);
  push_allowed(map);
}

}  // namespace

void ldt_init(Map& map, const Key* key, uint8_t sub_u, const char* name, Site site) {
  if (ecxt_holding(map, kAllEvents)) {
    if (Within self; self) self.misuse(Misuse::kInitHeld, Level::kCertain, map.object, site);
    while (ecxt_holding(map, kAllEvents)) ecxt_exit(map, kAllEvents);
  }
  map_init(map, key, sub_u, name, site);
}

void ldt_lock(Map& map, const LockHow& how, Site site) { take(map, bit(Event::kWrite), Event::kWrite, how, site); }

void ldt_wlock(Map& map, const LockHow& how, Site site) {
  take(map, bit(Event::kRead) | bit(Event::kWrite), Event::kWrite, how, site);
}

void ldt_rlock(Map& map, const LockHow& how, Readers readers, Site site) {
  const EventMask waits_for = readers == Readers::kQueued ? bit(Event::kRead) | bit(Event::kWrite) : bit(Event::kWrite);
  take(map, waits_for, Event::kRead, how, site);
}

void ldt_unlock(Map& map, Site site) {
  if (ecxt_exit(map, kAllEvents)) return;
  if (Within self; self) self.misuse(Misuse::kUnlockNotHeld, Level::kCertain, map.object, site);
}

void ldt_downgrade(Map& map, Site site) {
  Within self;
  if (!self || map.object == ObjectId::kNone) return;
  if (!self.tracker().leave(self.context(), map.object, bit(Event::kWrite))) {
    self.misuse(Misuse::kUnlockNotHeld, Level::kCertain, map.object, site);
    return;
  }
  self.tracker().enter(self.context(), map.object, Event::kRead, site, Held::kShared, 0);
}

void ldt_set_class(Map& map, const char* name, const Key& key, uint8_t nesting, Site site) {
  Event open = Event::kWrite;
  if (ecxt_holding(map, bit(Event::kRead))) open = Event::kRead;
  const bool held = ecxt_holding(map, kAllEvents);
  if (held) ecxt_exit(map, bit(open));
  map_reinit(map, &key, map.sub, name, site);
  if (held) ecxt_enter(map, open, site, nesting);
}

}  // namespace causeway::dept::kernel
