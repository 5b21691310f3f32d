// Locks of one processor: held with preemption off, so that nobody ever waits for one, and no circle goes through it.
//
//   kernel::local_lock(map, site);
//   kernel::ldt_unlock(map, site);
//
// What is waited for while it is held still counts.
#pragma once

#include "dept/kernel/ldt.h"

namespace causeway::dept::kernel {

inline void local_lock(Map& map, Site site) { ldt_lock(map, {.is_try = true}, site); }

}  // namespace causeway::dept::kernel
