// What may block where, reclaim as a lock, and names under subclasses.
#pragma once

#include <cstring>

#include "dept/kernel/selftest/lock_cases.h"

namespace causeway::dept::kernel::selftest {

inline void add_wait_context_cases(Cases& cases) {
  struct Lock {
    const char* name;
    WaitType outer, inner;
  };
  const Lock rcu{"RCU", WaitType::kNone, WaitType::kSpin};
  const Lock raw{"raw", WaitType::kRaw, WaitType::kRaw};
  const Lock spin{"spin", WaitType::kSpin, WaitType::kSpin};
  const Lock mutex{"mutex", WaitType::kSleep, WaitType::kSleep};
  // outer kUnchecked: a context, not a lock.
  const Lock outers[] = {{"hard interrupt", WaitType::kUnchecked, WaitType::kSpin},
                         {"hard interrupt, no thread", WaitType::kUnchecked, WaitType::kRaw},
                         {"soft interrupt", WaitType::kUnchecked, WaitType::kSpin},
                         rcu,
                         {"RCU-bh", WaitType::kNone, WaitType::kSpin},
                         {"RCU-sched", WaitType::kNone, WaitType::kRaw},
                         raw,
                         spin,
                         mutex};
  const auto take = [](Bench& bench, const std::string& name, const Lock& lock) {
    Map& map = bench.map(name);
    map_set_wait_type(map, lock.outer, lock.inner);
    if (lock.outer == WaitType::kNone) {
      ldt_rlock(map, {}, Readers::kRecursive, bench.here());
    } else {
      ldt_lock(map, {}, bench.here());
    }
  };
  for (const Lock& outer : outers) {
    for (const Lock& inner : {rcu, raw, spin, mutex}) {
      const bool report = (inner.outer == WaitType::kSleep && std::strcmp(outer.name, "mutex") != 0) ||
                          (inner.outer == WaitType::kSpin && outer.inner == WaitType::kRaw);
      cases.push_back({std::string("wait context: ") + inner.name + " in " + outer.name, report,
                       [take, outer, inner](Bench& bench) {
                         const bool is_context = outer.outer == WaitType::kUnchecked;
                         if (is_context) {
                           context_enter(outer.inner);
                         } else {
                           take(bench, "A", outer);
                         }
                         take(bench, "B", inner);
                         ldt_unlock(bench.map("B"), bench.here());
                         if (is_context) {
                           context_exit();
                         } else {
                           ldt_unlock(bench.map("A"), bench.here());
                         }
                       }});
    }
  }
}

inline void add_other_cases(Cases& cases) {
  cases.push_back({"reclaim, nested rightly", false, [](Bench& bench) {
                     reclaim_enter(kMayFs, bench.here());
                     might_alloc(kMayReclaim, bench.here());
                     reclaim_exit(kMayFs, bench.here());
                   }});
  cases.push_back({"reclaim, nested wrongly", true, [](Bench& bench) {
                     reclaim_enter(kMayFs, bench.here());
                     might_alloc(kMayFs, bench.here());
                     reclaim_exit(kMayFs, bench.here());
                   }});
  cases.push_back({"reclaim, protected", false, [](Bench& bench) {
                     reclaim_enter(kMayFs, bench.here());
                     {
                       ReclaimScope no_fs;
                       might_alloc(kMayFs, bench.here());
                     }
                     reclaim_exit(kMayFs, bench.here());
                   }});
  cases.push_back({"set_subclass keeps the name", false, [](Bench& bench) {
                     Map& map = bench.map("A");
                     ldt_lock(map, {}, bench.here());
                     ldt_unlock(map, bench.here());
                     const char* name = map.name;
                     map_set_subclass(map, 1);
                     ldt_lock(map, {}, bench.here());
                     const Arena& arena = Tracker::get().arena();
                     const bool kept = map.name == name && arena.text(arena.at<Object>(map.object).name) == name;
                     ldt_unlock(map, bench.here());
                     // A name that is lost counts as a report.
                     if (!kept) ldt_unlock(map, bench.here());
                   }});
}

}  // namespace causeway::dept::kernel::selftest
