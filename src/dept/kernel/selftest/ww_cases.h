// Wait/wound mutexes: their calls, their contexts, being told to back off, and nest locks.
#pragma once

#include "dept/kernel/selftest/lock_cases.h"

namespace causeway::dept::kernel::selftest {

struct WwBench {
  explicit WwBench(Bench& bench_in) : bench(bench_in), cls(classes().emplace_back()), other(classes().emplace_back()) {
    for (WwMutex* mutex : {&o, &o2, &o3}) ww_init(*mutex, cls, bench.here());
  }
  ~WwBench() {
    for (WwMutex* mutex : {&o, &o2, &o3}) {
      while (ecxt_holding(mutex->map, kAll)) ecxt_exit(mutex->map, kAll);
      map_destroy(mutex->map);
    }
    for (WwContext* context : {&t, &t2}) {
      while (ecxt_holding(context->map, kAll)) ecxt_exit(context->map, kAll);
      map_destroy(context->map);
    }
  }
  static std::deque<WwClass>& classes() {
    static auto* instance = new std::deque<WwClass>;
    return *instance;
  }
  void init(WwContext& context) { ww_acquire_init(context, cls, bench.here()); }
  void done(WwContext& context) { ww_acquire_done(context, bench.here()); }
  void fini(WwContext& context) { ww_acquire_fini(context, bench.here()); }
  void lock(WwMutex& mutex, WwContext* context = nullptr, WwWay way = WwWay::kNormal,
            WwResult result = WwResult::kLocked) {
    ww_locking(mutex, context, way, bench.here());
    ww_locked(mutex, context, result, bench.here());
  }
  void refused(WwMutex& mutex, WwContext& context) { lock(mutex, &context, WwWay::kNormal, WwResult::kBackOff); }
  void try_lock(WwMutex& mutex) { ww_trylocked(mutex, nullptr, bench.here()); }
  void unlock(WwMutex& mutex) { ww_unlock(mutex, bench.here()); }

  static constexpr EventMask kAll = 7;
  Bench& bench;
  WwClass& cls;
  WwClass& other;
  WwContext t, t2;
  WwMutex o, o2, o3;
};

inline void add_ww_cases(Cases& cases) {
  const auto add = [&](const std::string& name, bool report, std::function<void(WwBench&)> run) {
    cases.push_back({"ww " + name, report, [run](Bench& bench) {
                       WwBench ww(bench);
                       run(ww);
                     }});
  };
  add("failing to lock", false, [](WwBench& b) {
    b.init(b.t);
    b.lock(b.o, &b.t);
    b.lock(b.o, &b.t, WwWay::kNormal, WwResult::kAlready);
    b.unlock(b.o);
    b.fini(b.t);
  });
  add("as a plain mutex", false, [](WwBench& b) {
    b.lock(b.o);
    b.unlock(b.o);
    b.try_lock(b.o);
    b.unlock(b.o);
  });
  add("slow without need", true, [](WwBench& b) {
    b.init(b.t);
    b.lock(b.o, &b.t, WwWay::kSlow);
  });
  add("two contexts", true, [](WwBench& b) {
    b.init(b.t);
    b.init(b.t2);
  });
  add("context of another class", true, [](WwBench& b) {
    ww_acquire_init(b.t, b.other, b.bench.here());
    b.lock(b.o, &b.t);
  });
  add("done twice", true, [](WwBench& b) {
    b.init(b.t);
    b.done(b.t);
    b.done(b.t);
  });
  add("finished twice", true, [](WwBench& b) {
    b.init(b.t);
    b.fini(b.t);
    b.fini(b.t);
  });
  add("finished early", true, [](WwBench& b) {
    b.init(b.t);
    b.lock(b.o, &b.t);
    b.fini(b.t);
  });
  add("locked after done", true, [](WwBench& b) {
    b.init(b.t);
    b.done(b.t);
    b.lock(b.o, &b.t);
  });
  add("unlocked twice", true, [](WwBench& b) {
    b.lock(b.o);
    b.unlock(b.o);
    b.unlock(b.o);
  });
  add("unbalanced", true, [](WwBench& b) {
    b.init(b.t);
    b.lock(b.o, &b.t);
    b.t.acquired = 0;
    b.unlock(b.o);
  });
  add("stale context", true, [](WwBench& b) {
    b.init(b.t);
    b.o.context = &b.t2;
    b.lock(b.o, &b.t);
  });

  for (WwWay way : {WwWay::kNormal, WwWay::kSlow}) {
    const std::string slow = way == WwWay::kSlow ? ", slow" : "";
    add("back off" + slow, false, [way](WwBench& b) {
      b.init(b.t);
      b.lock(b.o, &b.t);
      b.refused(b.o2, b.t);
      b.unlock(b.o);
      b.lock(b.o2, &b.t, way);
      b.lock(b.o, &b.t);
      b.unlock(b.o);
      b.unlock(b.o2);
      b.fini(b.t);
    });
    add("back off without unlocking" + slow, true, [way](WwBench& b) {
      b.init(b.t);
      b.lock(b.o, &b.t);
      b.refused(b.o2, b.t);
      b.lock(b.o2, &b.t, way);
    });
    add("lock on after a refusal" + slow, true, [way](WwBench& b) {
      b.init(b.t);
      b.lock(b.o, &b.t);
      b.refused(b.o2, b.t);
      b.lock(b.o3, &b.t, way);
    });
    add("refused again" + slow, true, [way](WwBench& b) {
      b.init(b.t);
      b.lock(b.o, &b.t);
      b.refused(b.o2, b.t);
      b.lock(b.o3, &b.t, way, WwResult::kBackOff);
    });
    add("back off to another lock" + slow, true, [way](WwBench& b) {
      b.init(b.t);
      b.lock(b.o, &b.t);
      b.refused(b.o2, b.t);
      b.unlock(b.o);
      b.lock(b.o3, &b.t, way);
    });
  }

  cases.push_back(script_case("nest lock without the outer", "N:AB U:A", true));
  cases.push_back(script_case("nest lock", "S:B N:X1B S:C U:C N:X2B U:X2 U:X1 U:B", false));

  // How the first lock is taken, then how the second is: blocking, by a try, in a context.
  using Take = std::function<void(WwBench&, WwMutex&)>;
  const Take block = [](WwBench& b, WwMutex& mutex) { b.lock(mutex); };
  const Take attempt = [](WwBench& b, WwMutex& mutex) { b.try_lock(mutex); };
  const Take context = [](WwBench& b, WwMutex& mutex) {
    if (!b.t.active) b.init(b.t);
    b.lock(mutex, &b.t);
  };
  struct Way {
    const char* name;
    Take take;
  };
  const Way ways[] = {{"block", block}, {"try", attempt}, {"context", context}};
  for (const Way& first : {ways[2], ways[1], ways[0]}) {
    for (const Way& second : ways) {
      const bool report = &second == &ways[0] || (&second == &ways[2] && first.name != ways[2].name);
      add(std::string(first.name) + ", " + second.name, report, [first, second](WwBench& b) {
        first.take(b, b.o);
        second.take(b, b.o2);
      });
    }
  }
  for (const Way& second : ways) {
    add(std::string("spinlock, ") + second.name, second.name != ways[1].name, [second](WwBench& b) {
      b.bench.run("S:A");
      second.take(b, b.o);
      b.unlock(b.o);
      if (b.t.active) b.fini(b.t);
      b.bench.run("U:A");
      second.take(b, b.o);
      b.bench.run("S:A U:A");
    });
  }
}

}  // namespace causeway::dept::kernel::selftest
