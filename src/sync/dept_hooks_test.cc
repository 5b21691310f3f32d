// The tracker behind this room's primitives, in builds that have one (CW_DEPT): what can deadlock makes a process fail, what cannot does not.
#ifdef CW_SYNC_TRACKER
#include <gtest/gtest.h>

#include <cstdlib>
#include <thread>

#include "sync/completion.h"
#include "sync/cond_var.h"
#include "sync/rw_lock.h"
#include "sync/thread.h"

namespace causeway::sync {
namespace {

using std::chrono::milliseconds;
using ::testing::ExitedWithCode;

constexpr int kFinding = 86;

void nap(int ms) { std::this_thread::sleep_for(milliseconds(ms)); }

// Both threads live at once, and never meet.
template <typename First, typename Second>
void two_threads(First first, Second second) {
  Thread one("first", [&] {
    first();
    nap(30);
  });
  Thread two("second", [&] {
    nap(15);
    second();
  });
}

class DeptHooks : public ::testing::Test {
 protected:
  // Each case in a process that starts anew.
  DeptHooks() { GTEST_FLAG_SET(death_test_style, "threadsafe"); }
};

struct Pair {
  Mutex a{"a"}, b{"b"};
};

TEST_F(DeptHooks, CrossedMutexesFailTheProcess) {
  const auto crossed = [] {
    Pair pair;
    two_threads(
        [&] {
          MutexLock outer(pair.a);
          MutexLock inner(pair.b);
        },
        [&] {
          MutexLock outer(pair.b);
          MutexLock inner(pair.a);
        });
    std::exit(0);
  };
  EXPECT_EXIT(crossed(), ExitedWithCode(kFinding), "dept: likely(.|\n)*holds 'a'(.|\n)*waits for 'b'(.|\n)*1 finding");
}

TEST_F(DeptHooks, OneOrderIsSilent) {
  const auto ordered = [] {
    Pair pair;
    const auto both = [&] {
      MutexLock outer(pair.a);
      MutexLock inner(pair.b);
    };
    two_threads(both, both);
    std::exit(0);
  };
  EXPECT_EXIT(ordered(), ExitedWithCode(0), "");
}

// The condition's own mutex is not held while it is waited for.
TEST_F(DeptHooks, ConditionIsSilent) {
  const auto queue = [] {
    Mutex mutex("m");
    CondVar ready("ready");
    bool is_ready = false;
    two_threads(
        [&] {
          MutexLock lock(mutex);
          while (!is_ready) ready.wait(mutex);
        },
        [&] {
          MutexLock lock(mutex);
          is_ready = true;
          ready.notify_all();
        });
    std::exit(0);
  };
  EXPECT_EXIT(queue(), ExitedWithCode(0), "");
}

// One waits without the lock, one with it; those who complete take it, or not. Any pairing could have come.
TEST_F(DeptHooks, CompletionUnderALockItsMakerTakes) {
  const auto split = [] {
    Mutex mutex("m");
    Completion done("done");
    const auto wait_for_it = [&] { done.wait(); };
    Thread waiter("waiter", wait_for_it);
    Thread maker("maker", [&] {
      nap(10);
      { MutexLock lock(mutex); }
      done.complete();
    });
    Thread holder("holder", [&] {
      nap(30);
      MutexLock lock(mutex);
      wait_for_it();
    });
    Thread other("other", [&] {
      nap(50);
      done.complete();
    });
    waiter.join();
    maker.join();
    holder.join();
    other.join();
    std::exit(0);
  };
  EXPECT_EXIT(split(), ExitedWithCode(kFinding), "holds 'm'(.|\n)*waits for 'done'");
}

TEST_F(DeptHooks, ReaderAgainBehindAWriterIsAFinding) {
  const auto again = [] {
    RwLock lock("r");
    ReadLock first(lock);
    ReadLock second(lock);
    std::exit(0);
  };
  EXPECT_EXIT(again(), ExitedWithCode(kFinding), "'r'");
}

}  // namespace
}  // namespace causeway::sync
#endif
