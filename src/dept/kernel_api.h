// DEPT as the kernel has it: maps and keys in one's own objects, and the calls of the posted series.
//
//   static kernel::Key key;
//   kernel::Map map;
//   kernel::sdt_map_init_key(map, key, "agent.reply", site);
//   kernel::sdt_wait(map, site);                       // requester: just before blocking
//   kernel::sdt_event(map, site);                      // replier: just before the wake-up
//
//   kernel::ldt_init(lock_map, &key, 0, "mm.zone", site);      // locks
//   kernel::ldt_lock(lock_map, {.nesting = 1}, site);
//
// Rules are the kernel's where the tool's differ: two objects of one class held at once are a report unless the nesting level, the
// class's compare function or a nest lock says otherwise; threads, gates and order are looked at as Settings::judge says.
// Every call may be made at any time: while the tracker is off, or inside it, it does nothing.
//
//   map.h        maps, keys, stamps outside of maps     sdt.h           single events, for everybody
//   raw.h        waits, requests, events, contexts      ldt.h           locks
//   stage.h      waits that are announced               contexts.h      flows of control, interruptions, on and off
//   page_usage.h pages by use                           recover.h       events that another event makes up for
//   ww.h         wait/wound mutexes                     wait_context.h  what may block where
//   local_lock.h locks of one processor                 reclaim.h       memory reclaim as a lock
//   proc.h       the graph and the counters as text
#pragma once

#include "dept/kernel/contexts.h"
#include "dept/kernel/ldt.h"
#include "dept/kernel/local_lock.h"
#include "dept/kernel/map.h"
#include "dept/kernel/page_usage.h"
#include "dept/kernel/proc.h"
#include "dept/kernel/raw.h"
#include "dept/kernel/reclaim.h"
#include "dept/kernel/recover.h"
#include "dept/kernel/sdt.h"
#include "dept/kernel/stage.h"
#include "dept/kernel/wait_context.h"
#include "dept/kernel/ww.h"
