#include "mm/range_set.h"

#include <gtest/gtest.h>

#include <random>
#include <set>

namespace causeway::mm {
namespace {

using Range = RangeSet::Range;

std::vector<Range> all(const RangeSet& set) {
  return {set.ranges().begin(), set.ranges().end()};
}

TEST(RangeSet, OverlappingAndTouchingRangesMerge) {
  RangeSet set;
  set.add({10, 20});
  set.add({20, 30});
  set.add({5, 12});
  set.add({40, 50});
  EXPECT_EQ(all(set), (std::vector<Range>{{5, 30}, {40, 50}}));
}

TEST(RangeSet, EmptyRangeIsNothing) {
  RangeSet set;
  set.add({7, 7});
  set.add({9, 3});
  EXPECT_TRUE(set.ranges().empty());
  EXPECT_TRUE(set.contains({4, 4}));
  set.add({1, 9});
  EXPECT_FALSE(set.overlaps({4, 4}));
}

TEST(RangeSet, RemoveCutsOutOfTheMiddle) {
  RangeSet set;
  set.add({0, 100});
  set.remove({40, 60});
  EXPECT_EQ(all(set), (std::vector<Range>{{0, 40}, {60, 100}}));
  set.remove({0, 1000});
  EXPECT_TRUE(set.ranges().empty());
}

TEST(RangeSet, FirstOverlapIsTheLowest) {
  RangeSet set;
  set.add({30, 40});
  set.add({10, 20});
  ASSERT_NE(set.first_overlap({15, 35}), nullptr);
  EXPECT_EQ(*set.first_overlap({15, 35}), (Range{10, 20}));
  EXPECT_EQ(set.first_overlap({20, 30}), nullptr);
  EXPECT_TRUE(set.contains({31, 40}));
  EXPECT_FALSE(set.contains({31, 41}));
}

TEST(RangeSet, ManyRangesInAnyOrderEqualTheSetOfTheirNumbers) {
  std::mt19937 random(7);
  for (int round = 0; round < 200; ++round) {
    RangeSet set;
    std::set<uint64_t> model;
    for (int step = 0; step < 40; ++step) {
      uint64_t begin = random() % 300;
      uint64_t end = begin + random() % 12;
      if (random() % 4 != 0) {
        set.add({begin, end});
        for (uint64_t n = begin; n < end; ++n) model.insert(n);
      } else {
        set.remove({begin, end});
        for (uint64_t n = begin; n < end; ++n) model.erase(n);
      }
    }
    std::set<uint64_t> seen;
    uint64_t last_end = 0;
    bool first = true;
    for (const Range& range : set.ranges()) {
      EXPECT_TRUE(first || range.begin > last_end);
      first = false;
      last_end = range.end;
      for (uint64_t n = range.begin; n < range.end; ++n) seen.insert(n);
    }
    EXPECT_EQ(seen, model);
  }
}

}  // namespace
}  // namespace causeway::mm
