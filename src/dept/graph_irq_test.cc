// Interruptions (spec 1.7): shapes of lockdep's irq families, with kind 0 as the interruption.
#include <gtest/gtest.h>

#include <algorithm>

#include "dept/graph_fixture.h"

namespace causeway::dept {
namespace {

constexpr Judge kKernel{.threads = false, .gates = false, .order = false, .objects = false, .timeouts = true};

struct IrqPlay : Play {
  using Play::Play;
  ReportId waits(const std::string& name, Event event = Event::kWrite, unsigned irq = 0) {
    return graph.irq_wait(cls(name, event), irq, {.thread = ThreadId(9), .to_object = object(name), .to_event = event});
  }
  ReportId enabled(const std::string& name, Event event = Event::kWrite, unsigned irq = 0, unsigned thread = 1) {
    return graph.irq_enabled(cls(name, event), IrqMask{1} << irq,
                             {.thread = ThreadId(thread), .from_object = object(name), .from_event = event});
  }
};

TEST(Irq, OneThreadIsEnough) {
  IrqPlay play;
  EXPECT_EQ(play.waits("a"), ReportId::kNone);
  EXPECT_NE(play.enabled("a"), ReportId::kNone);
  EXPECT_EQ(play.worst()->level, Level::kLikely);
  EXPECT_EQ(play.worst()->hop_count, 1);
  EXPECT_EQ(play.enabled("a"), ReportId::kNone);
  EXPECT_EQ(play.waits("a"), ReportId::kNone);
}

TEST(Irq, AnotherKindIsNone) {
  IrqPlay play;
  play.waits("a", Event::kWrite, 3);
  play.enabled("a", Event::kWrite, 4);
  EXPECT_TRUE(play.silent());
  play.enabled("a", Event::kWrite, 3);
  EXPECT_FALSE(play.silent());
}

// A -> B; B held with interruptions on; A taken inside. In all orders.
TEST(Irq, ThroughTheGraphInAnyOrder) {
  int order[3] = {0, 1, 2};
  do {
    IrqPlay play(kKernel);
    for (const int step : order) {
      if (step == 0) play.chain(1, {"a", "b"});
      if (step == 1) play.enabled("b");
      if (step == 2) play.waits("a");
    }
    ASSERT_EQ(play.reports().size(), 1u);
    EXPECT_EQ(play.worst()->hop_count, 2);
    bool has_irq = false;
    for (unsigned i = 0; i < 2; ++i) has_irq |= (play.arena.at<Witness>(play.worst()->hops[i].witness).flags & Witness::kIrq) != 0;
    EXPECT_TRUE(has_irq);
  } while (std::next_permutation(order, order + 3));
}

TEST(Irq, ReadersThatNeedNotWait) {
  IrqPlay play(kKernel);
  play.waits("a", Event::kWrite);    // a recursive reader waits for the writer alone
  play.enabled("a", Event::kRead);   // and others only read with interruptions on
  EXPECT_TRUE(play.silent());
  play.enabled("a", Event::kWrite);
  EXPECT_FALSE(play.silent());
}

TEST(Irq, AnotherObjectOfTheClassIsOnlyPossible) {
  IrqPlay play;
  play.waits("a.1");
  play.enabled("a.2");
  EXPECT_EQ(play.worst()->level, Level::kPossible);
  play.enabled("a.1");
  EXPECT_EQ(play.worst()->level, Level::kLikely);
}

}  // namespace
}  // namespace causeway::dept
