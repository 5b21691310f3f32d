#include "sync/rw_lock.h"

#include <gtest/gtest.h>

#include <thread>
#include <vector>

// The death tests break the rules on purpose, and the analysis cannot see through ASSERT_TRUE(try_lock()).
#if defined(__clang__)
#pragma clang diagnostic ignored "-Wthread-safety-analysis"
#endif

namespace causeway::sync {
namespace {

void wait_for_sleepers() { std::this_thread::sleep_for(std::chrono::milliseconds(5)); }

TEST(RwLock, ReadersShareIt) {
  RwLock lock("test.rw");
  ReadLock one(lock);
  bool second = false;
  std::thread([&] {
    ReadLock two(lock);
    second = true;
  }).join();
  EXPECT_TRUE(second);
}

TEST(RwLock, WriterExcludesReadersAndWriters) {
  RwLock lock;
  WriteLock write(lock);
  std::thread([&] {
    EXPECT_FALSE(lock.try_lock_shared());
    EXPECT_FALSE(lock.try_lock());
  }).join();
}

TEST(RwLock, ReaderExcludesWriters) {
  RwLock lock;
  ReadLock read(lock);
  EXPECT_FALSE(lock.try_lock());
}

TEST(RwLock, TryLockTakesAFreeLock) {
  RwLock lock;
  ASSERT_TRUE(lock.try_lock());
  lock.unlock();
  ASSERT_TRUE(lock.try_lock_shared());
  lock.unlock_shared();
}

TEST(RwLock, WaitingWriterKeepsNewReadersOut) {
  RwLock lock;
  lock.lock_shared();
  std::atomic<bool> written{false};
  std::thread writer([&] {
    WriteLock write(lock);
    written = true;
  });
  bool reader_refused = false;
  for (int i = 0; i < 2000 && !reader_refused; ++i) {
    std::thread([&] {
      if (lock.try_lock_shared()) {
        lock.unlock_shared();
      } else {
        reader_refused = true;
      }
    }).join();
  }
  EXPECT_TRUE(reader_refused);
  EXPECT_FALSE(written);
  lock.unlock_shared();
  writer.join();
  EXPECT_TRUE(written);
}

TEST(RwLock, WriterWakesAllReaders) {
  RwLock lock;
  lock.lock();
  std::atomic<int> inside{0};
  std::vector<std::thread> readers;
  for (int i = 0; i < 3; ++i) {
    readers.emplace_back([&] {
      ReadLock read(lock);
      ++inside;
      // All of them at once, or this never ends.
      while (inside < 3) std::this_thread::yield();
    });
  }
  wait_for_sleepers();
  EXPECT_EQ(inside, 0);
  lock.unlock();
  for (auto& reader : readers) reader.join();
}

TEST(RwLock, SleepingWritersAllGetTheirTurn) {
  RwLock lock;
  lock.lock_shared();
  int turns = 0;
  std::vector<std::thread> writers;
  for (int i = 0; i < 3; ++i) {
    writers.emplace_back([&] {
      WriteLock write(lock);
      ++turns;
    });
  }
  wait_for_sleepers();
  lock.unlock_shared();
  for (auto& writer : writers) writer.join();
  EXPECT_EQ(turns, 3);
}

TEST(RwLock, ReadersNeverSeeAHalfWrittenPair) {
  RwLock lock;
  uint64_t first = 0;
  uint64_t second = 0;
  std::atomic<uint64_t> torn{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < 2; ++i) {
    threads.emplace_back([&] {
      for (int n = 0; n < 2000; ++n) {
        WriteLock write(lock);
        ++first;
        ++second;
      }
    });
    threads.emplace_back([&] {
      for (int n = 0; n < 4000; ++n) {
        ReadLock read(lock);
        if (first != second) ++torn;
      }
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(torn, 0u);
  EXPECT_EQ(first, 4000u);
}

#if CW_DEBUG
TEST(RwLockDeathTest, WriteLockByTheWriterAborts) {
  EXPECT_DEATH(
      {
        RwLock lock("test.twice");
        lock.lock();
        lock.lock();
      },
      "rwlock 'test.twice' locked again by its owner");
}

TEST(RwLockDeathTest, ReadLockByTheWriterAborts) {
  EXPECT_DEATH(
      {
        RwLock lock("test.downgrade");
        lock.lock();
        lock.lock_shared();
      },
      "rwlock 'test.downgrade' locked again by its owner");
}

TEST(RwLockDeathTest, WriteUnlockByAReaderAborts) {
  EXPECT_DEATH(
      {
        RwLock lock("test.mixed");
        lock.lock_shared();
        lock.unlock();
      },
      "rwlock 'test.mixed' write-unlocked without being held");
}

TEST(RwLockDeathTest, ReadUnlockWithoutAReaderAborts) {
  EXPECT_DEATH(
      {
        RwLock lock("test.free");
        lock.unlock_shared();
      },
      "rwlock 'test.free' read-unlocked while no reader holds it");
}

TEST(RwLockDeathTest, DestructionWithReadersAborts) {
  EXPECT_DEATH(
      {
        RwLock lock("test.gone");
        lock.lock_shared();
      },
      "rwlock 'test.gone' destroyed while readers hold it");
}

TEST(RwLockDeathTest, AssertHeldOfAReaderIsNotThatOfAWriter) {
  EXPECT_DEATH(
      {
        RwLock lock("test.assert");
        lock.lock_shared();
        lock.assert_held_shared();
        lock.assert_held();
      },
      "rwlock 'test.assert' not write-held");
}
#endif

}  // namespace
}  // namespace causeway::sync
