#include "dept/instance_order.h"

#include <gtest/gtest.h>

#include "dept/graph_fixture.h"

namespace causeway::dept {
namespace {

std::string x(int i) { return "x." + std::to_string(i); }

TEST(InstanceOrder, AnArrayTakenInOneOrderIsSilent) {
  Play play;
  for (unsigned thread = 1; thread <= 2; ++thread) {
    for (int i = 0; i < 200; ++i) play.l(thread, x(i));  // 19,900 pairs
    play.unlock_all(thread);
  }
  EXPECT_TRUE(play.silent());
  EXPECT_EQ(play.arena.at<Edge>(EdgeId(1)).witnesses, kPairsInOrder);
}

TEST(InstanceOrder, ALostPairIsWantedAgainWhenTheOrderBreaks) {
  Play play;
  for (int i = 0; i < 200; ++i) play.l(1, x(i));
  play.unlock_all(1);
  const uint32_t before = play.graph.generation();
  play.chain(2, {x(199), x(150)});
  EXPECT_NE(play.graph.generation(), before);
  EXPECT_TRUE(play.worst() == nullptr || play.worst()->level < Level::kLikely);
  play.chain(1, {x(150), x(199)});
  EXPECT_EQ(play.worst()->level, Level::kLikely);
  EXPECT_EQ(play.worst()->hop_count, 2);
}

TEST(InstanceOrder, BothOrdersOfOnePair) {
  Play play;
  play.chain(1, {x(1), x(2)});
  EXPECT_TRUE(play.silent());
  play.chain(2, {x(2), x(1)});
  ASSERT_EQ(play.reports().size(), 1u);
  EXPECT_EQ(play.worst()->level, Level::kLikely);
  EXPECT_EQ(play.worst()->hop_count, 2);
  EXPECT_NE(play.worst()->hops[0].witness, play.worst()->hops[1].witness);
  // Other pairs of the class are the same finding.
  play.chain(1, {x(3), x(4)});
  play.chain(2, {x(4), x(3)});
  EXPECT_EQ(play.reports().size(), 1u);
}

TEST(InstanceOrder, BothOrdersByOneThreadOrUnderAGate) {
  Play play;
  play.chain(1, {x(1), x(2)});
  play.chain(1, {x(2), x(1)});
  EXPECT_EQ(play.worst()->level, Level::kInfo);
  Play gated;
  gated.chain(1, {"g", x(1), x(2)});
  gated.chain(2, {"g", x(2), x(1)});
  EXPECT_EQ(gated.worst()->level, Level::kInfo);
  EXPECT_TRUE(gated.worst()->refutations & kGate);
}

TEST(InstanceOrder, FivePhilosophers) {
  Play play;
  for (int i = 0; i < 5; ++i) play.object(x(i));
  for (int i = 0; i < 5; ++i) play.chain(static_cast<unsigned>(i) + 1, {x(i), x((i + 1) % 5)});
  ASSERT_EQ(play.reports().size(), 1u);
  EXPECT_EQ(play.worst()->level, Level::kLikely);
  EXPECT_EQ(play.worst()->hop_count, 5);
  Play polite;
  for (int i = 0; i < 5; ++i) polite.object(x(i));
  for (int i = 0; i < 4; ++i) polite.chain(static_cast<unsigned>(i) + 1, {x(i), x(i + 1)});
  polite.chain(5, {x(0), x(4)});
  EXPECT_TRUE(polite.silent());
}

TEST(InstanceOrder, ByFirstUseIfNotByAddress) {
  Play play;
  play.object(x(0), 0x9000);
  for (int i = 1; i < 8; ++i) play.object(x(i), static_cast<uint64_t>(0x5000 + (i % 2 != 0 ? i : -i) * 64));
  for (int i = 0; i < 7; ++i) play.chain(static_cast<unsigned>(i % 3) + 1, {x(i / 2), x(i + 1)});  // a tree, from the root
  EXPECT_TRUE(play.silent());
}

TEST(InstanceOrder, NoOrderAndNoCircleIsPossible) {
  Play play;
  play.object(x(1), 0x1000);
  play.object(x(2), 0x2000);
  play.object(x(3), 0x3000);
  play.object(x(4), 0x1800);
  play.chain(1, {x(1), x(2)});  // ascending, first use
  play.chain(2, {x(3), x(2)});  // neither
  ASSERT_EQ(play.reports().size(), 1u);
  EXPECT_EQ(play.worst()->level, Level::kPossible);
  EXPECT_EQ(play.worst()->refutations, kOtherObjects | kOrderNotConsistent);
}

// x1 -> y1 -> x2 -> y2 -> x1: in classes only x -> y -> x.
TEST(InstanceOrder, ACircleThatPassesAClassTwice) {
  Play play;
  play.chain(1, {"x.1", "y.1"});
  play.chain(2, {"y.1", "x.2"});
  EXPECT_EQ(play.worst()->level, Level::kPossible);
  EXPECT_EQ(play.worst()->refutations, uint32_t{kOtherObjects});
  play.chain(3, {"x.2", "y.2"});
  EXPECT_EQ(play.worst()->level, Level::kPossible);
  play.chain(4, {"y.2", "x.1"});
  EXPECT_EQ(play.worst()->level, Level::kLikely);
  EXPECT_EQ(play.worst()->hop_count, 4);
  EXPECT_EQ(play.worst()->id, play.reports()[0]->id);
}

// x1 -> x2 in order, but x2 -> y -> x1.
TEST(InstanceOrder, ACircleThroughAPairAndAnotherClass) {
  for (const bool pair_first : {true, false}) {
    Play play;
    play.object("x.1");
    if (pair_first) play.chain(1, {"x.1", "x.2"});
    play.chain(2, {"x.2", "y"});
    play.chain(3, {"y", "x.1"});
    if (!pair_first) play.chain(1, {"x.1", "x.2"});
    EXPECT_EQ(play.worst()->level, Level::kLikely) << pair_first;
    EXPECT_EQ(play.worst()->hop_count, 3);
  }
}

}  // namespace
}  // namespace causeway::dept
