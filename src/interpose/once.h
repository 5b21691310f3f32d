// What is done once: who runs the routine holds it as a lock, the others wait for it as for one, as long as it is not done.
// After that a call waits no more, but might have: a predicted wait, while something is held.
//
//   ObjectId object = once::waits(control, Kind::kOnce, once::Done::kNo, site);     // before the real call
//   once::runs(object, site);                                                       // it is us who run the routine
//   once::ran(object, site);                                                        // to its end, or out of it by an exception
//   once::others_ran(object);                                                 // it was not us
#pragma once

#include "dept/tracker.h"

namespace causeway::interpose::once {

enum class Done : uint8_t { kNo, kYes };

dept::ObjectId waits(const void* control, dept::Kind kind, Done done, dept::Site site);
void runs(dept::ObjectId object, dept::Site site) noexcept;
void ran(dept::ObjectId object, dept::Site site) noexcept;
void others_ran(dept::ObjectId object);

// Runs a routine between runs() and ran(), also if it ends by an exception: the one place of this library that has a landing pad.
void run(dept::ObjectId object, dept::Site site, void (*routine)());

}  // namespace causeway::interpose::once
