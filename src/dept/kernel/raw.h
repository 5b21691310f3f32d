// The calls everything else here is made of: a wait, a request, an event, and the contexts that head for an event.
//
//   kernel::request_event(map, nullptr, site);         // from now on its event is wanted
//   kernel::wait(map, bit(Event::kWrite), site, 0, 0); // before it may block
//   kernel::event(map, Event::kWrite, site, nullptr);  // before the wake-up, by anybody
//
// Only the newest request of a map, or of a stamp outside it, is remembered: fewer edges, never a false one.
#pragma once

#include "dept/kernel/map.h"

namespace causeway::dept::kernel {

inline constexpr int64_t kMaxTimeout = INT64_MAX;  // this or <= 0: it is for ever
constexpr bool is_timed(int64_t timeout) { return timeout > 0 && timeout < kMaxTimeout; }

// Several events: for each in turn. A wait that is announced around it is not the one that sleeps here: it is un-staged.
void wait(Map& map, EventMask events, Site site, uint8_t nesting, int64_t timeout);
void request_event(Map& map, ExtWgen* ext_wgen, Site site);
// Nothing if nobody asked, or if the caller holds this context open, whose edges were made as it waited.
void event(Map& map, Event which, Site site, ExtWgen* ext_wgen);

void ecxt_enter(Map& map, Event which, Site site, uint8_t nesting);
// Open for the sake of balance alone: of no class, makes no edges.
void ecxt_enter_nokeep(Map& map, Site site);
bool ecxt_holding(const Map& map, EventMask events);
// Closes the newest of these. False: there was none.
bool ecxt_exit(Map& map, EventMask events);
// The newest open context of these events goes on as another event, of another class.
void map_ecxt_modify(Map& map, EventMask events, const Key& key, Event which, Site site, uint8_t nesting);

}  // namespace causeway::dept::kernel
