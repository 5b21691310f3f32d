// Sleeps of the calling thread. Others look at a sleeps::Sleep until it has ended, and a blocking call may be left for good by a
// handler's siglongjmp() or by cancellation: so they lie with the thread, not in the frame that may be gone.
//
//   sleeping::Slot* slot = sleeping::begin(object, site, {.timed = true});     // before the real call
//   sleeping::end(slot, sleeps::Outcome::kWoken);                              // after it; also of nullptr
//
// Only a signal handler runs while a call blocks. So whatever is still open when a thread begins another one, and was not
// begun under the handler that runs, has been left.
#pragma once

#include "dept/sleeps.h"

namespace causeway::interpose::sleeping {

struct Slot {
  dept::sleeps::Sleep sleep;
  dept::Site site;
};

Slot* begin(dept::ObjectId object, dept::Site site, const dept::sleeps::How& how);
void end(Slot* slot, dept::sleeps::Outcome outcome);

// Around a signal handler. What it leaves open has been left; if it does not return, so has what it interrupted.
unsigned handler_begins();
enum class Handler : uint8_t { kReturns, kJumpsOut };
void handler_ends(unsigned begun, Handler how);
// Everything of this thread, which ends.
void leave_all();

}  // namespace causeway::interpose::sleeping
