#include "dept/kernel/raw.h"

#include "dept/kernel/stage.h"
#include "dept/kernel/thread.h"

namespace causeway::dept::kernel {
namespace {

std::atomic<uint32_t>& stamp_of(Within& self, ObjectId object, ExtWgen* ext_wgen) {
  return ext_wgen != nullptr ? ext_wgen->wgen : self.tracker().arena().at<Object>(object).wgen;
}

}  // namespace

void wait(Map& map, EventMask events, Site site, uint8_t nesting, int64_t timeout) {
  if (per_thread().stages != 0) unstage();
  Within self;
  if (!self) return;
  const ObjectId object = known(map, site);
  if (object == ObjectId::kNone) return;
  check_wait_type(self, map, site);
  self.tracker().wait(self.context(), object, events, site, {.timed = is_timed(timeout), .nesting = nesting});
}

void request_event(Map& map, ExtWgen* ext_wgen, Site site) {
  Within self;
  if (!self) return;
  const ObjectId object = known(map, site);
  if (object == ObjectId::kNone) return;
  map.requested = site;
  self.tracker().request(self.context(), stamp_of(self, object, ext_wgen));
}

void event(Map& map, Event which, Site site, ExtWgen* ext_wgen) {
  Within self;
  if (!self) {
    // Missed, and so is its window: a later event must not be taken for the one that was asked for.
    if (Tracker::is_on() && ext_wgen != nullptr) ext_wgen->wgen.store(0, std::memory_order_relaxed);
    return;
  }
  const ObjectId object = known(map, site);
  if (object == ObjectId::kNone) return;
  const uint32_t wgen = stamp_of(self, object, ext_wgen).exchange(0, std::memory_order_acq_rel);
  if (per_thread().events_off != 0 || self.tracker().holds(self.context(), object, bit(which))) return;
  self.tracker().event(self.context(), self.class_of(object, which), object, wgen, site,
                       self.stack_of(map.requested), 0);
}

void ecxt_enter(Map& map, Event which, Site site, uint8_t nesting) {
  Within self;
  if (!self) return;
  const ObjectId object = known(map, site);
  if (object == ObjectId::kNone) return;
  self.tracker().enter(self.context(), object, which, site, 0, nesting);
  push_allowed(map);
}

void ecxt_enter_nokeep(Map& map, Site site) {
  Within self;
  if (!self) return;
  const ObjectId object = known(map, site);
  if (object == ObjectId::kNone) return;
  self.tracker().enter(self.context(), object, Event::kWrite, site, Held::kIgnored, 0);
  push_allowed(map);
}

bool ecxt_holding(const Map& map, EventMask events) {
  Within self;
  return self && map.object != ObjectId::kNone && self.tracker().holds(self.context(), map.object, events);
}

bool ecxt_exit(Map& map, EventMask events) {
  Within self;
  if (!self || map.object == ObjectId::kNone) return true;
  // What is not checked was not entered either, unless that was decided since.
  if (map.nocheck && !self.tracker().holds(self.context(), map.object, events)) return true;
  pop_allowed(map);
  return self.tracker().leave(self.context(), map.object, events);
}

void map_ecxt_modify(Map& map, EventMask events, const Key& key, Event which, Site site, uint8_t nesting) {
  if (!ecxt_holding(map, events)) return;
  ecxt_exit(map, events);
  map_reinit(map, &key, map.sub, nullptr, site);
  ecxt_enter(map, which, site, nesting);
}

}  // namespace causeway::dept::kernel
