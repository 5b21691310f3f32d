// Pools whose users take one unit after the other: when all units are with users who want one more, nobody goes on.
//
//   pools::wants_more(self, pool, 1, site);     // holds one of it, and is about to wait for another
#pragma once

#include "dept/tracker.h"

namespace causeway::interpose::pools {

// Level::kPossible, once as many threads have been seen to as could hold all of it between them (Object::value: its units).
void wants_more(dept::ThreadContext* self, dept::ObjectId pool, unsigned held, dept::Site site);

}  // namespace causeway::interpose::pools
