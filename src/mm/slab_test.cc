#include "mm/slab.h"

#include <gtest/gtest.h>

#include <cstring>
#include <random>
#include <set>

#include "base/log.h"
#include "mm/testing/memory.h"

namespace causeway::mm {
namespace {

TEST(Slab, BucketsAreTheKernels) {
  for (auto [size, bucket] : {std::pair<uint64_t, uint64_t>{1, 8},
                              {8, 8},
                              {9, 16},
                              {33, 64},
                              {65, 96},
                              {97, 128},
                              {129, 192},
                              {193, 256},
                              {257, 512},
                              {1025, 2048},
                              {4097, 8192},
                              {8193, 16384},
                              {20480, 32768}}) {
    EXPECT_EQ(kmalloc_bucket(size), bucket) << size;
  }
  EXPECT_EQ(kmalloc_bucket(0), 0u);
}

TEST(Slab, EverySizeIsServedAlignedAndDisjoint) {
  TestMemory ram(low_only());
  Slab slab(ram.allocator());
  std::vector<std::pair<std::byte*, uint64_t>> objects;
  for (uint64_t size = 1; size < 20'000; size += 1 + size / 7) {
    auto* object = static_cast<std::byte*>(*slab.kmalloc(size, kGfpKernel));
    uint64_t usable = slab.ksize(object);
    EXPECT_EQ(usable, kmalloc_bucket(size));
    if (is_power_of_two(usable)) {
      EXPECT_TRUE(ram.direct_map().to_phys(object).is_aligned(std::min(usable, kPageSize)));
    }
    std::memset(object, static_cast<int>(objects.size()), usable);
    objects.emplace_back(object, usable);
  }
  for (size_t i = 0; i < objects.size(); ++i) {
    for (uint64_t k = 0; k < objects[i].second; ++k) {
      ASSERT_EQ(objects[i].first[k], static_cast<std::byte>(i));
    }
  }
  EXPECT_EQ(slab.objects(), objects.size());
  for (auto [object, size] : objects) slab.kfree(object);
  EXPECT_EQ(slab.objects(), 0u);
  EXPECT_EQ(ram->stats().bad_pages, 0u);
}

TEST(Slab, BadSizesAreRefused) {
  TestMemory ram(low_only(MiB(8)));
  Slab slab(ram.allocator());
  EXPECT_EQ(slab.kmalloc(0, kGfpKernel).error().code, Errno{EINVAL});
  EXPECT_EQ(slab.kmalloc(MiB(4) + 1, kGfpKernel).error().code, Errno{E2BIG});
  EXPECT_TRUE(slab.kmalloc(MiB(4), kGfpKernel));
  EXPECT_EQ(slab.kmalloc(MiB(4), kGfpKernel | Gfp::kNoWarn).error().code, Errno{ENOMEM});
}

TEST(Slab, ZeroedObjectIsZeroThoughItWasUsedBefore) {
  TestMemory ram(low_only());
  Slab slab(ram.allocator());
  void* object = *slab.kmalloc(192, kGfpKernel);
  std::memset(object, 0xff, 192);
  slab.kfree(object);
  auto* again = static_cast<std::byte*>(*slab.kmalloc(192, kGfpKernel | Gfp::kZero));
  EXPECT_EQ(again, object);
  for (int i = 0; i < 192; ++i) ASSERT_EQ(again[i], std::byte{0});
}

TEST(Slab, Dma32ObjectsLieBelow4GiB) {
  TestMemory ram(both_zones());
  Slab slab(ram.allocator());
  void* normal = *slab.kmalloc(64, kGfpKernel);
  void* low = *slab.kmalloc(64, kGfpKernel | Gfp::kDma32);
  EXPECT_GE(ram.direct_map().to_phys(normal), kDma32Limit);
  EXPECT_LT(ram.direct_map().to_phys(low), kDma32Limit);
  slab.kfree(low);
  slab.kfree(normal);
  EXPECT_EQ(slab.objects(), 0u);
}

TEST(Slab, DoubleFreeIsReportedAndIgnored) {
  TestMemory ram(low_only());
  Slab slab(ram.allocator());
  log::Capture log;
  void* kept = *slab.kmalloc(32, kGfpKernel);
  void* object = *slab.kmalloc(32, kGfpKernel);
  slab.kfree(object);
  EXPECT_EQ(slab.ksize(object), 0u);
  slab.kfree(object);
  EXPECT_TRUE(log.contains("free already"));
  EXPECT_EQ(slab.objects(), 1u);
  EXPECT_NE(*slab.kmalloc(32, kGfpKernel), *slab.kmalloc(32, kGfpKernel));
  slab.kfree(kept);
}

TEST(Slab, FreeingWhatIsNotAnObjectIsReportedAndIgnored) {
  TestMemory ram(low_only());
  Slab slab(ram.allocator());
  log::Capture log;
  auto* object = static_cast<std::byte*>(*slab.kmalloc(96, kGfpKernel));
  auto* large = static_cast<std::byte*>(*slab.kmalloc(KiB(16), kGfpKernel));
  Page* page = *ram->alloc_pages(kOrder0, kGfpKernel);
  int local = 0;
  size_t reports = 0;
  for (void* wrong : {static_cast<void*>(object + 8), static_cast<void*>(large + kPageSize),
                      static_cast<void*>(ram.map().address(page)), static_cast<void*>(&local),
                      static_cast<void*>(ram.direct_map().to_virt(PhysAddr(GiB(3))))}) {
    EXPECT_EQ(slab.ksize(wrong), 0u);
    slab.kfree(wrong);
    EXPECT_EQ(log.lines().size(), ++reports);
  }
  slab.kfree(nullptr);
  EXPECT_EQ(log.lines().size(), reports);
  EXPECT_EQ(slab.objects(), 2u);
  EXPECT_EQ(page->count(), 1);
}

TEST(Slab, EmptySlabsGoBackToTheAllocator) {
  TestMemory ram(low_only());
  uint64_t before = ram.free_pages();
  {
    Slab slab(ram.allocator());
    std::vector<void*> objects;
    for (int i = 0; i < 1000; ++i) objects.push_back(*slab.kmalloc(512, kGfpKernel));
    EXPECT_LE(ram.free_pages(), before - 125);
    for (void* object : objects) slab.kfree(object);
    EXPECT_EQ(ram.free_pages(), before - 1);  // one is kept
  }
  ram.expect_all_free();
}

TEST(Slab, ObjectsThatOutliveTheSlabKeepTheirPages) {
  TestMemory ram(low_only());
  uint64_t before = ram.free_pages();
  { (void)*Slab(ram.allocator()).kmalloc(64, kGfpKernel); }
  EXPECT_EQ(ram.free_pages(), before - 1);
}

TEST(Slab, RandomUseNeverHandsOutAnObjectTwice) {
  TestMemory ram(low_only());
  Slab slab(ram.allocator());
  std::mt19937 random(5);
  std::set<void*> live;
  for (int i = 0; i < 20'000; ++i) {
    if (random() % 5 < 3) {
      ASSERT_TRUE(live.insert(*slab.kmalloc(1 + random() % 256, kGfpKernel)).second);
    } else if (!live.empty()) {
      auto it = random() % 2 != 0 ? live.begin() : std::prev(live.end());
      slab.kfree(*it);
      live.erase(it);
    }
  }
  EXPECT_EQ(slab.objects(), live.size());
  for (void* object : live) slab.kfree(object);
}

}  // namespace
}  // namespace causeway::mm
