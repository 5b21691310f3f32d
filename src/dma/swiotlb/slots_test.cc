#include "dma/swiotlb/slots.h"

#include <gtest/gtest.h>

#include <random>
#include <vector>

#include "base/testing/results.h"

namespace causeway::dma {
namespace {

constexpr PhysAddr kE78{0x12345e78};

TEST(SlotRequest, FollowsTheMasks) {
  SlotRequest plain = must(SlotRequest::make(100, kE78, 0, 0));
  EXPECT_EQ(plain.offset, 0u);
  EXPECT_EQ(plain.slots, 1u);
  EXPECT_EQ(plain.stride, 1u);

  SlotRequest aligned = must(SlotRequest::make(100, kE78, 0, 0xfff));
  EXPECT_EQ(aligned.offset, 0x678u);
  EXPECT_EQ(aligned.slots, 1u);
  EXPECT_EQ(aligned.pad_slots(), 0u);
  EXPECT_FALSE(aligned.fits(PhysAddr{0x80000000})) << "bit 11 differs";
  EXPECT_TRUE(aligned.fits(PhysAddr{0x80000800}));

  SlotRequest granule = must(SlotRequest::make(4096, kE78, 0xfff, 0xfff));
  EXPECT_EQ(granule.offset, 0xe78u);
  EXPECT_EQ(granule.slots, 4u);
  EXPECT_EQ(granule.pad_slots(), 1u);
  EXPECT_TRUE(granule.fits(PhysAddr{0x80000000}));
  EXPECT_FALSE(granule.fits(PhysAddr{0x80000800}));
}

TEST(SlotRequest, WholePagesArePageAlignedOnlyWhereNobodyAskedForAnotherAlignment) {
  EXPECT_EQ(must(SlotRequest::make(4096, kE78, 0, 0)).stride, 2u);
  EXPECT_EQ(must(SlotRequest::make(4095, kE78, 0, 0)).stride, 1u);
  EXPECT_EQ(must(SlotRequest::make(4096, kE78, 0, 0x7ff)).stride, 1u);
  EXPECT_EQ(must(SlotRequest::make(4096, kE78, 0x7ff, 0)).stride, 1u);
}

TEST(SlotRequest, RefusesWhatNoSlotSetHolds) {
  EXPECT_EQ(must(SlotRequest::make(kMaxBounce, kE78, 0, 0)).slots, kSlotsPerSet);
  EXPECT_EQ(error_of(SlotRequest::make(kMaxBounce + 1, kE78, 0, 0)), ENOMEM);
  EXPECT_EQ(error_of(SlotRequest::make(~uint64_t{0}, kE78, 0, 0xfff)), ENOMEM);
  EXPECT_EQ(error_of(SlotRequest::make(kMaxBounce, kE78, 0, 0xfff)), ENOMEM) << "with its offset";
  EXPECT_EQ(error_of(SlotRequest::make(1, kE78, ~uint64_t{0}, 0)), ENOMEM);
  EXPECT_EQ(error_of(SlotRequest::make(1, kE78, 0x1000, 0)), EINVAL);
  EXPECT_EQ(must(SlotRequest::make(0, kE78, 0, 0)).slots, 1u);
}

TEST(SlotRequest, BoundariesAreMeantInSlots) {
  SlotRequest request{.slots = 4, .boundary = 0x1fff};  // 4 slots
  EXPECT_TRUE(request.within_boundary(0));
  EXPECT_TRUE(request.within_boundary(8));
  for (uint64_t slot : {1, 2, 3, 5}) EXPECT_FALSE(request.within_boundary(slot)) << slot;
  request.boundary = ~uint64_t{0};
  EXPECT_TRUE(request.within_boundary((~uint64_t{0} >> kSlotShift) - 3));
  request.boundary = 0;  // one slot at a time
  EXPECT_FALSE(request.within_boundary(0));
}

TEST(FreeRuns, BeginAsTheKernelsDo) {
  FreeRuns runs(300);  // the last set has 44 slots
  for (uint32_t i = 0; i < runs.slots(); ++i) EXPECT_EQ(runs.run(i), std::min(128 - i % 128, 300 - i)) << i;
}

// The definition, by counting.
std::vector<uint32_t> counted(const std::vector<int>& owner) {
  std::vector<uint32_t> runs(owner.size());
  for (size_t i = owner.size(); i-- > 0;) {
    if (owner[i] != -1) continue;
    bool set_ends = i + 1 == owner.size() || (i + 1) % kSlotsPerSet == 0;
    runs[i] = 1 + (set_ends ? 0 : runs[i + 1]);
  }
  return runs;
}

TEST(FreeRuns, AreWhatCountingWouldGiveAfterAnyHistory) {
  std::mt19937 random(7);
  auto pick = [&](uint32_t n) { return std::uniform_int_distribution<uint32_t>(0, n - 1)(random); };
  FreeRuns runs(300);
  std::vector<int> owner(300, -1);
  struct Block {
    uint32_t first, count;
  };
  std::vector<Block> blocks;
  for (int step = 0; step < 3000; ++step) {
    if (blocks.empty() || pick(100) < 55) {
      uint32_t first = pick(300);
      uint32_t most = runs.run(first);
      if (most == 0) continue;
      Block block{first, 1 + pick(std::min(most, 1 + pick(most)))};
      runs.take(block.first, block.count);
      for (uint32_t i = 0; i < block.count; ++i) owner[block.first + i] = static_cast<int>(block.first);
      blocks.push_back(block);
    } else {
      std::swap(blocks[pick(static_cast<uint32_t>(blocks.size()))], blocks.back());
      Block block = blocks.back();
      blocks.pop_back();
      runs.give(block.first, block.count);
      for (uint32_t i = 0; i < block.count; ++i) owner[block.first + i] = -1;
    }
    std::vector<uint32_t> want = counted(owner);
    for (uint32_t i = 0; i < 300; ++i) {
      ASSERT_EQ(runs.run(i), want[i]) << "slot " << i << " after step " << step;
      if (owner[i] == -1) continue;
      ASSERT_EQ(runs.first_of(i), static_cast<uint32_t>(owner[i]));
    }
  }
}

}  // namespace
}  // namespace causeway::dma
