#include "dept/known_wakes.h"

#include "dept/testing_threads.h"

namespace causeway::dept {
namespace {

class KnownWakes : public TrackerTest {
 protected:
  void SetUp() override {
    TrackerTest::SetUp();
    locks::open_known();
  }
  void TearDown() override { locks::close_known(); }
  // As an interposer does it. True: the short way.
  static bool wake(Cond& cond) {
    if (const CachedObject* known = sleeps::known_wake(cond.address())) {
      sleeps::repeat_wake(*known);
      return true;
    }
    cond.wake();
    return false;
  }
  static bool wakes_twice(Cond& cond) {
    wake(cond);
    return wake(cond);
  }
  Lock a_{"a"}, b_{"b"};
  Cond done_{"done", Kind::kSemaphore}, other_{"other", Kind::kSemaphore};
};

TEST_F(KnownWakes, OfWhoHasWaitedForNothing) {
  EXPECT_FALSE(wake(done_));
  EXPECT_TRUE(wake(done_));
  EXPECT_FALSE(wake(other_));
  EXPECT_TRUE(wake(done_));
}

TEST_F(KnownWakes, NotWhenSomethingNewWasWaitedFor) {
  a_.lock();
  a_.unlock();
  EXPECT_TRUE(wakes_twice(done_));
  a_.lock();  // the same again
  a_.unlock();
  EXPECT_TRUE(wake(done_));
  b_.lock();
  b_.unlock();
  EXPECT_FALSE(wake(done_));
  EXPECT_TRUE(wake(done_));
  a_.lock();  // and another wake, since another lock is held
  EXPECT_FALSE(wake(done_));
  EXPECT_TRUE(wake(done_));
  a_.unlock();
  EXPECT_TRUE(wake(done_));
  tracker().new_context(self());
  EXPECT_TRUE(wake(done_));
  a_.lock();
  a_.unlock();
  EXPECT_FALSE(wake(done_));
}

TEST_F(KnownWakes, NotWhenSomebodySleeps) {
  EXPECT_TRUE(wakes_twice(done_));
  sleeps::Sleep sleep;
  Stepper sleeper;
  sleeper.step([&] { sleeps::begin(sleep, done_.object(), Site::at("wait", 7), {}); });
  EXPECT_FALSE(wakes_twice(done_));
  a_.lock();
  a_.unlock();
  EXPECT_FALSE(wakes_twice(done_));
  sleeper.step([&] { sleeps::end(sleep, sleeps::Outcome::kWoken, Site::at("woken", 1)); });
  EXPECT_FALSE(wake(done_));  // there is one more who ever slept there
  EXPECT_TRUE(wake(done_));
}

TEST_F(KnownWakes, NotOfAnotherObjectAtTheSamePlace) {
  EXPECT_TRUE(wakes_twice(done_));
  tracker().object_died(done_.address());
  EXPECT_FALSE(wake(done_));
}

TEST_F(KnownWakes, NotIfTheyAreToBeDelayed) {
  Settings noisy = settings();
  noisy.noise_us = 1;
  again(noisy);
  locks::open_known();
  EXPECT_FALSE(wakes_twice(done_));
}

TEST_F(KnownWakes, OrderWhatCameBeforeThemAndAreCounted) {
  EXPECT_TRUE(wakes_twice(done_));
  const uint32_t epoch = self()->epoch;
  const Witness before{.thread = self()->thread, .epoch = epoch};
  EXPECT_TRUE(wake(done_));
  thread([&] {
    tracker().order().acquire(*self(), done_.object());
    const Witness after{.thread = self()->thread, .clock = tracker().order().snapshot(*self())};
    EXPECT_TRUE(tracker().order().before(before, after));
  });
  const uint64_t seen = arena().counted(Counter::kEventsSeen);
  unsigned quick = 0;
  while (wake(done_)) ++quick;
  EXPECT_EQ(quick + 2, kMostKnownWakes);
  EXPECT_EQ(arena().counted(Counter::kEventsSeen), seen + kMostKnownWakes + 1);
}

}  // namespace
}  // namespace causeway::dept
