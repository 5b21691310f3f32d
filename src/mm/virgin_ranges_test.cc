#include "mm/virgin_ranges.h"

#include <gtest/gtest.h>

#include <random>
#include <set>

namespace causeway::mm {
namespace {

std::vector<PfnRange> one(uint64_t begin, uint64_t end) {
  return {{Pfn(begin), Pfn(end)}};
}

TEST(VirginRanges, CutsWholePageblocksFromTheBottom) {
  VirginRanges virgin;
  virgin.assign(one(1000, 5000));
  auto block = virgin.cut_largest(kOrder0);
  ASSERT_TRUE(block);
  EXPECT_EQ(block->pfn, Pfn(1024));
  EXPECT_EQ(block->order, kMaxPageOrder);
  EXPECT_EQ(virgin.pages(), 4000u - 1024);
}

TEST(VirginRanges, BlocksAreAlignedShrinkAndCoverEveryFrameOnce) {
  for (auto [begin, end] :
       {std::pair<uint64_t, uint64_t>{1, 4097}, {3, 13}, {1023, 1025}, {777, 778}, {5, 1024}}) {
    VirginRanges virgin;
    virgin.assign(one(begin, end));
    std::set<uint64_t> seen;
    unsigned last = kMaxPageOrder.value();
    while (auto block = virgin.cut_largest(kOrder0)) {
      EXPECT_TRUE(block->pfn.is_aligned(block->order));
      EXPECT_LE(block->order.value(), last);
      last = block->order.value();
      for (uint64_t i = 0; i < block->order.pages(); ++i) {
        EXPECT_TRUE(seen.insert(block->pfn.value() + i).second);
      }
    }
    EXPECT_EQ(seen.size(), end - begin);
    EXPECT_EQ(*seen.begin(), begin);
    EXPECT_EQ(virgin.pages(), 0u);
  }
}

TEST(VirginRanges, TheLargestAlignedBlockOfAFragmentIsFound) {
  VirginRanges virgin;
  virgin.assign(one(7, 17));  // 8..16 is the only block of order 3
  EXPECT_FALSE(virgin.cut_largest(Order(4)));
  auto block = virgin.cut_largest(Order(3));
  ASSERT_TRUE(block);
  EXPECT_EQ(block->pfn, Pfn(8));
}

TEST(VirginRanges, CarveOutOfTheMiddleLeavesBothSides) {
  VirginRanges virgin;
  virgin.assign(one(1024, 8192));
  virgin.carve({Pfn(3000), Pfn(5001)});
  EXPECT_EQ(virgin.pages(), 7168u - 2001);
  EXPECT_TRUE(virgin.end_of_part(Pfn(2999)));
  EXPECT_FALSE(virgin.end_of_part(Pfn(3000)));
  EXPECT_FALSE(virgin.end_of_part(Pfn(5000)));
  EXPECT_TRUE(virgin.end_of_part(Pfn(5001)));
  EXPECT_EQ(virgin.next(Pfn(3000), Pfn(10000)), Pfn(5001));
  EXPECT_EQ(virgin.next(Pfn(8192), Pfn(10000)), Pfn(10000));
}

TEST(VirginRanges, FindRunTakesTheHighestAlignedStart) {
  VirginRanges virgin;
  std::vector<PfnRange> ranges = {{Pfn(100), Pfn(5000)}, {Pfn(6000), Pfn(7000)}};
  virgin.assign(ranges);
  EXPECT_EQ(virgin.find_run(512, 512), Pfn(6144));
  EXPECT_EQ(virgin.find_run(1024, 1), Pfn(3976));
  EXPECT_EQ(virgin.find_run(4096, 512), Pfn(512));
  EXPECT_FALSE(virgin.find_run(4901, 1));
}

TEST(VirginRanges, CutBelowRespectsTheLimit) {
  VirginRanges virgin;
  virgin.assign(one(100, 2000));
  EXPECT_EQ(virgin.cut_below(Order(3), Pfn(112)), Pfn(104));
  EXPECT_FALSE(virgin.cut_below(Order(3), Pfn(112)));
  EXPECT_TRUE(virgin.end_of_part(Pfn(103)));
}

// Against a set of frames; adding again covers the places that cuts have left.
TEST(VirginRanges, RandomCutsCarvesAndAddsEqualASetOfFrames) {
  std::mt19937 random(11);
  for (int round = 0; round < 50; ++round) {
    VirginRanges virgin;
    std::set<uint64_t> model;
    std::vector<PfnRange> ranges;
    for (uint64_t pfn = 1; pfn < 6000;) {
      uint64_t end = pfn + 1 + random() % 900;
      ranges.push_back({Pfn(pfn), Pfn(end)});
      for (uint64_t i = pfn; i < end; ++i) model.insert(i);
      pfn = end + random() % 40;
    }
    virgin.assign(ranges);
    for (int step = 0; step < 300; ++step) {
      PfnRange taken;
      switch (random() % 4) {
        case 0: {
          auto block = virgin.cut_largest(Order(random() % 6));
          if (!block) break;
          taken = {block->pfn, block->pfn + block->order.pages()};
          break;
        }
        case 1: {
          Order order(random() % 4);
          auto pfn = virgin.cut_below(order, Pfn(random() % 7000));
          if (pfn) taken = {*pfn, *pfn + order.pages()};
          break;
        }
        case 2: {
          uint64_t pages = 1 + random() % 600;
          auto pfn = virgin.find_run(pages, uint64_t{1} << random() % 8);
          if (!pfn) break;
          taken = {*pfn, *pfn + pages};
          virgin.carve(taken);
          break;
        }
        default: {
          uint64_t begin = 1 + random() % 6500;
          uint64_t end = begin;
          while (end < begin + 100 && !model.contains(end)) model.insert(end++);
          virgin.add({Pfn(begin), Pfn(end)});
        }
      }
      for (Pfn pfn = taken.begin; pfn < taken.end; ++pfn) ASSERT_EQ(model.erase(pfn.value()), 1u);
      ASSERT_EQ(virgin.pages(), model.size());
    }
    for (uint64_t pfn = 0; pfn < 7000; ++pfn) {
      ASSERT_EQ(virgin.end_of_part(Pfn(pfn)).has_value(), model.contains(pfn)) << pfn;
      auto it = model.lower_bound(pfn);
      ASSERT_EQ(virgin.next(Pfn(pfn), Pfn(9000)).value(), it == model.end() ? 9000 : *it);
    }
    while (auto block = virgin.cut_largest(kOrder0)) {
      for (uint64_t i = 0; i < block->order.pages(); ++i) ASSERT_EQ(model.erase(block->pfn.value() + i), 1u);
    }
    EXPECT_TRUE(model.empty());
  }
}

}  // namespace
}  // namespace causeway::mm
