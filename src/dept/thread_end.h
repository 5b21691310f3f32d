// A thread's end as an event, told before it comes: a thread that never gets there would never say what it is that its end waits for.
//
//   thread_end::wait_is_owed(tracker, self, {.cls = lock, .object = mutex, .stack = stack});   // while somebody joins `self`
//   thread_end::joining(tracker, target, stack);                                               // before `target` is joined
//
// What a thread waited for earlier in its life is looked at when it ends (Tracker::thread_ends).
#pragma once

#include "dept/tracker.h"

namespace causeway::dept::thread_end {

// `self` is about to wait, and whoever joins it by now waits for that as well.
void wait_is_owed(Tracker& tracker, ThreadContext* self, const Tracker::WaitOf& wait);
// The thread whose end `exit` is will be joined, from `stack`: what it waits for at this moment is waited for.
void joining(Tracker& tracker, ObjectId exit, LazyStack& stack);

}  // namespace causeway::dept::thread_end
