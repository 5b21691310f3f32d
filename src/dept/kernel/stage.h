// Waits that are announced, and may never sleep: they count when the thread really does.
//
//   kernel::stage_wait(&map, site, timeout);          // prepare_to_wait(): nothing is recorded
//   if (!condition) {
//     kernel::request_event_wait_commit(site);        // the scheduler: it sleeps next
//     ...
//   }
//   kernel::clean_stage();
//
//   kernel::ttwu_stage_wait(sleeper, site);           // waker: the event of what the sleeper waits for
//
// The outermost stage of a thread wins; an inner real sleep (raw.h: wait) un-stages it. The event's class is that of the sleeper's
// stage, not of anything the waker knows; the first wake empties it.
#pragma once

#include "dept/context.h"
#include "dept/kernel/raw.h"

namespace causeway::dept::kernel {

// Null: the class is the place. Later commits keep the stack of the first.
void stage_wait(Map* map, Site site, int64_t timeout);
void request_event_wait_commit(Site site);
void clean_stage();
// The thread sleeps for another reason inside a stage: what was announced is not what it waits for.
void unstage();
// By any thread; `sleeper` (ThreadContext::current() of the sleeping one) must live.
void ttwu_stage_wait(ThreadContext& sleeper, Site site);

}  // namespace causeway::dept::kernel
