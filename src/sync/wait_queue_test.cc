#include "sync/wait_queue.h"

#include <gtest/gtest.h>

#include <thread>
#include <vector>

namespace causeway::sync {
namespace {

using std::chrono::hours;
using std::chrono::milliseconds;

TEST(WaitQueue, DoesNotSleepWhenTheConditionHolds) {
  WaitQueue queue("test.queue");
  int looks = 0;
  queue.wait([&] { return ++looks > 0; });
  EXPECT_EQ(looks, 1);
}

TEST(WaitQueue, WakeAfterTheConditionIsNeverMissed) {
  WaitQueue queue;
  std::atomic<int> turn{0};
  // Each side waits for the other's turn; one missed wake would hang.
  std::thread other([&] {
    for (int i = 0; i < 2000; ++i) {
      queue.wait([&] { return turn.load() % 2 == 1; });
      turn.fetch_add(1);
      queue.wake_all();
    }
  });
  for (int i = 0; i < 2000; ++i) {
    queue.wait([&] { return turn.load() % 2 == 0; });
    turn.fetch_add(1);
    queue.wake_all();
  }
  other.join();
  EXPECT_EQ(turn, 4000);
}

TEST(WaitQueue, WakeOneWakesOneForEachUnit) {
  WaitQueue queue;
  std::atomic<int> units{0};
  std::atomic<int> taken{0};
  std::vector<std::thread> takers;
  for (int i = 0; i < 3; ++i) {
    takers.emplace_back([&] {
      for (int n = 0; n < 200; ++n) {
        queue.wait([&] {
          int have = units.load();
          while (have > 0) {
            if (units.compare_exchange_weak(have, have - 1)) return true;
          }
          return false;
        });
        ++taken;
      }
    });
  }
  for (int i = 0; i < 600; ++i) {
    units.fetch_add(1);
    queue.wake_one();
  }
  for (auto& taker : takers) taker.join();
  EXPECT_EQ(taken, 600);
}

TEST(WaitQueue, WaitForGivesUp) {
  WaitQueue queue;
  EXPECT_FALSE(queue.wait_for(milliseconds(1), [] { return false; }));
}

TEST(WaitQueue, WaitForReturnsWhenTheConditionComes) {
  WaitQueue queue;
  std::atomic<bool> ready{false};
  std::thread setter([&] {
    ready = true;
    queue.wake_one();
  });
  EXPECT_TRUE(queue.wait_for(hours(1), [&] { return ready.load(); }));
  setter.join();
}

TEST(WaitQueue, PublishesWhatTheWakerWroteBefore) {
  WaitQueue queue;
  std::atomic<bool> ready{false};
  int payload = 0;
  std::thread setter([&] {
    payload = 42;
    ready.store(true, std::memory_order_release);
    queue.wake_all();
  });
  queue.wait([&] { return ready.load(std::memory_order_acquire); });
  EXPECT_EQ(payload, 42);
  setter.join();
}

#if CW_DEBUG
TEST(WaitQueueDeathTest, DestructionWithWaitersAborts) {
  EXPECT_DEATH(
      {
        std::thread waiter;
        WaitQueue queue("test.gone");
        waiter = std::thread([&] { queue.wait([] { return false; }); });
        std::this_thread::sleep_for(milliseconds(50));
        queue.~WaitQueue();
      },
      "waitqueue 'test.gone' destroyed while threads wait on it");
}
#endif

}  // namespace
}  // namespace causeway::sync
