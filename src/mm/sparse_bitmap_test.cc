#include "mm/sparse_bitmap.h"

#include <gtest/gtest.h>

#include <random>
#include <vector>

namespace causeway::mm {
namespace {

TEST(SparseBitmap, SetAndClearCountWhatChanged) {
  SparseBitmap bits = *SparseBitmap::create(1 << 20);
  EXPECT_EQ(bits.set({Pfn(60), Pfn(200)}), 140u);
  EXPECT_EQ(bits.set({Pfn(0), Pfn(100)}), 60u);
  EXPECT_EQ(bits.clear({Pfn(64), Pfn(128)}), 64u);
  EXPECT_EQ(bits.clear({Pfn(64), Pfn(129)}), 1u);
  EXPECT_TRUE(bits.all({Pfn(0), Pfn(64)}));
  EXPECT_FALSE(bits.any({Pfn(64), Pfn(129)}));
  EXPECT_TRUE(bits.any({Pfn(64), Pfn(130)}));
}

TEST(SparseBitmap, EmptyRangeHasNothingAndEverything) {
  SparseBitmap bits = *SparseBitmap::create(128);
  EXPECT_EQ(bits.set({Pfn(5), Pfn(5)}), 0u);
  EXPECT_FALSE(bits.any({Pfn(5), Pfn(5)}));
  EXPECT_TRUE(bits.all({Pfn(5), Pfn(5)}));
}

TEST(SparseBitmap, RandomRangesEqualAVectorOfBool) {
  constexpr uint64_t kBits = 1000;
  SparseBitmap bits = *SparseBitmap::create(kBits);
  std::vector<bool> model(kBits);
  std::mt19937 random(3);
  for (int step = 0; step < 500; ++step) {
    uint64_t begin = random() % kBits;
    uint64_t end = begin + random() % (kBits - begin + 1);
    bool value = random() % 2 != 0;
    if (value) {
      bits.set({Pfn(begin), Pfn(end)});
    } else {
      bits.clear({Pfn(begin), Pfn(end)});
    }
    for (uint64_t i = begin; i < end; ++i) model[i] = value;
    uint64_t from = random() % kBits;
    uint64_t next_set = from;
    uint64_t next_clear = from;
    while (next_set < kBits && !model[next_set]) ++next_set;
    while (next_clear < kBits && model[next_clear]) ++next_clear;
    ASSERT_EQ(bits.next_set(Pfn(from), Pfn(kBits)), Pfn(next_set));
    ASSERT_EQ(bits.next_clear(Pfn(from), Pfn(kBits)), Pfn(next_clear));
    ASSERT_EQ(bits.test(Pfn(from)), model[from]);
  }
}

}  // namespace
}  // namespace causeway::mm
