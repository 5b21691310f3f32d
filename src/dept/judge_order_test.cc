// Circles whose hops could not overlap: what came before what, told by clocks as the tracker records them.
#include <gtest/gtest.h>

#include "dept/graph_fixture.h"
#include "dept/order.h"

namespace causeway::dept {
namespace {

// Thread `knows` at its wait has seen `of` reach `epoch`.
ClockId clock(Arena& arena, ThreadId of, uint32_t epoch) {
  const uint32_t at = arena.take(Table::kClock, 2);
  auto* words = static_cast<uint64_t*>(arena.record(Table::kClock, at));
  words[0] = 1;
  words[1] = uint64_t{index_of(of)} << 32 | epoch;
  return ClockId(at);
}

TEST(OrderedCircle, IsInfoUntilItHappensAgainUnordered) {
  Arena arena;
  ASSERT_EQ(arena.create(-1, Play::small()), 0);
  const Order order(arena);
  Graph graph(arena, &order);
  ObjectId a, b;
  arena.add<Object>(&a)->key = 1;
  arena.add<Object>(&b)->key = 2;
  const ClassId ca = graph.class_of(a, Event::kWrite);
  const ClassId cb = graph.class_of(b, Event::kWrite);
  Witness first{.thread = ThreadId(1), .from_object = a, .to_object = b, .flags = Witness::kOwned, .epoch = 3};
  graph.depend(ca, cb, first);
  Witness second{.thread = ThreadId(2), .from_object = b, .to_object = a, .flags = Witness::kOwned,
                 .clock = clock(arena, ThreadId(1), 4), .epoch = 1};
  const ReportId info = graph.depend(cb, ca, second);
  ASSERT_NE(info, ReportId::kNone);
  EXPECT_EQ(arena.at<Report>(info).level, Level::kInfo);
  EXPECT_EQ(arena.at<Report>(info).refutations, uint32_t{kOrdered});
  // Thread 1 does it again, later: nothing says that thread 2 was not at work then.
  first.epoch = 4;
  ASSERT_TRUE(graph.wants(ca, cb, first));
  const ReportId likely = graph.depend(ca, cb, first);
  ASSERT_NE(likely, ReportId::kNone);
  EXPECT_EQ(arena.at<Report>(likely).level, Level::kLikely);
  EXPECT_EQ(arena.at<Report>(likely).replaces, info);
}

}  // namespace
}  // namespace causeway::dept
