#include "dept/locks.h"

#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <memory>

#include "dept/hash.h"
#include "dept/testing_threads.h"

namespace causeway::dept {
namespace {

constexpr ObjectTraits kReaders{.kind = Kind::kRwLock, .flags = Object::kReaderLock};
constexpr ObjectTraits kQueuedReaders{.kind = Kind::kRwLock, .flags = Object::kReaderLock | Object::kQueued};

class Locks : public TrackerTest {
 protected:
  // First this, then that, given up in the other order.
  static void both(Lock& first, Lock& second) {
    first.lock(CW_HERE);
    second.lock(CW_HERE);
    second.unlock();
    first.unlock();
  }
  static uint32_t held() { return self()->held(); }
};

TEST_F(Locks, TwoOrdersAreLikelyBeforeTheSecondBlocks) {
  Lock a("a"), b("b");
  thread([&] { both(a, b); });
  EXPECT_EQ(worst(), std::nullopt);
  thread([&] {
    b.lock();
    a.announce();
    EXPECT_EQ(worst(), Level::kLikely);
    locks::not_acquired(a.object());
    b.unlock();
  });
  EXPECT_EQ(count(), 1u);
}

TEST_F(Locks, OneThreadAloneIsInfo) {
  Lock a("a"), b("b");
  thread([&] {
    both(a, b);
    both(b, a);
  });
  EXPECT_EQ(worst(), Level::kInfo);
}

TEST_F(Locks, AGateIsInfo) {
  Lock gate("gate"), a("a"), b("b");
  const auto gated = [&](Lock& x, Lock& y) {
    gate.lock();
    both(x, y);
    gate.unlock();
  };
  thread([&] { gated(a, b); });
  thread([&] { gated(b, a); });
  EXPECT_EQ(worst(), Level::kInfo);
  thread([&] { both(b, a); });
  EXPECT_EQ(worst(), Level::kLikely);
}

TEST_F(Locks, ATrylockWaitsForNothing) {
  Lock a("a"), b("b");
  thread([&] { both(a, b); });
  thread([&] {
    b.lock();
    a.try_lock();
    a.unlock();
    b.unlock();
  });
  EXPECT_EQ(worst(), std::nullopt);
}

// What it holds by trying is held like anything else.
TEST_F(Locks, WhatATrylockHoldsIsHeld) {
  Lock a("a"), b("b");
  thread([&] { both(a, b); });
  thread([&] {
    b.try_lock();
    a.lock();
    a.unlock();
    b.unlock();
  });
  EXPECT_EQ(worst(), Level::kLikely);
}

TEST_F(Locks, ManyFailedTriesInARowAreAWait) {
  Lock a("a"), b("b");
  thread([&] { both(a, b); });
  thread([&] {
    b.lock();
    for (int i = 0; i < 3; ++i) locks::try_failed(a.object(), locks::Mode::kWrite, Site::at("spin", 1));
    EXPECT_EQ(worst(), std::nullopt);
    for (int i = 0; i < 30; ++i) locks::try_failed(a.object(), locks::Mode::kWrite, Site::at("spin", 1));
    b.unlock();
  });
  EXPECT_EQ(count(Problem::kCycle, Level::kPossible), 1u);
}

// Who backs off before each try waits for nothing with `b` held, until that goes on for long.
TEST_F(Locks, ATryThatBacksOffIsNoSpin) {
  for (const bool backs_off : {true, false}) {
    again(settings());
    Lock a("a"), b("b");
    thread([&] { both(a, b); });
    thread([&] {
      b.lock();
      for (int i = 0; i < 8; ++i) {
        locks::try_failed(a.object(), locks::Mode::kWrite, Site::at("spin", 1));
        if (!backs_off) continue;
        b.unlock();
        b.lock();
      }
      b.unlock();
    });
    EXPECT_EQ(worst(), backs_off ? std::nullopt : std::optional(Level::kPossible));
  }
}

TEST_F(Locks, TheOwnerLockingAgainIsCertainBeforeItBlocks) {
  Lock a("a");
  a.lock(CW_HERE);
  a.announce(CW_HERE);
  EXPECT_EQ(count(Problem::kRelock, Level::kCertain), 1u);
  locks::not_acquired(a.object());
  a.unlock();
}

TEST_F(Locks, ARecursiveLockCountsItsDepth) {
  Lock a("a", {.kind = Kind::kMutex, .flags = Object::kRecursive}), b("b");
  for (int i = 0; i < 3; ++i) a.lock();
  EXPECT_EQ(held(), 1u);
  for (int i = 0; i < 2; ++i) a.unlock();
  EXPECT_EQ(held(), 1u);
  a.unlock();
  EXPECT_EQ(held(), 0u);
  EXPECT_EQ(count(Problem::kRelock, Level::kInfo), 0u);
  EXPECT_EQ(count(Problem::kMisuse, Level::kInfo), 0u);
}

TEST_F(Locks, ReadersOfOneLock) {
  Lock x("x", kReaders);
  x.read();
  x.read();
  EXPECT_EQ(count(Problem::kRelock, Level::kInfo), 0u);
  x.announce();  // to write
  EXPECT_EQ(count(Problem::kRelock, Level::kCertain), 1u);
  locks::not_acquired(x.object());
  x.unlock();
  EXPECT_EQ(held(), 1u);
  x.unlock();
  EXPECT_EQ(held(), 0u);
}

TEST_F(Locks, QueuedReadersMayNotReadTwice) {
  Lock x("x", kQueuedReaders);
  x.read();
  x.read();
  EXPECT_EQ(count(Problem::kRelock, Level::kLikely), 1u);
  EXPECT_EQ(count(Problem::kRelock, Level::kCertain), 0u);
}

TEST_F(Locks, CrossedReadersAreADeadlockOnlyIfTheyQueue) {
  for (const bool queued : {false, true}) {
    again(settings());
    Lock x("x", queued ? kQueuedReaders : kReaders), y("y", queued ? kQueuedReaders : kReaders);
    const auto read_both = [](Lock& first, Lock& second) {
      first.read();
      second.read();
      second.unlock();
      first.unlock();
    };
    thread([&] { read_both(x, y); });
    thread([&] { read_both(y, x); });
    EXPECT_EQ(worst().has_value(), queued);
  }
}

// The chain that a read has made known may not hide a write (spec, trap 34).
TEST_F(Locks, AKnownReadHidesNoWrite) {
  Lock x("x", kReaders), l("l");
  thread([&] {
    x.read();
    l.lock();
    l.unlock();
    x.unlock();
  });
  thread([&] {
    for (int i = 0; i < 3; ++i) {
      l.lock();
      x.read(Site::at("same", 1));
      x.unlock();
      l.unlock();
    }
    EXPECT_EQ(worst(), std::nullopt);
    l.lock();
    x.lock(Site::at("same", 1));
    x.unlock();
    l.unlock();
  });
  EXPECT_EQ(worst(), Level::kLikely);
}

TEST_F(Locks, ADowngradedWriterReads) {
  Lock x("x", kReaders), y("y", kReaders);
  x.lock();
  locks::downgraded(x.object(), CW_HERE);
  ASSERT_EQ(held(), 1u);
  EXPECT_EQ(self()->held_list()[0].event, Event::kRead);
  x.read();
  EXPECT_EQ(count(Problem::kRelock, Level::kInfo), 0u);
}

TEST_F(Locks, UnlockByAnotherThreadIsAnEvent) {
  Lock handed("handed"), a("a");
  Stepper owner, other;
  // Twice: from the first time on its event is wanted since it was taken.
  for (int round = 0; round < 2; ++round) {
    owner.step([&] { handed.lock(CW_HERE); });
    other.step([&] {
      a.lock(CW_HERE);
      handed.unlock();
      a.unlock();
    });
    owner.step([&] {
      a.lock();  // any call: it finds that it holds nothing any more
      EXPECT_EQ(held(), 1u);
      a.unlock();
    });
  }
  EXPECT_EQ(count(Problem::kMisuse, Level::kInfo, Misuse::kUnlockByOther), 1u);
  thread([&] { both(a, handed); });
  EXPECT_EQ(worst(), Level::kLikely);
}

// What others unlock may be free before whoever took it comes back.
TEST_F(Locks, WhatIsHandedOverIsNotHeldForCertain) {
  for (const bool is_handed_over : {false, true}) {
    again(settings());
    Lock turn("turn"), a("a");
    Stepper owner;
    owner.step([&] { turn.lock(CW_HERE); });
    if (is_handed_over) thread([&] { turn.unlock(); });
    owner.step([&] {
      if (!is_handed_over) turn.unlock();
    });
    thread([&] { both(turn, a); });
    thread([&] { both(a, turn); });
    EXPECT_EQ(worst(), is_handed_over ? Level::kPossible : Level::kLikely);
  }
}

// Its owner has ended meanwhile: that somebody else unlocks it is all the more wanted.
TEST_F(Locks, WhatAnEndedThreadHasLockedIsUnlockedByAnother) {
  Lock handed("handed"), a("a");
  thread([&] { handed.lock(CW_HERE); });
  thread([&] {
    a.lock(CW_HERE);
    handed.unlock();
    a.unlock();
  });
  EXPECT_EQ(count(Problem::kMisuse, Level::kInfo, Misuse::kExitHeld), 1u);
  EXPECT_EQ(count(Problem::kMisuse, Level::kInfo, Misuse::kUnlockNotHeld), 0u);
  thread([&] { both(a, handed); });
  EXPECT_EQ(worst(), Level::kLikely);
}

TEST_F(Locks, UnlockOfWhatNobodyHolds) {
  Lock a("a");
  a.lock();
  a.unlock();
  a.unlock();
  EXPECT_EQ(count(Problem::kMisuse, Level::kInfo, Misuse::kUnlockNotHeld), 1u);
}

TEST_F(Locks, NotInTheOrderTheyWereTaken) {
  Lock a("a"), b("b"), c("c");
  thread([&] {
    a.lock();
    b.lock();
    a.unlock();  // hand over hand
    c.lock();
    EXPECT_EQ(held(), 2u);
    b.unlock();
    c.unlock();
    EXPECT_EQ(held(), 0u);
  });
  thread([&] { both(c, a); });
  EXPECT_EQ(worst(), Level::kInfo);  // by way of b, which needs a third thread: a was never held with c
  thread([&] { both(c, b); });
  EXPECT_EQ(worst(), Level::kLikely);
}

TEST_F(Locks, TwoHundredAtOnce) {
  std::vector<std::unique_ptr<Lock>> all;
  for (int i = 0; i < 200; ++i) all.push_back(std::make_unique<Lock>("array"));
  for (auto& lock : all) lock->lock();
  EXPECT_EQ(held(), 200u);
  for (auto& lock : all) lock->unlock();
  EXPECT_EQ(held(), 0u);
  EXPECT_EQ(arena().counted(Counter::kHeldOverflow), 0u);
}

TEST_F(Locks, MoreThanThereIsRoomForIsCountedAndBalanced) {
  std::vector<std::unique_ptr<Lock>> all;
  for (unsigned i = 0; i < kMaxHeld + 10; ++i) all.push_back(std::make_unique<Lock>("array"));
  for (auto& lock : all) lock->try_lock();
  EXPECT_EQ(arena().counted(Counter::kHeldOverflow), 10u);
  for (size_t i = all.size(); i-- != 0;) all[i]->unlock();
  EXPECT_EQ(held(), 0u);
  EXPECT_EQ(self()->missed, 0u);
  EXPECT_EQ(count(Problem::kMisuse, Level::kInfo), 0u);
}

TEST_F(Locks, NestingLevelsSilenceOneClassOnly) {
  constexpr uint32_t kStrict = Class::kStrictNesting;
  const ObjectTraits traits{.kind = Kind::kMutex, .key = 77, .class_flags = kStrict};
  Lock a0("a0", traits), a1("a1", traits), b("b");
  thread([&] {
    a0.lock();
    a1.lock(CW_HERE, {.nesting = 1});
    a1.unlock();
    a0.unlock();
  });
  EXPECT_EQ(worst(), std::nullopt);
  // A foreign lock between the levels (spec 1.8 f): A -> B and B -> A.
  thread([&] {
    a0.lock();
    b.lock();
    a1.lock(CW_HERE, {.nesting = 1});
    a1.unlock();
    b.unlock();
    a0.unlock();
  });
  EXPECT_NE(worst(), std::nullopt);
}

TEST_F(Locks, ANestLockIsHeldAndWaitsForNothing) {
  const ObjectTraits traits{.kind = Kind::kMutex, .key = 78, .class_flags = Class::kStrictNesting};
  Lock a("a", traits), b("b", traits);
  a.lock(CW_HERE, {.nest_lock = true});
  b.lock(CW_HERE, {.nest_lock = true});
  EXPECT_EQ(held(), 2u);
  b.unlock();
  a.unlock();
  EXPECT_EQ(held(), 0u);
  EXPECT_EQ(worst(), std::nullopt);
}

TEST_F(Locks, TimedWaitsAreLeftOutUnlessAskedFor) {
  for (const bool timeouts : {false, true}) {
    Settings other = settings();
    other.timeouts = timeouts;
    again(other);
    Lock a("a"), b("b");
    thread([&] { both(a, b); });
    thread([&] {
      b.lock();
      a.lock(CW_HERE, {.timed = true});
      a.unlock();
      b.unlock();
    });
    EXPECT_EQ(worst().has_value(), timeouts);
    EXPECT_EQ(count(Problem::kCycle, Level::kLikely), 0u);
  }
}

TEST_F(Locks, CallsFromInsideAreBalanced) {
  static Lock* inner;
  static int called;
  Lock a("a"), b("b"), c("c");
  inner = &c;
  called = 0;
  Settings other = settings();
  other.on_report = [](ReportId) {
    ++called;
    inner->lock();
    inner->unlock();
  };
  again(other);
  thread([&] { both(a, b); });
  thread([&] {
    both(b, a);
    EXPECT_EQ(held(), 0u);
    EXPECT_EQ(self()->missed, 0u);
  });
  EXPECT_EQ(called, 1);
  EXPECT_EQ(count(Problem::kMisuse, Level::kInfo), 0u);
}

TEST_F(Locks, AfterStopNothingHappens) {
  Lock a("a"), b("b");
  thread([&] { both(a, b); });
  Tracker::stop("the test wants it");
  both(b, a);
  EXPECT_EQ(arena().text(StringId(arena().header().stopped.load())), "the test wants it");
  EXPECT_EQ(arena().used<Report>(), 1u);
}

TEST_F(Locks, TheChildOfAForkKnowsWhatNobodyWillUnlock) {
  Lock theirs("theirs"), mine("mine");
  Stepper other;
  other.step([&] { theirs.lock(CW_HERE); });
  mine.lock(CW_HERE);
  const pid_t child = fork();
  if (child == 0) {
    bool good = Tracker::child_after_fork(-1) == 0;
    good = good && held() == 1 && count(Problem::kOrphan, Level::kInfo) == 0;
    mine.unlock();
    good = good && held() == 0 && count(Problem::kMisuse, Level::kInfo) == 0;
    theirs.announce(CW_HERE);
    good = good && count(Problem::kOrphan, Level::kCertain) == 1;
#if !defined(__SANITIZE_THREAD__)  // which does not follow a fork that starts threads
    Lock a("a"), b("b");
    thread([&] { both(a, b); });
    thread([&] { both(b, a); });
    good = good && worst() == Level::kLikely;
#endif
    _exit(good ? 0 : 1);
  }
  int status = -1;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
  mine.unlock();
  other.step([&] { theirs.unlock(); });
  EXPECT_EQ(arena().used<Report>(), 1u);
}

}  // namespace
}  // namespace causeway::dept
