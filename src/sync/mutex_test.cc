#include "sync/mutex.h"

#include <gtest/gtest.h>

#include <thread>
#include <vector>

// The death tests break the rules on purpose, and the analysis cannot see through ASSERT_TRUE(try_lock()).
#if defined(__clang__)
#pragma clang diagnostic ignored "-Wthread-safety-analysis"
#endif

namespace causeway::sync {
namespace {

TEST(Mutex, ExcludesOtherThreads) {
  Mutex mutex("test.mutex");
  uint64_t count = 0;
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      for (int n = 0; n < 5000; ++n) {
        MutexLock lock(mutex);
        ++count;
      }
    });
  }
  for (auto& thread : threads) thread.join();
  MutexLock lock(mutex);
  EXPECT_EQ(count, 20000u);
}

TEST(Mutex, TryLockFailsWhileAnotherThreadHoldsIt) {
  Mutex mutex;
  bool got = true;
  {
    MutexLock lock(mutex);
    std::thread other([&] { got = mutex.try_lock(); });
    other.join();
  }
  EXPECT_FALSE(got);
  ASSERT_TRUE(mutex.try_lock());
  mutex.unlock();
}

TEST(Mutex, SleeperIsWokenByUnlock) {
  Mutex mutex;
  std::atomic<bool> started{false};
  bool done = false;
  mutex.lock();
  std::thread other([&] {
    started = true;
    MutexLock lock(mutex);
    done = true;
  });
  while (!started) std::this_thread::yield();
  // Long enough for the other thread to be past its spinning.
  std::this_thread::sleep_for(std::chrono::milliseconds(5));
  EXPECT_FALSE(done);
  mutex.unlock();
  other.join();
  EXPECT_TRUE(done);
}

TEST(Mutex, GuardCanOpenAGap) {
  Mutex mutex;
  MutexLock lock(mutex);
  lock.unlock();
  ASSERT_TRUE(mutex.try_lock());
  mutex.unlock();
  lock.lock();
  EXPECT_FALSE(mutex.try_lock());
}

TEST(Mutex, GuardInItsGapDoesNotUnlockAgain) {
  Mutex mutex;
  {
    MutexLock lock(mutex);
    lock.unlock();
  }
  ASSERT_TRUE(mutex.try_lock());
  mutex.unlock();
}

constinit Mutex g_static_mutex{"test.static"};
TEST(Mutex, CanBeInitialisedAtCompileTime) {
  MutexLock lock(g_static_mutex);
  EXPECT_STREQ(g_static_mutex.name(), "test.static");
}

#if CW_DEBUG
TEST(MutexDeathTest, LockByItsOwnerAborts) {
  EXPECT_DEATH(
      {
        Mutex mutex("test.twice");
        mutex.lock();
        mutex.lock();
      },
      "sync: mutex 'test.twice' locked again by its owner by thread [0-9]+ \\(mutex_test.cc:[0-9]+\\)");
}

TEST(MutexDeathTest, UnlockOfAFreeMutexAborts) {
  EXPECT_DEATH(
      {
        Mutex mutex("test.free");
        mutex.unlock();
      },
      "mutex 'test.free' unlocked without being held");
}

TEST(MutexDeathTest, UnlockByAnotherThreadAborts) {
  EXPECT_DEATH(
      {
        Mutex mutex("test.thief");
        mutex.lock();
        std::thread([&] { mutex.unlock(); }).join();
      },
      "mutex 'test.thief' unlocked without being held by thread [0-9]+, its owner is thread [0-9]+");
}

TEST(MutexDeathTest, DestroyingAHeldMutexAborts) {
  EXPECT_DEATH(
      {
        Mutex mutex;
        mutex.lock();
      },
      "mutex 'unnamed' destroyed while it is held");
}

TEST(MutexDeathTest, AssertHeldOnAFreeMutexAborts) {
  EXPECT_DEATH(
      {
        Mutex mutex("test.assert");
        mutex.assert_held();
      },
      "mutex 'test.assert' not held where it must be");
}

TEST(Mutex, AssertHeldPassesForTheOwner) {
  Mutex mutex;
  MutexLock lock(mutex);
  mutex.assert_held();
}
#endif

}  // namespace
}  // namespace causeway::sync
