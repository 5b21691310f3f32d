// The tracker behind Causeway's own locks and waits: the hooks of sync/track.h, for builds with CW_DEPT.
//
//   -DCW_SYNC_TRACKER='"sync/dept_hooks.h"'           // of room sync, for every room that uses it
//
// The first hook starts the tracker; nothing else of a program knows about it. A finding (level likely or certain) is printed to stderr at once, and
// a process that has any fails at its end: exit status 86, whatever it wanted to return. Environment:
//
//   CAUSEWAY_DEPT=fail     the default
//   CAUSEWAY_DEPT=report   findings are printed, the exit status is the program's
//   CAUSEWAY_DEPT=off      nothing is tracked
//   CAUSEWAY_DEPT_LEVEL=possible     these are findings too, and what could have been waited for counts
//
// The class of an object is its name; of one without a name, where it was made or first used.
#pragma once

#include "base/source_location.h"
#include "sync/track_types.h"

namespace causeway::sync::track {

void created(const Object& object, SourceLocation where);
void destroyed(const Object& object);
void acquiring(const Object& object, Mode mode, SourceLocation where);
void acquired(const Object& object, Mode mode, Attempt attempt, SourceLocation where);
void releasing(const Object& object, Mode mode, SourceLocation where);
void wait_begin(const Object& object, const Object* released, Timeout timeout, SourceLocation where);
void wait_end(const Object& object, Outcome outcome, SourceLocation where);
void passed(const Object& object, SourceLocation where);
void event(const Object& object, Wakes who, SourceLocation where);
void thread_started(const Object& object);
void thread_exiting(const Object& object);

}  // namespace causeway::sync::track
