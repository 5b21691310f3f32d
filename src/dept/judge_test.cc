// Level by level: what each refutation does to a circle, and that more witnesses only make it worse.
#include "dept/judge.h"

#include <gtest/gtest.h>

#include "dept/graph_fixture.h"

namespace causeway::dept {
namespace {

struct Seen {
  Level level;
  uint32_t refutations;
};
Seen seen(const Play& play) {
  const Report* worst = play.worst();
  return worst != nullptr ? Seen{worst->level, worst->refutations} : Seen{Level::kInfo, ~0u};
}

// a -> b by thread 1, then b -> a by thread 2, with these differences.
struct Crossed {
  unsigned second_thread = 2;
  std::string first_b = "b";
  uint32_t flags = 0;
  bool gate = false;
  Judge judge = {};
};
Seen crossed(const Crossed& how) {
  Play play(how.judge);
  if (how.gate) play.l(1, "g");
  play.chain(1, {"a", how.first_b});
  if (how.gate) play.l(how.second_thread, "g");
  play.l(how.second_thread, "b");
  play.lock(how.second_thread, "a", bit(Event::kWrite), Event::kWrite, how.flags);
  return seen(play);
}

TEST(Judge, TheTableOfLevels) {
  EXPECT_EQ(crossed({}).level, Level::kLikely);
  const struct {
    Crossed how;
    Level level;
    uint32_t refutation;
  } rows[] = {
      {{.second_thread = 1}, Level::kInfo, kOneThread},
      {{.gate = true}, Level::kInfo, kGate},
      {{.flags = Witness::kTimed}, Level::kInfo, kOnlyTimed},
      {{.flags = Witness::kPredicted}, Level::kPossible, kOnlyPredicted},
      {{.flags = Witness::kInferred}, Level::kPossible, kOnlyInferred},
      {{.flags = Witness::kSpinTry}, Level::kPossible, kOnlyInferred},
      {{.flags = Witness::kPool}, Level::kPossible, kOnlyTentative},
      {{.first_b = "b.2"}, Level::kPossible, kOtherObjects},
  };
  for (const auto& row : rows) {
    const Seen got = crossed(row.how);
    EXPECT_EQ(got.level, row.level) << row.refutation;
    EXPECT_EQ(got.refutations, row.refutation);
  }
}

TEST(Judge, TheKernelKnowsNoDifferences) {
  const Judge kernel{.threads = false, .gates = false, .order = false, .objects = false, .timeouts = true};
  EXPECT_EQ(crossed({.second_thread = 1, .judge = kernel}).level, Level::kLikely);
  EXPECT_EQ(crossed({.gate = true, .judge = kernel}).level, Level::kLikely);
  EXPECT_EQ(crossed({.first_b = "b.2", .judge = kernel}).level, Level::kLikely);
  EXPECT_EQ(crossed({.flags = Witness::kTimed, .judge = kernel}).level, Level::kLikely);
}

// Locks on the stacks of two threads are taken at the same lines, and are not the same locks.
TEST(Judge, WhatIsOnAStackAndNotSharedDoesNotMeet) {
  for (const uint32_t flags : {uint32_t{Object::kOnStack}, uint32_t{Object::kOnStack | Object::kForeign}}) {
    Play play;
    play.arena.at<Object>(play.object("b.2")).flags = flags;
    play.chain(1, {"a", "b.2"});
    play.chain(2, {"b", "a"});
    EXPECT_EQ(seen(play).level, flags == Object::kOnStack ? Level::kInfo : Level::kPossible);
  }
}

// A future of its own for each request: the one that was waited for, and the one that was answered, are not the same.
TEST(Judge, AnsweredOnTheSamePathIsAsGoodAsTheSameObject) {
  for (const bool same_path : {true, false}) {
    Play play;
    const StackId waits{5};
    const StackId asked{same_path ? 5u : 6u};
    const ClassId lock = play.cls("session");
    const ClassId future = play.cls("future.1");
    ASSERT_EQ(play.cls("future.2"), future);
    play.graph.depend(lock, future, {.thread = ThreadId(1), .from_object = play.object("session"), .to_object = play.object("future.1"),
                                     .wait = waits, .flags = Witness::kOwned});
    play.graph.depend(future, lock, {.thread = ThreadId(2), .from_object = play.object("future.2"), .to_object = play.object("session"),
                                     .start = asked, .flags = Witness::kWindow});
    EXPECT_EQ(seen(play).level, same_path ? Level::kLikely : Level::kPossible);
  }
}

TEST(Judge, MoreWitnessesOnlyRaise) {
  Play play;
  play.chain(1, {"g", "a", "b"});
  play.chain(1, {"g", "b", "a"});
  EXPECT_EQ(seen(play).refutations, kOneThread | kGate);
  play.chain(2, {"g", "b", "a"});
  EXPECT_EQ(seen(play).level, Level::kInfo);
  play.chain(3, {"b.2", "a"});
  EXPECT_EQ(seen(play).level, Level::kPossible);
  play.chain(3, {"b", "a"});
  EXPECT_EQ(seen(play).level, Level::kLikely);
  const size_t reports = play.reports().size();
  play.chain(4, {"b", "a"});
  play.chain(1, {"b", "a"});
  EXPECT_EQ(play.reports().size(), reports);
  for (const Report* r : play.reports()) EXPECT_EQ(r->id, play.worst()->id);
  Level last = Level::kInfo;
  for (const Report* r : play.reports()) {
    EXPECT_GE(r->level, last);
    last = r->level;
  }
}

TEST(Judge, AGateOfOneThreadAloneIsNone) {
  Play play;
  play.chain(1, {"g", "a", "b"});
  play.chain(2, {"b", "a"});
  EXPECT_EQ(seen(play).level, Level::kLikely);
}

TEST(Judge, AReaderIsNoGate) {
  Play play;
  play.r(1, "g");
  play.chain(1, {"a", "b"});
  play.r(2, "g");
  play.chain(2, {"b", "a"});
  EXPECT_EQ(seen(play).level, Level::kLikely);
}

// Who holds c cannot meet who comes from c: the lock of a hop itself is a gate to the others.
TEST(Judge, AHopsOwnLockKeepsOthersOut) {
  Play play;
  play.l(1, "c");
  play.chain(1, {"a", "b"});
  play.unlock_all(1);
  play.chain(2, {"b", "c"});
  play.chain(3, {"c", "a"});
  // c, b and b, c meet; a, b, c do not, though three threads do them.
  for (const Report* r : play.reports()) EXPECT_EQ(r->level, r->hop_count == 2 ? Level::kLikely : Level::kInfo);
}

// T1: a b, b c by hand over hand; T2: c a. Two threads cannot close three hops (spec M09).
TEST(Judge, HandOverNeedsThreeThreads) {
  Play play;
  play.l(1, "a"); play.l(1, "b"); play.u(1, "a"); play.l(1, "c"); play.unlock_all(1);
  play.chain(2, {"c", "a"});
  EXPECT_EQ(seen(play).level, Level::kInfo);
  EXPECT_EQ(seen(play).refutations, uint32_t{kOneThread});
  play.l(3, "a"); play.l(3, "b"); play.u(3, "a"); play.l(3, "c"); play.unlock_all(3);
  EXPECT_EQ(seen(play).level, Level::kLikely);
}

TEST(Judge, TentativeIsConfirmedOrVoided) {
  for (const bool is_lock : {true, false}) {
    Play play;
    for (const char* name : {"s", "t"}) play.arena.at<Object>(play.object(name)).kind = Kind::kSemaphore;
    play.l(1, "s");
    play.lock(1, "t", bit(Event::kWrite), Event::kWrite, Witness::kTentative);
    play.l(2, "t");
    play.lock(2, "s", bit(Event::kWrite), Event::kWrite, Witness::kTentative);
    EXPECT_EQ(seen(play).level, Level::kPossible);
    EXPECT_EQ(seen(play).refutations, uint32_t{kOnlyTentative});
    if (is_lock) {
      for (const char* name : {"s", "t"}) {
        play.arena.at<Object>(play.object(name)).flags.fetch_or(Object::kLockLike);
        play.graph.confirm_tentative(play.object(name));
      }
      EXPECT_EQ(seen(play).level, Level::kLikely);
    } else {
      play.arena.at<Object>(play.object("s")).flags.fetch_or(Object::kSignalLike);
      play.graph.void_tentative(play.object("s"));
      EXPECT_TRUE(play.arena.at<Edge>(EdgeId(1)).flags & Edge::kVoid);
      play.chain(3, {"s", "t"});
      EXPECT_EQ(seen(play).level, Level::kPossible);  // t -> s is void, so s -> t alone closes nothing
    }
  }
}

}  // namespace
}  // namespace causeway::dept
