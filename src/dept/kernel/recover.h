// Events that another event makes up for. Optional, and needs no lock of the caller's.
//
//   static kernel::EventSite reply{"agent.reply"}, timeout{"agent.timeout"};
//   kernel::recover_event(reply, timeout);             // if reply cannot come, timeout will
//   kernel::event_site(reply, [&] { kernel::sdt_event(map, site); });
//
// A site that is recovered contributes no dependency: the graph learns nothing of events inside it. Two sites that recover each
// other, over any number of others, are a report, whose circle is of these sites alone.
#pragma once

#include <atomic>

#include "dept/kernel/map.h"

namespace causeway::dept::kernel {

struct EventSite {
  const char* name;
  std::atomic<bool> used{false};       // some event_site() has run with it
  std::atomic<bool> recovered{false};
  Key key{};
  Map map{};
};

// False: `site` has not been used so far; declared all the same.
bool recover_event(EventSite& event, EventSite& recoverer, Site site);

// Not for callers.
void event_site_begin(EventSite& event);
void event_site_end(EventSite& event);

template <typename Function>
void event_site(EventSite& event, Function function) {
  event_site_begin(event);
  function();
  event_site_end(event);
}

}  // namespace causeway::dept::kernel
