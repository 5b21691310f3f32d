// The hooks of a dependency tracker: the one place where one is attached.
//
// Every primitive of this room, and nothing else, calls these functions: before and after a lock is
// taken, before it is released, around a sleep until an event, before the event. They are empty, and
// cost nothing, unless the build names a header with other definitions:
//
//   -DCW_SYNC_TRACKER='"sync/dept_hooks.h"'
//
// That header includes this one's types from sync/track_types.h and defines all the functions below in
// causeway::sync::track. A hook may not use a primitive of this room, and is called until
// the last static object is gone. Hooks of a lock that is being taken run before anything blocks, so
// that a deadlock is seen even when it then happens.
#pragma once

#include "sync/track_types.h"

#ifdef CW_SYNC_TRACKER
#include CW_SYNC_TRACKER
#else

namespace causeway::sync::track {

// An object begins or ends its life at this address. An object made at compile time is never
// announced: its first use is.
inline void created(const Object&, SourceLocation) {}
inline void destroyed(const Object&) {}

// A lock. acquiring: about to take it in a way that may block, contended or not; not called for a
// try. acquired: it is held. releasing: still held, given up next.
inline void acquiring(const Object&, Mode, SourceLocation) {}
inline void acquired(const Object&, Mode, Attempt, SourceLocation) {}
inline void releasing(const Object&, Mode, SourceLocation) {}

// An event. wait_begin: what the caller waits for is not there, so it sleeps next; wait_end: it runs
// again. A condition variable gives its mutex up in between: `released`, still held at wait_begin and
// taken again after wait_end, with no hooks of its own. passed: it came to wait, and what it wants is there
// already. event: what sleepers on the object wait for has come, they are woken next.
inline void wait_begin(const Object&, const Object* /*released*/, Timeout, SourceLocation) {}
inline void wait_end(const Object&, Outcome, SourceLocation) {}
inline void passed(const Object&, SourceLocation) {}
inline void event(const Object&, Wakes, SourceLocation) {}

// First and last act of a sync::Thread, on that thread. Its end is also an event on the same object.
inline void thread_started(const Object&) {}
inline void thread_exiting(const Object&) {}

}  // namespace causeway::sync::track

#endif
