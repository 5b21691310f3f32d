// What every primitive tells a tracker. A program of its own: the whole room is built into it with
// sync/testing/recorder.h behind the hooks.
#include <gtest/gtest.h>

#include "sync/completion.h"
#include "sync/guarded.h"
#include "sync/thread.h"
#include "sync/wait_queue.h"

namespace causeway::sync {
namespace {

using track::Recorder;
using Lines = std::vector<std::string>;
using std::chrono::milliseconds;

TEST(TrackHooks, LifeOfAMutex) {
  Recorder::clear();
  {
    Mutex mutex("m");
    MutexLock lock(mutex);
  }
  EXPECT_EQ(Recorder::lines(),
            (Lines{"created m", "acquiring m exclusive", "acquired m exclusive", "releasing m exclusive", "destroyed m"}));
}

TEST(TrackHooks, PlaceIsTheCallersNotTheLocks) {
  Mutex mutex("m");
  mutex.lock();
  unsigned locked_on = __LINE__ - 1;
  EXPECT_EQ(Recorder::last_line(), locked_on);
  mutex.unlock();
  unsigned unlocked_on = __LINE__ - 1;
  EXPECT_EQ(Recorder::last_line(), unlocked_on);
}

TEST(TrackHooks, FailedTryIsNoWaitAndNoAcquisition) {
  Mutex mutex("m");
  MutexLock lock(mutex);
  Recorder::clear();
  EXPECT_FALSE(mutex.try_lock());
  EXPECT_EQ(Recorder::lines(), Lines{});
}

TEST(TrackHooks, SuccessfulTryIsAnAcquisitionWithoutAnAttempt) {
  SpinLock spin("s");
  RwLock rw("r");
  Recorder::clear();
  if (spin.try_lock()) spin.unlock();
  if (rw.try_lock()) rw.unlock();
  if (rw.try_lock_shared()) rw.unlock_shared();
  EXPECT_EQ(Recorder::lines(),
            (Lines{"acquired s exclusive try", "releasing s exclusive", "acquired r exclusive try",
                   "releasing r exclusive", "acquired r shared try", "releasing r shared"}));
}

TEST(TrackHooks, RwLockTellsItsMode) {
  RwLock lock("r");
  Recorder::clear();
  { ReadLock read(lock); }
  { WriteLock write(lock); }
  EXPECT_EQ(Recorder::lines(), (Lines{"acquiring r shared", "acquired r shared", "releasing r shared",
                                      "acquiring r exclusive", "acquired r exclusive", "releasing r exclusive"}));
}

TEST(TrackHooks, CondVarSleepsWithoutTheMutex) {
  Mutex mutex("m");
  CondVar condition("c");
  MutexLock lock(mutex);
  Recorder::clear();
  EXPECT_FALSE(condition.wait_until(mutex, Deadline::at_ns(1)));
  EXPECT_EQ(Recorder::lines(), (Lines{"wait_begin c timed without m", "wait_end c by time"}));
}

TEST(TrackHooks, NotifyIsAnEventEvenWithoutWaiters) {
  CondVar condition("c");
  WaitQueue queue("q");
  Completion done("d");
  Recorder::clear();
  condition.notify_one();
  condition.notify_all();
  queue.wake_one();
  queue.wake_all();
  done.complete();
  done.complete_all();
  EXPECT_EQ(Recorder::lines(), (Lines{"event c", "event c for all", "event q", "event q for all", "event d",
                                      "event d for all"}));
}

TEST(TrackHooks, CompletionWaitsOnlyWhenThereIsNothingToTake) {
  Completion done("d");
  done.complete();
  Recorder::clear();
  done.wait();
  EXPECT_EQ(Recorder::lines(), Lines{"passed d"});
  Recorder::clear();
  EXPECT_FALSE(done.wait_for(milliseconds(0)));
  EXPECT_EQ(Recorder::lines(), (Lines{"wait_begin d timed", "wait_end d by time"}));
}

TEST(TrackHooks, WaitQueueWaitsOnlyWhenTheConditionIsFalse) {
  WaitQueue queue("q");
  Recorder::clear();
  queue.wait([] { return true; });
  EXPECT_EQ(Recorder::lines(), Lines{"passed q"});
  Recorder::clear();
  int looks = 0;
  // True at the third look: before and after it joins the queue it is false, so it sleeps once.
  EXPECT_TRUE(queue.wait_for(milliseconds(1), [&] { return ++looks == 3; }));
  EXPECT_EQ(Recorder::lines(), (Lines{"wait_begin q timed", "wait_end q by time", "passed q"}));
}

TEST(TrackHooks, EndOfAThreadIsAnEventThatJoinWaitsFor) {
  Recorder::clear();
  Thread thread("t", [] {});
  while (Recorder::lines().size() < 4) std::this_thread::yield();
  thread.join();
  EXPECT_EQ(Recorder::lines(), (Lines{"created t", "thread_started t", "event t for all", "thread_exiting t", "wait_begin t",
                                      "wait_end t", "destroyed t"}));
}

TEST(TrackHooks, GuardedReportsItsNamedLock) {
  Guarded<int, SpinLock> number(LockName("g"), 1);
  Recorder::clear();
  number.with([](int& value) { ++value; });
  EXPECT_EQ(Recorder::lines(), (Lines{"acquiring g exclusive", "acquired g exclusive", "releasing g exclusive"}));
}

constinit Mutex g_static_mutex{"static"};
TEST(TrackHooks, CompileTimeObjectIsFirstSeenWhenUsed) {
  Recorder::clear();
  { MutexLock lock(g_static_mutex); }
  EXPECT_EQ(Recorder::lines(),
            (Lines{"acquiring static exclusive", "acquired static exclusive", "releasing static exclusive"}));
}

}  // namespace
}  // namespace causeway::sync

int main(int argc, char** argv) {
  ::testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}
