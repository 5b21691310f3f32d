// Whatever waits for an event answers with the library as it does without, and is judged rightly.
#include <gtest/gtest.h>

#include "interpose/testing/tracked_run.h"

namespace causeway::interpose {
namespace {

using dept::Level;
using dept::Report;
using dept::ReportId;

Level highest_level(const TrackedRun& run) {
  Level highest = Level::kInfo;
  for (const auto& arena : run.arenas) {
    for (uint32_t i = 1; i < arena->used<Report>(); ++i) highest = std::max(highest, arena->at<Report>(ReportId(i)).level);
  }
  return highest;
}

// Programs without a mistake: nothing that is shown unasked.
void expect_same_and_silent(const char* program) {
  const TrackedRun plain = TrackedRun::plain(program);
  ASSERT_FALSE(plain.out.empty());
  for (const char* options : {"", "noise_us=300 timeouts=1 full_stacks=1"}) {
    const TrackedRun tracked = TrackedRun::with_library(program, {}, options);
    EXPECT_EQ(tracked.status, plain.status) << options;
    EXPECT_EQ(tracked.out, plain.out) << options;
    EXPECT_EQ(tracked.err, plain.err) << options;
    EXPECT_FALSE(tracked.arenas.empty());
    EXPECT_LT(highest_level(tracked), Level::kLikely) << options;
  }
}

TEST(Waits, EveryPrimitiveAnswersTheSame) { expect_same_and_silent("waits"); }
TEST(Waits, SignalsAndTheWaysOutOfHandlers) { expect_same_and_silent("signals"); }
TEST(Waits, TheStandardLibrary) { expect_same_and_silent("standard"); }
TEST(Waits, TheStandardLibraryOptimized) { expect_same_and_silent("standard_optimized"); }

// One wait of each kind that closes a circle with a mutex; the program says which.
TEST(Waits, CirclesThroughEachKindOfEvent) {
  for (const char* kind : {"cond", "cnd", "futex", "eventfd", "pipe", "semaphore", "epoll", "epoll_dup", "epoll_closed", "epoll_removed", "epoll_refused"}) {
    const TrackedRun crossed = TrackedRun::with_library("wait_circle", {kind, "crossed"});
    EXPECT_TRUE(crossed.exited_well()) << kind;
    EXPECT_EQ(highest_level(crossed), Level::kLikely) << kind;
    const TrackedRun safe = TrackedRun::with_library("wait_circle", {kind, "safe"});
    EXPECT_TRUE(safe.exited_well()) << kind;
    EXPECT_LT(highest_level(safe), Level::kPossible) << kind;
  }
}

// Who waits for any of several, or not for ever, waits for nobody.
TEST(Waits, ASetIsADependencyOnlyIfItHasOneOfOurs) {
  for (const char* kind : {"epoll_two", "epoll_file", "epoll_timeout", "epoll_room", "between"}) {
    const TrackedRun crossed = TrackedRun::with_library("wait_circle", {kind, "crossed"});
    EXPECT_TRUE(crossed.exited_well()) << kind;
    EXPECT_LT(highest_level(crossed), Level::kPossible) << kind;
  }
}

// The short way of a lock that is known ends where it turns out to be a signal.
TEST(Waits, ASemaphoreThatIsNoLockAnyMoreOrdersWhatItEnds) {
  const TrackedRun ordered = TrackedRun::with_library("semaphores", {"ordered"});
  EXPECT_TRUE(ordered.exited_well());
  EXPECT_EQ(highest_level(ordered), Level::kInfo);
  const TrackedRun chance = TrackedRun::with_library("semaphores", {"chance"});
  EXPECT_TRUE(chance.exited_well());
  EXPECT_EQ(highest_level(chance), Level::kLikely);
}

}  // namespace
}  // namespace causeway::interpose
