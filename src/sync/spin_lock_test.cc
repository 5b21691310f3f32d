#include "sync/spin_lock.h"

#include <gtest/gtest.h>

#include <thread>
#include <vector>

// The death tests break the rules on purpose, and the analysis cannot see through ASSERT_TRUE(try_lock()).
#if defined(__clang__)
#pragma clang diagnostic ignored "-Wthread-safety-analysis"
#endif

namespace causeway::sync {
namespace {

TEST(SpinLock, ExcludesOtherThreads) {
  SpinLock lock("test.spin");
  uint64_t count = 0;
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      for (int n = 0; n < 5000; ++n) {
        SpinLockGuard guard(lock);
        ++count;
      }
    });
  }
  for (auto& thread : threads) thread.join();
  SpinLockGuard guard(lock);
  EXPECT_EQ(count, 20000u);
}

TEST(SpinLock, WaitersSurviveAHolderThatIsNotRunning) {
  SpinLock lock;
  lock.lock();
  std::atomic<int> passed{0};
  std::vector<std::thread> waiters;
  // More spinners than processors, so that the holder needs them to give way.
  for (int i = 0; i < 6; ++i) {
    waiters.emplace_back([&] {
      SpinLockGuard guard(lock);
      ++passed;
    });
  }
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  EXPECT_EQ(passed, 0);
  lock.unlock();
  for (auto& waiter : waiters) waiter.join();
  EXPECT_EQ(passed, 6);
}

TEST(SpinLock, TryLockTellsWhetherItIsFree) {
  SpinLock lock;
  ASSERT_TRUE(lock.try_lock());
  EXPECT_FALSE(lock.try_lock());
  lock.unlock();
  ASSERT_TRUE(lock.try_lock());
  lock.unlock();
}

#if !CW_DEBUG
TEST(SpinLock, IsAWordAndAName) { EXPECT_LE(sizeof(SpinLock), 16u); }
#endif

#if CW_DEBUG
TEST(SpinLockDeathTest, LockByItsOwnerAborts) {
  EXPECT_DEATH(
      {
        SpinLock lock("test.twice");
        lock.lock();
        lock.lock();
      },
      "spinlock 'test.twice' locked again by its owner");
}

TEST(SpinLockDeathTest, UnlockByAnotherThreadAborts) {
  EXPECT_DEATH(
      {
        SpinLock lock("test.thief");
        lock.lock();
        std::thread([&] { lock.unlock(); }).join();
      },
      "spinlock 'test.thief' unlocked without being held");
}

TEST(SpinLockDeathTest, DestroyingAHeldLockAborts) {
  EXPECT_DEATH(
      {
        SpinLock lock("test.gone");
        lock.lock();
      },
      "spinlock 'test.gone' destroyed while it is held");
}

TEST(SpinLockDeathTest, AssertHeldOnAFreeLockAborts) {
  EXPECT_DEATH(
      {
        SpinLock lock("test.assert");
        lock.assert_held();
      },
      "spinlock 'test.assert' not held");
}
#endif

}  // namespace
}  // namespace causeway::sync
