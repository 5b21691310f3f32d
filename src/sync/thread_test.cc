#include "sync/thread.h"

#include <gtest/gtest.h>
#include <pthread.h>
#include <unistd.h>

#include <atomic>
#include <memory>
#include <string>

#include "sync/owner.h"
#include "sync/wait_queue.h"

namespace causeway::sync {
namespace {

TEST(Thread, RunsItsFunctionAndJoins) {
  int ran = 0;
  Thread thread("test.run", [&] { ran = 1; });
  EXPECT_TRUE(thread.joinable());
  thread.join();
  EXPECT_EQ(ran, 1);
  EXPECT_FALSE(thread.joinable());
}

TEST(Thread, BearsItsNameCutToFifteenBytes) {
  std::string name;
  Thread thread("test.a_very_long_name", [&] {
    char text[32] = {};
    pthread_getname_np(pthread_self(), text, sizeof text);
    name = text;
  });
  thread.join();
  EXPECT_EQ(name, "test.a_very_lon");
}

TEST(Thread, DestructorStopsAndJoins) {
  std::atomic<bool> ended{false};
  {
    Thread thread("test.stop", [&](StopToken stop) {
      while (!stop.stop_requested()) sleep_unless_stopped(stop, std::chrono::hours(1));
      ended = true;
    });
  }
  EXPECT_TRUE(ended);
}

TEST(Thread, StopRequestCanWakeAWaitQueue) {
  WaitQueue queue;
  Thread thread("test.wake", [&](StopToken stop) {
    std::stop_callback wake(stop, [&] { queue.wake_all(); });
    queue.wait([&] { return stop.stop_requested(); });
  });
  thread.request_stop();
  thread.join();
}

TEST(Thread, AssignmentStopsTheOldThread) {
  std::atomic<bool> ended{false};
  Thread thread("test.old", [&](StopToken stop) {
    while (sleep_unless_stopped(stop, std::chrono::hours(1))) {
    }
    ended = true;
  });
  thread = Thread("test.new", [] {});
  EXPECT_TRUE(ended);
  EXPECT_TRUE(thread.joinable());
}

TEST(Thread, MovedFromHasNothingToJoin) {
  Thread first("test.move", [] {});
  Thread second(std::move(first));
  // NOLINTNEXTLINE(bugprone-use-after-move,clang-analyzer-cplusplus.Move): moved-from is empty, by contract
  EXPECT_FALSE(first.joinable());
  first.request_stop();
  first.join();
  second.join();
}

TEST(Thread, TakesAFunctionThatCannotBeCopied) {
  auto value = std::make_unique<int>(7);
  int seen = 0;
  Thread thread("test.unique", [value = std::move(value), &seen] { seen = *value; });
  thread.join();
  EXPECT_EQ(seen, 7);
}

TEST(Thread, WhatTheFunctionCapturedIsGoneAfterJoin) {
  auto shared = std::make_shared<int>(1);
  Thread thread("test.capture", [copy = shared] {});
  thread.join();
  EXPECT_EQ(shared.use_count(), 1);
}

TEST(Thread, CreateReportsInsteadOfAborting) {
  bool ran = false;
  auto thread = Thread::create("test.create", [&] { ran = true; });
  ASSERT_TRUE(thread.has_value());
  thread->join();
  EXPECT_TRUE(ran);
}

TEST(Thread, IdsDifferBetweenThreads) {
  int other = current_thread_id();
  Thread thread("test.id", [&] { other = current_thread_id(); });
  thread.join();
  EXPECT_NE(other, current_thread_id());
  EXPECT_GT(other, 0);
}

TEST(SleepUnlessStopped, SleepsTheWholeTimeWhenNobodyStopsIt) {
  std::stop_source source;
  uint64_t before = monotonic_ns();
  EXPECT_TRUE(sleep_unless_stopped(source.get_token(), std::chrono::milliseconds(2)));
  EXPECT_GE(monotonic_ns() - before, 2'000'000u);
}

TEST(SleepUnlessStopped, ReturnsAtOnceWhenAlreadyStopped) {
  std::stop_source source;
  source.request_stop();
  EXPECT_FALSE(sleep_unless_stopped(source.get_token(), std::chrono::hours(1)));
}

TEST(ThreadDeathTest, JoinByItselfAborts) {
  EXPECT_DEATH(
      {
        Thread thread;
        std::atomic<bool> ready{false};
        thread = Thread("test.self", [&] {
          while (!ready) {
          }
          thread.join();
        });
        ready = true;
        while (true) ::pause();
      },
      "thread 'test.self' joined by itself");
}

}  // namespace
}  // namespace causeway::sync
