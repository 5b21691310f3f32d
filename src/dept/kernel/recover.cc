#include "dept/kernel/recover.h"

#include "dept/kernel/thread.h"

namespace causeway::dept::kernel {
namespace {

ObjectId known(EventSite& event, Site site) {
  event.map.key = &event.key;
  event.map.name = event.name;
  return kernel::known(event.map, site);
}

}  // namespace

// A site is a vertex of the graph, joined to other sites alone: the graph's own search finds their circles.
bool recover_event(EventSite& event, EventSite& recoverer, Site site) {
  event.recovered.store(true, std::memory_order_relaxed);
  const bool used = event.used.load(std::memory_order_relaxed) && recoverer.used.load(std::memory_order_relaxed);
  const ObjectId from = known(event, site);
  const ObjectId to = known(recoverer, site);
  Within self;
  if (!self || from == ObjectId::kNone || to == ObjectId::kNone) return used;
  Witness witness{};
  witness.thread = self.context()->thread;
  witness.from_object = from;
  witness.to_object = to;
  witness.wait = self.stack_of(site);
  witness.flags = Witness::kOwned;
  Inside inside;
  self.tracker().depend(self.tracker().class_of(from, Event::kWrite), self.tracker().class_of(to, Event::kWrite), witness);
  return used;
}

void event_site_begin(EventSite& event) {
  event.used.store(true, std::memory_order_relaxed);
  if (event.recovered.load(std::memory_order_relaxed)) ++per_thread().events_off;
}

void event_site_end(EventSite& event) {
  if (event.recovered.load(std::memory_order_relaxed) && per_thread().events_off != 0) --per_thread().events_off;
}

}  // namespace causeway::dept::kernel
