// Names of places that every run gives again: a static object, or a place in code, is its module and the offset in it.
//
//   know_places();      // before Tracker::start()
#pragma once

namespace causeway::interpose {

void know_places();

}  // namespace causeway::interpose
