#include "sync/cond_var.h"

#include <gtest/gtest.h>

#include <deque>
#include <thread>
#include <vector>

// The death tests break the rules on purpose, and the analysis cannot see through ASSERT_TRUE(try_lock()).
#if defined(__clang__)
#pragma clang diagnostic ignored "-Wthread-safety-analysis"
#endif

namespace causeway::sync {
namespace {

using std::chrono::hours;
using std::chrono::milliseconds;

TEST(CondVar, WakesAWaiterWhenTheDataChanged) {
  Mutex mutex;
  CondVar changed("test.changed");
  bool ready = false;
  std::thread setter([&] {
    MutexLock lock(mutex);
    ready = true;
    changed.notify_one();
  });
  {
    MutexLock lock(mutex);
    while (!ready) changed.wait(mutex);
    EXPECT_TRUE(ready);
  }
  setter.join();
}

TEST(CondVar, PassesEveryItemOfAQueueOnce) {
  Mutex mutex;
  CondVar not_empty;
  CondVar not_full;
  std::deque<int> queue;
  int64_t sum = 0;
  std::vector<std::thread> threads;
  for (int i = 0; i < 2; ++i) {
    threads.emplace_back([&] {
      for (int n = 1; n <= 1000; ++n) {
        MutexLock lock(mutex);
        not_full.wait(mutex, [&] { return queue.size() < 4; });
        queue.push_back(n);
        not_empty.notify_one();
      }
    });
    threads.emplace_back([&] {
      for (int n = 1; n <= 1000; ++n) {
        MutexLock lock(mutex);
        not_empty.wait(mutex, [&] { return !queue.empty(); });
        sum += queue.front();
        queue.pop_front();
        not_full.notify_one();
      }
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(sum, 2 * 1000 * 1001 / 2);
}

TEST(CondVar, NotifyAllWakesEveryWaiter) {
  Mutex mutex;
  CondVar go;
  bool open = false;
  int waiting = 0;
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      MutexLock lock(mutex);
      ++waiting;
      while (!open) go.wait(mutex);
    });
  }
  while (true) {
    MutexLock lock(mutex);
    if (waiting == 4) break;
  }
  {
    MutexLock lock(mutex);
    open = true;
  }
  go.notify_all();
  for (auto& thread : threads) thread.join();
}

TEST(CondVar, WaitUntilAPastDeadlineTimesOutWithTheMutexHeld) {
  Mutex mutex;
  CondVar never;
  MutexLock lock(mutex);
  EXPECT_FALSE(never.wait_until(mutex, Deadline::at_ns(1)));
  EXPECT_FALSE(mutex.try_lock());
}

TEST(CondVar, WaitUntilReturnsNotBeforeItsAbsoluteDeadline) {
  Mutex mutex;
  CondVar never;
  Deadline deadline = Deadline::after(milliseconds(5));
  MutexLock lock(mutex);
  while (never.wait_until(mutex, deadline)) {
  }
  EXPECT_GE(monotonic_ns(), deadline.ns());
}

TEST(CondVar, TimedPredicateWaitGivesThePredicatesLastValue) {
  Mutex mutex;
  CondVar never;
  MutexLock lock(mutex);
  EXPECT_FALSE(never.wait_for(mutex, milliseconds(1), [] { return false; }));
  EXPECT_TRUE(never.wait_for(mutex, milliseconds(0), [] { return true; }));
}

TEST(CondVar, TimedWaitEndsEarlyWhenNotified) {
  Mutex mutex;
  CondVar changed;
  bool ready = false;
  std::thread setter([&] {
    MutexLock lock(mutex);
    ready = true;
    changed.notify_all();
  });
  {
    MutexLock lock(mutex);
    EXPECT_TRUE(changed.wait_for(mutex, hours(1), [&] { return ready; }));
  }
  setter.join();
}

TEST(CondVar, NotifyWithoutWaitersIsForgotten) {
  Mutex mutex;
  CondVar condition;
  condition.notify_one();
  condition.notify_all();
  MutexLock lock(mutex);
  EXPECT_FALSE(condition.wait_for(mutex, milliseconds(1), [] { return false; }));
}

TEST(Deadline, OfALongSpanIsNever) {
  EXPECT_TRUE(Deadline::at_ns(UINT64_MAX).is_never());
  EXPECT_FALSE(Deadline::never().has_passed());
  EXPECT_FALSE(Deadline::after(std::chrono::nanoseconds::max()).has_passed());
}

TEST(Deadline, OfANegativeSpanHasPassed) { EXPECT_TRUE(Deadline::after(milliseconds(-5)).has_passed()); }

#if CW_DEBUG
TEST(CondVarDeathTest, WaitWithoutTheMutexAborts) {
  EXPECT_DEATH(
      {
        Mutex mutex("test.unheld");
        CondVar condition;
        condition.wait(mutex);
      },
      "mutex 'test.unheld' waited with, but not held");
}

TEST(CondVarDeathTest, WaitWithAMutexOfAnotherThreadAborts) {
  EXPECT_DEATH(
      {
        Mutex mutex("test.theirs");
        CondVar condition;
        mutex.lock();
        std::thread([&] { condition.wait(mutex); }).join();
      },
      "mutex 'test.theirs' waited with, but not held, by thread [0-9]+, its owner is thread");
}

TEST(CondVarDeathTest, DestructionWithWaitersAborts) {
  EXPECT_DEATH(
      {
        Mutex mutex;
        bool waiting = false;
        std::thread waiter;
        {
          CondVar condition("test.gone");
          waiter = std::thread([&] {
            MutexLock lock(mutex);
            waiting = true;
            while (true) condition.wait(mutex);
          });
          while (true) {
            MutexLock lock(mutex);
            if (waiting) break;
          }
        }
      },
      "condvar 'test.gone' destroyed while threads wait on it");
}
#endif

}  // namespace
}  // namespace causeway::sync
