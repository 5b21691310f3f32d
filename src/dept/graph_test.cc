#include "dept/graph.h"

#include <gtest/gtest.h>

#include <thread>

#include "dept/graph_fixture.h"

namespace causeway::dept {
namespace {

TEST(Graph, TwoOrdersOfTwoLocks) {
  Play play;
  play.chain(1, {"a", "b"});
  EXPECT_TRUE(play.silent());
  play.chain(2, {"b", "a"});
  ASSERT_EQ(play.reports().size(), 1u);
  EXPECT_EQ(play.worst()->level, Level::kLikely);
  EXPECT_EQ(play.worst()->hop_count, 2);
  EXPECT_EQ(play.worst()->refutations, 0u);
  EXPECT_EQ(play.worst()->thread, ThreadId(2));
}

TEST(Graph, KnownEdgesAreNotWantedAgain) {
  Play play;
  Witness w{.thread = ThreadId(1), .from_object = play.object("a"), .to_object = play.object("b"), .flags = Witness::kOwned};
  const ClassId a = play.cls("a");
  const ClassId b = play.cls("b");
  EXPECT_TRUE(play.graph.wants(a, b, w));
  EXPECT_TRUE(play.graph.wants(a, b, Graph::hash_of(w)));
  play.graph.depend(a, b, w);
  EXPECT_FALSE(play.graph.wants(a, b, w));
  EXPECT_FALSE(play.graph.wants(a, b, Graph::hash_of(w)));
  EXPECT_TRUE(play.graph.wants(b, a, w));
  w.epoch = 7;  // another time matters only in a circle
  EXPECT_FALSE(play.graph.wants(a, b, w));
  w.guard_count = 1;
  w.guards[0] = play.object("g");
  EXPECT_TRUE(play.graph.wants(a, b, w));
}

TEST(Graph, InACircleTheSameAtAnotherTimeIsWanted) {
  Play play;
  play.chain(1, {"a", "b"});
  const uint32_t before = play.graph.generation();
  play.chain(2, {"b", "a"});
  EXPECT_NE(play.graph.generation(), before);
  Witness w{.thread = ThreadId(1), .from_object = play.object("a"), .to_object = play.object("b"), .flags = Witness::kOwned};
  EXPECT_FALSE(play.graph.wants(play.cls("a"), play.cls("b"), w));
  for (w.epoch = 1; w.epoch < 20; ++w.epoch) {
    if (play.graph.wants(play.cls("a"), play.cls("b"), w)) play.graph.depend(play.cls("a"), play.cls("b"), w);
  }
  EXPECT_EQ(play.arena.at<Edge>(EdgeId(1)).witnesses, 8u);  // but not for ever
}

TEST(Graph, ThreadsBeyondTheFirstFindRoomForTheirWitnesses) {
  Play play;
  for (int i = 0; i < 10; ++i) play.chain(1, {"g" + std::to_string(i), "a", "b"});
  EXPECT_EQ(play.arena.at<Edge>(EdgeId(3)).witnesses, 4u);
  play.chain(2, {"a", "b"});
  EXPECT_EQ(play.arena.at<Edge>(EdgeId(3)).witnesses, 5u);
  play.chain(1, {"b", "a"});
  EXPECT_EQ(play.worst()->level, Level::kLikely);
}

TEST(Graph, TheShortestCircleIsTold) {
  Play play;
  play.chain(1, {"a", "b"});
  play.chain(2, {"b", "c"});
  play.chain(3, {"c", "d"});
  play.chain(4, {"a", "c"});
  play.chain(5, {"d", "a"});
  ASSERT_EQ(play.reports().size(), 1u);
  EXPECT_EQ(play.worst()->hop_count, 3);
}

TEST(Graph, ALongerCircleIsTakenIfTheShortestCannotBe) {
  Play play;
  play.chain(1, {"a", "b"});
  play.chain(2, {"a", "c"});
  play.chain(3, {"c", "b"});
  play.chain(1, {"b", "a"});  // by thread 1: a, b is no danger; a, c, b is
  ASSERT_EQ(play.reports().size(), 1u);
  EXPECT_EQ(play.worst()->level, Level::kLikely);
  EXPECT_EQ(play.worst()->hop_count, 3);
}

TEST(Graph, NoMoreThanSixtyFourCirclesAreTried) {
  Play play;
  // 2^8 paths of eight hops, all by one thread.
  for (int layer = 0; layer < 5; ++layer) {
    for (int i = 0; i < 4; ++i) {
      for (int k = 0; k < 4; ++k) play.chain(1, {"v" + std::to_string(layer) + std::to_string(i), "v" + std::to_string(layer + 1) + std::to_string(k)});
    }
  }
  play.chain(1, {"end", "v00"});
  for (int i = 0; i < 4; ++i) play.chain(1, {"v5" + std::to_string(i), "end"});
  ASSERT_FALSE(play.silent());
  EXPECT_EQ(play.worst()->level, Level::kInfo);
  EXPECT_LT(play.arena.counted(Counter::kSearchSteps), 50000u);
}

TEST(Graph, TheSameCircleHasTheSameIdWhereverItBegins) {
  uint64_t ids[3];
  const std::vector<std::vector<std::string>> edges = {{"a", "b"}, {"b", "c"}, {"c", "a"}};
  for (unsigned first = 0; first < 3; ++first) {
    Play play;
    for (unsigned i = 0; i < 3; ++i) play.chain(i + 1, edges[(first + i) % 3]);
    ASSERT_EQ(play.reports().size(), 1u);
    ids[first] = play.worst()->id;
  }
  EXPECT_EQ(ids[0], ids[1]);
  EXPECT_EQ(ids[0], ids[2]);
}

TEST(Graph, FullTablesDropAndCount) {
  Play play;
  for (int i = 0; i < (1 << 12) + 10; ++i) play.cls("c" + std::to_string(i));
  EXPECT_GT(play.arena.dropped<Class>(), 0u);
  EXPECT_EQ(play.arena.used<Class>(), uint32_t{1 << 12});
  EXPECT_EQ(play.graph.depend(ClassId::kNone, ClassId(1), {}), ReportId::kNone);
}

TEST(Graph, WhatIsNoCircleIsToldOncePerPlace) {
  Play play;
  const Frame frame = Frame::source(play.arena.intern("a.cc:7"));
  const StackId stack = play.arena.intern(&frame, 1);
  const ObjectId a = play.object("a");
  const auto report = [&](Level level, ObjectId object) {
    return play.graph.report(Problem::kRelock, Misuse::kNone, level, ThreadId(1), object, stack, StackId::kNone);
  };
  EXPECT_NE(report(Level::kPossible, a), ReportId::kNone);
  EXPECT_EQ(report(Level::kPossible, a), ReportId::kNone);
  EXPECT_EQ(report(Level::kInfo, a), ReportId::kNone);
  EXPECT_NE(report(Level::kPossible, play.object("b")), ReportId::kNone);
  EXPECT_NE(report(Level::kCertain, a), ReportId::kNone);
  EXPECT_EQ(play.newest()->replaces, ReportId(1));
  EXPECT_EQ(play.arena.header().reports, 3u);
}

TEST(Graph, ComparesByTheClassesOwnOrder) {
  Play play;
  const ObjectId low = play.object("x.1", 0x100);
  const ObjectId high = play.object("x.2", 0x200);
  EXPECT_FALSE(play.graph.compare_allows(low, high));
  play.graph.set_compare(play.arena.at<Object>(low).key, [](const void* a, const void* b) { return a < b ? -1 : 1; });
  EXPECT_TRUE(play.graph.compare_allows(low, high));
  EXPECT_FALSE(play.graph.compare_allows(high, low));
  EXPECT_FALSE(play.graph.compare_allows(low, play.object("y")));
}

TEST(Graph, FourThreadsAtOnce) {
  Play play;
  constexpr unsigned kClasses = 40;
  std::vector<ObjectId> objects;
  for (unsigned i = 0; i < kClasses; ++i) objects.push_back(play.object("c" + std::to_string(i)));
  std::atomic<unsigned> reports{0};
  std::vector<std::thread> threads;
  for (unsigned t = 1; t <= 4; ++t) {
    threads.emplace_back([&, t] {
      uint32_t random = t * 7919;
      for (int i = 0; i < 4000; ++i) {
        random = random * 1664525 + 1013904223;
        const ObjectId a = objects[(random >> 8) % kClasses];
        const ObjectId b = objects[(random >> 20) % kClasses];
        if (a == b) continue;
        Witness w{.thread = ThreadId(t), .from_object = a, .to_object = b, .flags = Witness::kOwned};
        const ClassId from = play.graph.class_of(a, Event::kWrite);
        const ClassId to = play.graph.class_of(b, Event::kWrite);
        if (play.graph.wants(from, to, w) && play.graph.depend(from, to, w) != ReportId::kNone) ++reports;
        play.arena.intern(std::to_string(random % 500));
        const Frame frames[] = {Frame::pc(random % 300), Frame::pc(7)};
        play.arena.intern(frames, 2);
      }
    });
  }
  // Somebody reads meanwhile.
  for (int i = 0; i < 200; ++i) {
    for (const Report* r : play.reports()) EXPECT_GE(r->hop_count, 2);
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(play.arena.used<Class>(), kClasses + 1);
  EXPECT_EQ(play.arena.used<Stack>(), 301u);
  EXPECT_EQ(play.reports().size(), reports.load());
  EXPECT_EQ(play.worst()->level, Level::kLikely);
  EXPECT_LE(play.arena.used<Edge>() - 1, kClasses * (kClasses - 1));
}

// A phase of one thread makes circles without number; the first that two threads make is told all the same.
TEST(Graph, WhatCannotHappenLeavesRoomForWhatCan) {
  Play play;
  const auto both = [&](unsigned thread, const std::string& a, const std::string& b) {
    const ObjectId one = play.object(a), other = play.object(b);
    for (const auto& [held, wanted] : {std::pair{one, other}, std::pair{other, one}}) {
      const Witness w{.thread = ThreadId(thread), .from_object = held, .to_object = wanted, .flags = Witness::kOwned};
      play.graph.depend(play.graph.class_of(held, Event::kWrite), play.graph.class_of(wanted, Event::kWrite), w);
    }
  };
  const uint32_t capacity = play.arena.capacity(Table::kReport);
  for (unsigned i = 0; i < capacity; ++i) both(1, "a" + std::to_string(i), "b" + std::to_string(i));
  EXPECT_EQ(play.worst()->level, Level::kInfo);
  EXPECT_GT(play.arena.dropped<Report>(), 0u);
  both(2, "a" + std::to_string(capacity - 1), "b" + std::to_string(capacity - 1));
  EXPECT_EQ(play.worst()->level, Level::kLikely);
}

}  // namespace
}  // namespace causeway::dept
