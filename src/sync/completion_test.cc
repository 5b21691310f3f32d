#include "sync/completion.h"

#include <gtest/gtest.h>

#include <optional>
#include <thread>
#include <vector>

namespace causeway::sync {
namespace {

using std::chrono::hours;
using std::chrono::milliseconds;

TEST(Completion, WaitAfterCompleteReturnsAtOnce) {
  Completion done("test.done");
  done.complete();
  done.wait();
  EXPECT_FALSE(done.done());
}

TEST(Completion, CompleteCounts) {
  Completion done;
  done.complete();
  done.complete();
  EXPECT_TRUE(done.try_wait());
  EXPECT_TRUE(done.try_wait());
  EXPECT_FALSE(done.try_wait());
}

TEST(Completion, DoneTakesNothing) {
  Completion done;
  EXPECT_FALSE(done.done());
  done.complete();
  EXPECT_TRUE(done.done());
  EXPECT_TRUE(done.done());
  EXPECT_TRUE(done.try_wait());
  EXPECT_FALSE(done.done());
}

TEST(Completion, CompleteAllSaturates) {
  Completion done;
  done.complete();
  done.complete_all();
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(done.try_wait());
  done.complete();
  done.wait();
  EXPECT_TRUE(done.done());
}

TEST(Completion, ReinitForgetsCompletions) {
  Completion done;
  done.complete_all();
  done.reinit();
  EXPECT_FALSE(done.try_wait());
  done.complete();
  EXPECT_TRUE(done.try_wait());
  EXPECT_FALSE(done.try_wait());
}

TEST(Completion, WaitForTimesOutAndTakesNothing) {
  Completion done;
  EXPECT_FALSE(done.wait_for(milliseconds(1)));
  EXPECT_FALSE(done.wait_for(milliseconds(-1)));
  done.complete();
  EXPECT_TRUE(done.wait_for(milliseconds(0)));
}

TEST(Completion, PastDeadlineStillTakesWhatIsThere) {
  Completion done;
  done.complete();
  EXPECT_TRUE(done.wait_until(Deadline::at_ns(1)));
}

TEST(Completion, SleeperIsWoken) {
  Completion done;
  std::thread waiter([&] { EXPECT_TRUE(done.wait_for(hours(1))); });
  std::this_thread::sleep_for(milliseconds(5));
  done.complete();
  waiter.join();
  EXPECT_FALSE(done.done());
}

TEST(Completion, EachCompleteLetsOneWaiterThrough) {
  Completion done;
  std::atomic<int> through{0};
  std::vector<std::thread> waiters;
  for (int i = 0; i < 4; ++i) {
    waiters.emplace_back([&] {
      done.wait();
      ++through;
    });
  }
  done.complete();
  while (through < 1) std::this_thread::yield();
  std::this_thread::sleep_for(milliseconds(2));
  EXPECT_EQ(through, 1);
  for (int i = 0; i < 3; ++i) done.complete();
  for (auto& waiter : waiters) waiter.join();
  EXPECT_FALSE(done.done());
}

TEST(Completion, CompleteAllWakesEverySleeper) {
  Completion done;
  std::vector<std::thread> waiters;
  for (int i = 0; i < 4; ++i) waiters.emplace_back([&] { done.wait(); });
  std::this_thread::sleep_for(milliseconds(2));
  done.complete_all();
  for (auto& waiter : waiters) waiter.join();
  EXPECT_TRUE(done.done());
}

TEST(Completion, MayDieAsSoonAsItsWaiterReturns) {
  std::atomic<Completion*> posted{nullptr};
  std::thread completer([&] {
    for (int i = 0; i < 2000; ++i) {
      Completion* current;
      while ((current = posted.exchange(nullptr)) == nullptr) std::this_thread::yield();
      current->complete();
    }
  });
  for (int i = 0; i < 2000; ++i) {
    std::optional<Completion> done(std::in_place, "test.stack");
    posted = &*done;
    done->wait();
    done.reset();
  }
  completer.join();
}

TEST(Completion, NoCompletionIsLostToWaitersThatTimeOut) {
  Completion done;
  std::atomic<int> taken{0};
  std::atomic<bool> stop{false};
  std::vector<std::thread> waiters;
  for (int i = 0; i < 3; ++i) {
    waiters.emplace_back([&] {
      while (!stop) {
        if (done.wait_for(std::chrono::microseconds(20))) ++taken;
      }
    });
  }
  for (int i = 0; i < 500; ++i) done.complete();
  while (taken < 500) std::this_thread::yield();
  stop = true;
  for (auto& waiter : waiters) waiter.join();
  EXPECT_EQ(taken, 500);
  EXPECT_FALSE(done.done());
}

#if CW_DEBUG
TEST(CompletionDeathTest, DestructionWithWaitersAborts) {
  EXPECT_DEATH(
      {
        std::thread waiter;
        Completion done("test.gone");
        waiter = std::thread([&] { done.wait(); });
        std::this_thread::sleep_for(milliseconds(50));
        done.~Completion();
      },
      "completion 'test.gone' destroyed while threads wait on it");
}
#endif

}  // namespace
}  // namespace causeway::sync
