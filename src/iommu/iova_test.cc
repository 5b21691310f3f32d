#include "iommu/iova.h"

#include <gtest/gtest.h>

#include <set>
#include <thread>
#include <utility>
#include <vector>

#include "base/log.h"
#include "base/testing/results.h"
#include "mm/per_cpu_lists.h"

namespace causeway::iommu {
namespace {

using Flush = IovaDomain::Flush;
constexpr uint64_t kLow = 0xfffff;                 // the last page below 4 GiB
constexpr uint64_t kHigh = (uint64_t{1} << 36) - 1;  // of 48 bits

// Runs `function` on a thread whose CPU slot is another one.
template <typename Function>
void on_another_cpu(Function function) {
  const unsigned mine = mm::cpu_slot();
  for (bool done = false; !done;) {
    std::thread([&] {
      if (mm::cpu_slot() == mine) return;
      function();
      done = true;
    }).join();
  }
}

// 43
TEST(Iova, AnEmptyDomainIsFilledFromTheTopAlignedToTheRoundedLength) {
  IovaDomain iovas({});
  std::vector<uint64_t> got;
  for (uint64_t length : {1, 1, 3, 4, 16, 33}) got.push_back(must(iovas.alloc_fast(length, kLow, Flush::kYes)));
  EXPECT_EQ(got, (std::vector<uint64_t>{0xfffff, 0xffffe, 0xffff8, 0xffff4, 0xfffe0, 0xfff80}));
}

// 43
TEST(Iova, AddressZeroIsNeverHandedOut) {
  IovaDomain iovas({.granule = KiB(4), .start = 0});
  std::set<uint64_t> all;
  while (auto pfn = iovas.alloc(1, 7)) EXPECT_TRUE(all.insert(*pfn).second);
  EXPECT_EQ(all, (std::set<uint64_t>{1, 2, 3, 4, 5, 6, 7}));
  EXPECT_EQ(error_of(iovas.alloc(1, 7)), ENOMEM);
}

TEST(Iova, LimitsStartAndNonsenseAreKept) {
  IovaDomain iovas({.granule = KiB(4), .start = 0x100});
  EXPECT_EQ(error_of(iovas.alloc(0, kLow)), EINVAL);
  EXPECT_EQ(error_of(iovas.alloc_fast(0, kLow, Flush::kYes)), EINVAL);
  EXPECT_EQ(error_of(iovas.alloc(~uint64_t{0}, ~uint64_t{0})), ENOMEM);
  EXPECT_EQ(error_of(iovas.alloc(1, 0xff)), ENOMEM);
  EXPECT_EQ(error_of(iovas.alloc(2, 0x100)), ENOMEM);
  EXPECT_EQ(must(iovas.alloc(1, 0x100)), 0x100u);
  EXPECT_EQ(must(iovas.alloc(1, kHigh)), kHigh);
  EXPECT_EQ(must(iovas.alloc(1, 0x12345)), 0x12345u);
}

TEST(Iova, RangesAreFoundAndFreedByAnyPfnInside) {
  IovaDomain iovas({});
  uint64_t pfn = must(iovas.alloc(33, kLow));
  auto range = iovas.find(pfn + 20);
  ASSERT_TRUE(range);
  EXPECT_EQ(range->first, pfn);
  EXPECT_EQ(range->last, pfn + 32);
  EXPECT_FALSE(iovas.find(pfn + 33));
  EXPECT_FALSE(iovas.find(pfn - 1));
  must(iovas.free(pfn + 32));
  EXPECT_FALSE(iovas.find(pfn));
  EXPECT_EQ(error_of(iovas.free(pfn)), EINVAL);
}

// 45
TEST(Iova, AFailedLengthBelow4GiBIsNotSearchedForAgainUntilSomethingThereIsFreed) {
  IovaDomain iovas({.granule = KiB(4), .start = 0xfff00});  // 256 pages
  std::vector<uint64_t> pages;
  for (unsigned i = 0; i < 256; i += 8) pages.push_back(must(iovas.alloc(8, kLow)));
  uint64_t single = must(iovas.find(pages[3]) ? Result<uint64_t>(pages[3]) : fail(ENOENT, "lost"));
  must(iovas.free(single));
  for (int i = 0; i < 2; ++i) must(iovas.alloc(2, kLow));  // four pages are left, in one piece
  EXPECT_EQ(error_of(iovas.alloc(16, kLow)), ENOMEM);

  const uint64_t walks = iovas.stats().walks;
  EXPECT_EQ(error_of(iovas.alloc(16, kLow)), ENOMEM);
  EXPECT_EQ(error_of(iovas.alloc(17, kLow)), ENOMEM);
  EXPECT_EQ(iovas.stats().walks, walks);
  must(iovas.alloc(1, kLow));
  EXPECT_EQ(iovas.stats().walks, walks + 1);

  must(iovas.free(pages[0]));
  EXPECT_EQ(error_of(iovas.alloc(16, kLow)), ENOMEM);  // searched for again
  EXPECT_EQ(iovas.stats().walks, walks + 2);
  must(iovas.free(pages[1]));
  EXPECT_EQ(must(iovas.alloc(16, kLow)), 0xffff0u);
}

// Unlike in the kernel, where the failure of a device with 24 bits makes others fail that have 32.
TEST(Iova, TheFailureOfANarrowDeviceTellsNothingAboutOthers) {
  IovaDomain iovas({.granule = KiB(4), .start = 0x100});
  EXPECT_EQ(error_of(iovas.alloc(1, 0x80)), ENOMEM);
  EXPECT_EQ(must(iovas.alloc(1, kLow)), kLow);
}

// 46
TEST(Iova, WhatACpuFreedLastItGetsFirst) {
  IovaDomain iovas({});
  uint64_t a = must(iovas.alloc_fast(4, kLow, Flush::kYes));
  uint64_t b = must(iovas.alloc_fast(4, kLow, Flush::kYes));
  iovas.free_fast(a, 4);
  iovas.free_fast(b, 4);
  const uint64_t walks = iovas.stats().walks;
  EXPECT_EQ(must(iovas.alloc_fast(3, kLow, Flush::kYes)), b);
  EXPECT_EQ(must(iovas.alloc_fast(4, kLow, Flush::kYes)), a);
  EXPECT_EQ(iovas.stats().walks, walks);
}

// 46
TEST(Iova, AnotherCpuGetsOtherAddressesUntilThisOneIsOffline) {
  IovaDomain iovas({});
  uint64_t pfn = must(iovas.alloc_fast(1, kLow, Flush::kYes));
  iovas.free_fast(pfn, 1);
  on_another_cpu([&] { EXPECT_NE(must(iovas.alloc_fast(1, kLow, Flush::kYes)), pfn); });
  EXPECT_TRUE(iovas.find(pfn));
  iovas.drain_cpu(mm::cpu_slot());
  EXPECT_FALSE(iovas.find(pfn));
  EXPECT_EQ(iovas.stats().cached, 0u);
  on_another_cpu([&] { EXPECT_EQ(must(iovas.alloc_fast(1, kLow, Flush::kYes)), pfn); });
}

// 46
TEST(Iova, CachedAddressesAboveTheLimitAreLeftForOthers) {
  IovaDomain iovas({});
  uint64_t high = must(iovas.alloc_fast(1, kHigh, Flush::kYes));
  uint64_t low = must(iovas.alloc_fast(1, 0x1000, Flush::kYes));
  iovas.free_fast(low, 1);
  iovas.free_fast(high, 1);
  EXPECT_EQ(must(iovas.alloc_fast(1, 0x0fff, Flush::kYes)), 0xfffu);  // from the tree
  EXPECT_EQ(must(iovas.alloc_fast(1, 0x1000, Flush::kYes)), low);     // below the top of the magazine
  EXPECT_EQ(must(iovas.alloc_fast(1, kHigh, Flush::kYes)), high);
}

TEST(Iova, TheLastAddressesComeOutOfEverybodysMagazines) {
  IovaDomain iovas({.granule = KiB(4), .start = 0xfff00});
  std::vector<uint64_t> pages;
  for (unsigned i = 0; i < 256; ++i) pages.push_back(must(iovas.alloc_fast(1, kLow, Flush::kNo)));
  for (uint64_t page : pages) iovas.free_fast(page, 1);
  EXPECT_EQ(error_of(iovas.alloc_fast(64, kLow, Flush::kNo)), ENOMEM);
  EXPECT_EQ(must(iovas.alloc_fast(64, kLow, Flush::kYes)), 0xfffc0u);
  EXPECT_EQ(iovas.stats().cached, 0u);
}

TEST(Iova, FullMagazinesGoToTheDepotAndAreTrimmedOneAtATime) {
  IovaDomain iovas({});
  constexpr unsigned kMagazines = 2 + mm::kCpuSlots + 3;
  std::vector<uint64_t> pages;
  for (unsigned i = 0; i < kMagazines * IovaDomain::kMagazine; ++i)
    pages.push_back(must(iovas.alloc_fast(1, kLow, Flush::kYes)));
  // The worker is armed by the magazine that is one too many; it must not come in between.
  unsigned freed = 0;
  for (; freed < (2 + mm::kCpuSlots) * IovaDomain::kMagazine; ++freed) iovas.free_fast(pages[freed], 1);
  EXPECT_EQ(iovas.stats().depot, mm::kCpuSlots);
  EXPECT_FALSE(iovas.trim_depots());
  EXPECT_EQ(iovas.stats().cached, freed);
  EXPECT_EQ(iovas.stats().live, pages.size() - freed);

  // Another CPU lives on what this one freed.
  const uint64_t walks = iovas.stats().walks;
  on_another_cpu([&] {
    for (unsigned i = 0; i < IovaDomain::kMagazine; ++i) must(iovas.alloc_fast(1, kLow, Flush::kYes));
  });
  EXPECT_EQ(iovas.stats().walks, walks);
  EXPECT_EQ(iovas.stats().depot, mm::kCpuSlots - 1);

  for (; freed < pages.size(); ++freed) iovas.free_fast(pages[freed], 1);
  while (iovas.trim_depots()) {
  }
  EXPECT_EQ(iovas.stats().depot, mm::kCpuSlots);
  iovas.drain();
  EXPECT_EQ(iovas.stats().cached, 0u);
  EXPECT_EQ(iovas.stats().live, IovaDomain::kMagazine);
}

// 60
TEST(Iova, ReservedRangesMergeAndAreNeverHandedOut) {
  IovaDomain iovas({.granule = KiB(4), .start = 0xfff00});
  must(iovas.reserve(0xfff10, 0xfff1f));
  must(iovas.reserve(0xfff18, 0xfff2f));
  must(iovas.reserve(0xfff12, 0xfff13));
  must(iovas.reserve(0xfffff, 0xfffff));
  EXPECT_EQ(iovas.stats().reserved, 2u);
  auto merged = iovas.find(0xfff1c);
  ASSERT_TRUE(merged && merged->reserved);
  EXPECT_EQ(merged->first, 0xfff10u);
  EXPECT_EQ(merged->last, 0xfff2fu);
  EXPECT_EQ(error_of(iovas.free(0xfff1c)), EINVAL);
  unsigned count = 0;
  while (auto pfn = iovas.alloc(1, kLow)) {
    EXPECT_FALSE((*pfn >= 0xfff10 && *pfn <= 0xfff2f) || *pfn == 0xfffff);
    ++count;
  }
  EXPECT_EQ(count, 256u - 33);
  EXPECT_EQ(error_of(iovas.reserve(0xfff00, 0xfff0f)), EBUSY);
  EXPECT_EQ(error_of(iovas.reserve(2, 1)), EINVAL);
  EXPECT_EQ(error_of(iovas.reserve(0, ~uint64_t{0})), EINVAL);
}

TEST(Iova, AFreeOfNobodysAddressesIsReported) {
  log::Capture log;
  IovaDomain iovas({});
  iovas.free_fast(0x5000, 64);
  EXPECT_TRUE(log.contains("nobody has"));
}

TEST(Iova, WhatAPredecessorHandedOutIsTakenAroundWhatIsThere) {
  IovaDomain iovas({});
  must(iovas.reserve(0x10, 0x1f));
  must(iovas.reserve(0x30, 0x30));
  auto bounds = [](const std::vector<IovaDomain::Range>& ranges) {
    std::vector<std::pair<uint64_t, uint64_t>> all;
    for (const auto& range : ranges) all.emplace_back(range.first, range.last);
    return all;
  };
  using Bounds = std::vector<std::pair<uint64_t, uint64_t>>;
  EXPECT_EQ(bounds(iovas.take(0x8, 0x37)), (Bounds{{0x8, 0xf}, {0x20, 0x2f}, {0x31, 0x37}}));
  EXPECT_EQ(bounds(iovas.take(0x12, 0x14)), Bounds{});
  EXPECT_EQ(bounds(iovas.take(0x1f, 0x38)), (Bounds{{0x38, 0x38}}));
  EXPECT_EQ(bounds(iovas.take(0x50, 0x50)), (Bounds{{0x50, 0x50}}));
  EXPECT_EQ(iovas.stats().live, 5u);
  EXPECT_EQ(iovas.stats().reserved, 2u);
  EXPECT_EQ(error_of(iovas.reserve(0x2f, 0x2f)), EBUSY);
}

TEST(Iova, ACutRangeIsFreedByItself) {
  IovaDomain iovas({});
  iovas.take(0x20, 0x5f);
  must(iovas.cut(0x28, 0x2b));
  EXPECT_EQ(iovas.find(0x20)->last, 0x27u);
  EXPECT_EQ(iovas.find(0x2a)->first, 0x28u);
  EXPECT_EQ(iovas.find(0x2a)->last, 0x2bu);
  EXPECT_EQ(iovas.find(0x2c)->last, 0x5fu);
  must(iovas.cut(0x28, 0x2b));  // it is one already
  must(iovas.cut(0x20, 0x20));
  must(iovas.cut(0x5f, 0x5f));
  EXPECT_EQ(error_of(iovas.cut(0x2b, 0x2c)), EINVAL);
  EXPECT_EQ(error_of(iovas.cut(0x60, 0x60)), EINVAL);
  must(iovas.reserve(0x70, 0x7f));
  EXPECT_EQ(error_of(iovas.cut(0x70, 0x70)), EINVAL);
  iovas.free_fast(0x28, 3);  // as the owner of three pages does
  EXPECT_EQ(must(iovas.alloc_fast(4, 0x6f, Flush::kYes)), 0x28u);
  iovas.free_fast(0x28, 4);
  iovas.drain();
  EXPECT_FALSE(iovas.find(0x28));
  for (uint64_t pfn : {0x20, 0x21, 0x2c, 0x5f}) must(iovas.free(pfn));
  EXPECT_EQ(iovas.stats().live, 0u);
}

// With ranges taken in between, what is handed out never overlaps.
TEST(Iova, AllocationGoesOnAroundRangesThatWereTaken) {
  IovaDomain iovas({});
  std::set<uint64_t> used;
  auto insert = [&](uint64_t first, uint64_t last) {
    for (uint64_t pfn = first; pfn <= last; ++pfn) ASSERT_TRUE(used.insert(pfn).second) << pfn;
  };
  for (uint64_t round = 0; round < 200; ++round) {
    uint64_t pfn = must(iovas.alloc(1 + round % 7, kLow));
    insert(pfn, pfn + round % 7);
    for (const auto& range : iovas.take(0xff000 + round * 37 % 4096, 0xff000 + round * 37 % 4096 + 5))
      insert(range.first, range.last);
  }
}

}  // namespace
}  // namespace causeway::iommu
