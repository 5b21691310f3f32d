// CMA areas: declaring, handing out, taking back, dynamic ones (spec scenarios 62 to 66).
#include "mm/cma.h"

#include <gtest/gtest.h>

#include <thread>
#include <vector>

#include "base/log.h"
#include "base/testing/results.h"
#include "mm/testing/memory.h"

namespace causeway::mm {
namespace {

constexpr uint64_t kBlock = kPageblockOrder.pages();  // pages of a pageblock

// 32 MiB above 4 GiB, of which `pages` at `offset` are an area.
struct OneArea {
  explicit OneArea(unsigned order_per_bit = 0, uint64_t size = MiB(8), PhysAddr base = kDma32Limit + MiB(8))
      : ram({{kDma32Limit, MiB(32)}}, true, [&](BootMemory& boot) {
          area = must(cma.declare(boot, {.name = "test",
                                         .size = size,
                                         .base = base,
                                         .place = CmaSpec::Place::kExactly,
                                         .order_per_bit = order_per_bit}));
        }) {
    cma.activate(ram.allocator());
  }
  Cma cma;
  CmaArea* area = nullptr;
  TestMemory ram;
};

CmaSpec exactly(PhysAddr base, uint64_t size) {
  return {.size = size, .base = base, .place = CmaSpec::Place::kExactly};
}

TEST(CmaBitmap, PlacesAreAlignedToTheFrameNumberNotToTheRange) {
  // 64, with a base that no area may have
  CmaBitmap bitmap({Pfn(0x1010), Pfn(0x1810)}, 0);
  EXPECT_EQ(bitmap.find(Pfn(0x1010), 300, Order{8}), Pfn(0x1100));
  EXPECT_EQ(bitmap.find(Pfn(0x1101), 300, Order{8}), Pfn(0x1200));
  EXPECT_EQ(bitmap.find(Pfn(0x1010), 1, kOrder0), Pfn(0x1010));
  EXPECT_EQ(bitmap.find(Pfn(0x1010), 0x710, Order{8}), Pfn(0x1100)) << "up to the very end";
  EXPECT_EQ(bitmap.find(Pfn(0x1010), 0x711, Order{8}), std::nullopt);
}

TEST(CmaBitmap, FindsTheFirstGapThatIsLargeEnough) {
  CmaBitmap bitmap({Pfn(0), Pfn(1024)}, 2);
  bitmap.set(Pfn(0), 4);
  bitmap.set(Pfn(12), 400);
  EXPECT_EQ(bitmap.find(Pfn(0), 8, kOrder0), Pfn(4));
  EXPECT_EQ(bitmap.find(Pfn(0), 9, kOrder0), Pfn(412));
  EXPECT_TRUE(bitmap.all_set(Pfn(12), 397));
  EXPECT_FALSE(bitmap.all_set(Pfn(12), 401));
  bitmap.clear(Pfn(12), 400);
  EXPECT_EQ(bitmap.clear_bits(), 255u);
}

// 62
TEST(Cma, BitsAreRoundedUpAndAvailablePagesAreNot) {
  OneArea t(2);
  EXPECT_EQ(t.area->available(), 2 * kBlock);
  Page* first = must(t.area->alloc(5, kOrder0, kGfpKernel));
  EXPECT_EQ(t.area->available(), 2 * kBlock - 5);
  EXPECT_EQ(t.area->clear_bits(), 2 * kBlock / 4 - 2);
  for (int i = 0; i < 5; ++i) EXPECT_EQ(first[i].count(), 1);
  EXPECT_EQ(first[5].count(), 0) << "the rest of the second bit is nobody's";

  EXPECT_FALSE(t.area->release(first + 1, 4)) << "does not begin with a bit";
  EXPECT_FALSE(t.area->release(first, 0));
  EXPECT_EQ(t.area->available(), 2 * kBlock - 5);
  EXPECT_TRUE(t.area->release(first, 5));
  EXPECT_EQ(t.area->available(), 2 * kBlock);
  EXPECT_EQ(t.area->clear_bits(), 2 * kBlock / 4);
  t.ram.expect_all_free();
}

TEST(Cma, PagesOfOthersAreNotReleased) {
  OneArea t;
  Page* first = must(t.area->alloc(16, kOrder0, kGfpKernel));
  Page* other = must(t.ram->alloc_pages(Order{2}, kGfpKernel));
  EXPECT_FALSE(t.area->release(other, 4));
  EXPECT_FALSE(t.area->release(first, 2 * kBlock + 1)) << "reaches beyond the area";
  log::Capture capture;
  EXPECT_FALSE(t.area->release(first + 16, 16)) << "in the area, and free";
  EXPECT_TRUE(capture.contains("were not allocated"));
  EXPECT_TRUE(t.area->release(first, 16));
  EXPECT_FALSE(t.area->release(first, 16)) << "twice";
  t.ram->free_pages(other, Order{2});
  t.ram.expect_all_free();
}

// 63
TEST(Cma, ABusyPlaceIsSteppedOverAndNoneLeftIsEbusy) {
  OneArea t;
  // Somebody's movable page in the middle of the first place.
  const Pfn base = t.area->ranges().front().begin;
  Page* busy = must(t.ram->alloc_contig_range({base + 100, base + 101}));
  Page* first = must(t.area->alloc(256, Order{8}, kGfpKernel));
  EXPECT_EQ(t.ram.map().pfn(first), base + 256);
  EXPECT_TRUE(t.area->release(first, 256));

  log::Capture capture;
  EXPECT_EQ(error_of(t.area->alloc(2 * kBlock, kOrder0, kGfpKernel)), EBUSY);
  EXPECT_TRUE(capture.contains("every free place is in use"));
  EXPECT_EQ(t.area->available(), 2 * kBlock) << "nothing stays taken";
  EXPECT_EQ(t.area->clear_bits(), 2 * kBlock);
  t.ram->free_contig(busy, 1);
  Page* all = must(t.area->alloc(2 * kBlock, kOrder0, kGfpKernel));
  EXPECT_TRUE(t.area->release(all, 2 * kBlock));
}

// 63
TEST(Cma, InjectedBusyPagesMoveTheAllocationOn) {
  if (!has_points()) GTEST_SKIP() << "built without named points";
  OneArea t;
  const Pfn base = t.area->ranges().front().begin;
  {
    unsigned hits = 0;
    must(point::on_hit("mm.cma.take", [&]() -> Status {
      if (++hits <= 2) return fail(EBUSY, "made busy");
      return {};
    }));
    Page* third = must(t.area->alloc(512, Order{8}, kGfpKernel));
    point::disarm_all();
    EXPECT_EQ(t.ram.map().pfn(third), base + 2 * 256) << "positions are an alignment apart, not a size";
    EXPECT_TRUE(t.area->release(third, 512));
  }
  {
    FailingStep always("mm.cma.take", EBUSY);
    EXPECT_EQ(error_of(t.area->alloc(512, Order{8}, kGfpKernel | Gfp::kNoWarn)), EBUSY);
    EXPECT_EQ(always.hits(), 7u) << "every place of the area";
  }
  {
    FailingStep other("mm.cma.take", EIO);
    EXPECT_EQ(error_of(t.area->alloc(512, Order{8}, kGfpKernel | Gfp::kNoWarn)), EIO);
    EXPECT_EQ(other.hits(), 1u) << "any other error ends the search";
  }
  EXPECT_EQ(t.area->clear_bits(), 2 * kBlock);
}

// 64
TEST(Cma, AlignmentBeyondTheBaseIsThatOfTheFrameNumber) {
  OneArea t(0, MiB(16), kDma32Limit + MiB(12));
  Page* first = must(t.area->alloc(1, Order{11}, kGfpKernel));
  EXPECT_EQ(t.ram.map().phys(first), kDma32Limit + MiB(16));
  Page* second = must(t.area->alloc(1, Order{8}, kGfpKernel));
  EXPECT_EQ(t.ram.map().phys(second), kDma32Limit + MiB(12));
}

// 65
TEST(Cma, AStillReferencedPageIsReportedAndFreedAllTheSame) {
  OneArea t;
  Page* first = must(t.area->alloc(8, kOrder0, kGfpKernel));
  t.ram->get_page(first + 3);
  log::Capture capture;
  EXPECT_TRUE(t.area->release(first, 8));
  EXPECT_TRUE(capture.contains("1 page is still referenced"));
  EXPECT_EQ(t.area->available(), 2 * kBlock);
  t.ram.expect_all_free();
  t.ram->put_page(first + 3);
  EXPECT_EQ(t.ram->stats().bad_pages, 1u) << "the late reference is a bad page, and nothing more";
}

TEST(Cma, WhileNobodyHasThemMovablePagesLiveThere) {
  OneArea t;
  EXPECT_EQ(t.ram->stats().zone[1].free_cma_pages, 2 * kBlock);
  std::vector<Page*> pages;
  while (auto page = t.ram->alloc_pages(Order{10}, kGfpKernel | Gfp::kNoWarn)) pages.push_back(*page);
  EXPECT_EQ(pages.size(), 6u) << "ordinary requests leave the area alone";
  EXPECT_TRUE(t.ram->alloc_pages(Order{10}, kGfpKernel | Gfp::kMovable));
  Page* rest = must(t.area->alloc(kBlock, kOrder0, kGfpKernel));
  EXPECT_EQ(error_of(t.area->alloc(1, kOrder0, kGfpKernel | Gfp::kNoWarn)), EBUSY);
  EXPECT_TRUE(t.area->release(rest, kBlock));
}

TEST(Cma, EmptyRequestsAndTooLargeOnesAreRefused) {
  OneArea t;
  EXPECT_EQ(error_of(t.area->alloc(0, kOrder0, kGfpKernel)), EINVAL);
  EXPECT_EQ(error_of(t.area->alloc(2 * kBlock + 1, kOrder0, kGfpKernel | Gfp::kNoWarn)), ENOMEM);
  EXPECT_EQ(error_of(t.area->alloc(~uint64_t{0}, kOrder0, kGfpKernel | Gfp::kNoWarn)), ENOMEM);
}

TEST(CmaDeclare, EveryImpossibleAreaHasItsErrno) {
  Cma cma(2);
  BootMemory boot;
  must(boot.add({kDma32Limit, MiB(32)}));
  must(boot.reserve({kDma32Limit + MiB(16), MiB(4)}));
  EXPECT_EQ(error_of(cma.declare(boot, {.size = 0})), EINVAL);
  EXPECT_EQ(error_of(cma.declare(boot, {.size = ~uint64_t{0}})), EINVAL);
  EXPECT_EQ(error_of(cma.declare(boot, {.size = MiB(4), .alignment = MiB(3)})), EINVAL);
  EXPECT_EQ(error_of(cma.declare(boot, exactly(kDma32Limit + MiB(1), MiB(4)))), EINVAL);
  CmaSpec limited = exactly(kDma32Limit, MiB(8));
  limited.limit = kDma32Limit + MiB(4);
  EXPECT_EQ(error_of(cma.declare(boot, limited)), EINVAL);
  EXPECT_EQ(error_of(cma.declare(boot, {.size = MiB(4), .order_per_bit = 11})), EINVAL);
  EXPECT_EQ(error_of(cma.declare(boot, {.name = "line\n", .size = MiB(4)})), EINVAL);
  EXPECT_EQ(error_of(cma.declare(boot, {.name = std::string(64, 'x'), .size = MiB(4)})), EINVAL);
  EXPECT_EQ(error_of(cma.declare(boot, exactly(kDma32Limit + MiB(12), MiB(8)))), EBUSY);
  EXPECT_EQ(error_of(cma.declare(boot, {.size = MiB(20)})), ENOMEM);
  must(cma.declare(boot, {.size = MiB(4)}));
  must(cma.declare(boot, {.name = std::string(63, 'x'), .size = MiB(4)}));
  EXPECT_EQ(error_of(cma.declare(boot, {.size = MiB(4)})), ENOSPC);
}

TEST(CmaDeclare, HighMemoryIsPreferredAndTakenFromItsLowEnd) {
  Cma cma;
  BootMemory boot;
  must(boot.add({PhysAddr{0}, MiB(64)}));
  must(boot.add({kDma32Limit, MiB(16)}));
  auto base_of = [](CmaArea* area) { return area->ranges().front().begin.address(); };
  CmaArea* first = must(cma.declare(boot, {.size = MiB(5)}));
  EXPECT_EQ(base_of(first), kDma32Limit);
  EXPECT_EQ(first->ranges().front().bytes(), MiB(8)) << "rounded up to pageblocks";
  EXPECT_EQ(first->name(), "cma0");
  EXPECT_EQ(base_of(must(cma.declare(boot, {.size = MiB(8)}))), kDma32Limit + MiB(8));
  EXPECT_EQ(base_of(must(cma.declare(boot, {.size = MiB(8)}))), PhysAddr{MiB(4)}) << "not at address 0";
  EXPECT_EQ(base_of(must(cma.declare(boot, {.size = MiB(8), .limit = PhysAddr{MiB(20)}}))), PhysAddr{MiB(12)});
}

TEST(CmaDeclare, ReservedMemoryMustBeReservedAndAligned) {
  Cma cma;
  BootMemory boot;
  must(boot.add({kDma32Limit, MiB(32)}));
  must(boot.reserve({kDma32Limit + MiB(8), MiB(8)}));
  EXPECT_EQ(error_of(cma.init_reserved(boot, kDma32Limit + MiB(9), MiB(4), 0, "a")), EINVAL);
  EXPECT_EQ(error_of(cma.init_reserved(boot, kDma32Limit + MiB(8), MiB(5), 0, "a")), EINVAL);
  EXPECT_EQ(error_of(cma.init_reserved(boot, kDma32Limit + MiB(4), MiB(8), 0, "a")), EINVAL);
  must(cma.init_reserved(boot, kDma32Limit + MiB(8), MiB(8), 0, "a"));
}

TEST(CmaDeclare, SeveralRangesServeWhereOneIsTooSmall) {
  Cma cma;
  CmaArea* area = nullptr;
  TestMemory ram({{kDma32Limit, MiB(40)}}, true, [&](BootMemory& boot) {
    must(boot.reserve({kDma32Limit + MiB(8), MiB(4)}));   // 8 MiB below, 12 above
    must(boot.reserve({kDma32Limit + MiB(24), MiB(4)}));  // and 12 at the end
    EXPECT_EQ(error_of(cma.declare(boot, {.size = MiB(16)})), ENOMEM);
    area = must(cma.declare_multi(boot, {.size = MiB(16)}));
    EXPECT_EQ(error_of(cma.declare_multi(boot, {.size = MiB(64)})), ENOMEM);
  });
  cma.activate(ram.allocator());
  ASSERT_EQ(area->ranges().size(), 2u) << "the largest ones";
  EXPECT_EQ(area->ranges()[0].begin.address(), kDma32Limit + MiB(12));
  EXPECT_EQ(area->ranges()[1].begin.address(), kDma32Limit + MiB(28));
  EXPECT_EQ(area->ranges()[1].bytes(), MiB(4));
  EXPECT_EQ(area->pages(), 4 * kBlock);
  // Lowest address first, and no allocation in two ranges at once.
  Page* low = must(area->alloc(2 * kBlock, kOrder0, kGfpKernel));
  EXPECT_EQ(ram.map().phys(low), kDma32Limit + MiB(12));
  EXPECT_EQ(error_of(area->alloc(2 * kBlock, kOrder0, kGfpKernel | Gfp::kNoWarn)), ENOMEM);
  Page* high = must(area->alloc(kBlock, Order{10}, kGfpKernel));
  Page* third = must(area->alloc(kBlock, Order{10}, kGfpKernel));
  EXPECT_EQ(ram.map().phys(third), kDma32Limit + MiB(28));
  EXPECT_FALSE(area->release(high, 2 * kBlock)) << "not inside one range";
  EXPECT_TRUE(area->release(low, 2 * kBlock));
  EXPECT_TRUE(area->release(high, kBlock));
  EXPECT_TRUE(area->release(third, kBlock));
}

TEST(CmaActivate, AnAreaAcrossZonesIsGivenUpAndItsMemoryIsNotLost) {
  for (bool keep : {false, true}) {
    Cma cma;
    CmaArea* area = nullptr;
    TestMemory ram({{kDma32Limit - MiB(8), MiB(16)}}, true, [&](BootMemory& boot) {
      CmaSpec spec = exactly(kDma32Limit - MiB(4), MiB(8));
      spec.reserve_on_error = keep;
      area = must(cma.declare(boot, spec));
    });
    log::Capture capture;
    cma.activate(ram.allocator());
    EXPECT_TRUE(capture.contains("crosses zones"));
    EXPECT_EQ(ram.free_pages(), (keep ? 2 : 4) * kBlock);
    EXPECT_EQ(error_of(area->alloc(1, kOrder0, kGfpKernel)), EINVAL);
    unsigned listed = 0;
    cma.for_each_area([&](CmaArea&) { ++listed; });
    EXPECT_EQ(listed, 0u);
    EXPECT_EQ(cma.total_pages(), 0u);
  }
}

// 66
TEST(CmaDynamic, AnAreaWithAllocatedPagesIsNotFreedAndAnEmptyOneIs) {
  Cma cma;
  TestMemory ram({{kDma32Limit, MiB(32)}}, true,
                 [](BootMemory& boot) { must(boot.reserve({kDma32Limit + MiB(8), MiB(8)})); });
  CmaArea* area = must(cma.create(ram.allocator(), kDma32Limit + MiB(8), MiB(8), 0, "vpr"));
  EXPECT_EQ(cma.total_pages(), 2 * kBlock);
  EXPECT_EQ(area->name(), "vpr") << "without a line end";
  Page* first = must(area->alloc(100, kOrder0, kGfpKernel));
  {
    log::Capture capture;
    EXPECT_EQ(error_of(cma.destroy(area)), EBUSY);
    EXPECT_TRUE(capture.contains("100 of 2048 bits are allocated"));
  }
  EXPECT_TRUE(area->release(first, 100));
  must(cma.destroy(area));
  EXPECT_EQ(cma.total_pages(), 0u);
  EXPECT_EQ(ram->stats().zone[1].free_cma_pages, 0u);
  for (int i = 0; i < 8; ++i) EXPECT_TRUE(ram->alloc_pages(Order{10}, kGfpKernel)) << "ordinary memory again";
}

TEST(CmaDynamic, OnlyReservedAlignedMemoryAndNothingIsListedAfterAFailure) {
  Cma cma;
  TestMemory ram({{kDma32Limit - MiB(8), MiB(32)}}, true,
                 [](BootMemory& boot) { must(boot.reserve({kDma32Limit - MiB(4), MiB(12)})); });
  PageAllocator& pages = ram.allocator();
  EXPECT_EQ(error_of(cma.create(pages, kDma32Limit, MiB(12), 0, "free at the end")), EINVAL);
  EXPECT_EQ(error_of(cma.create(pages, kDma32Limit + MiB(1), MiB(4), 0, "unaligned")), EINVAL);
  EXPECT_EQ(error_of(cma.create(pages, kDma32Limit, 0, 0, "empty")), EINVAL);
  EXPECT_EQ(error_of(cma.create(pages, kDma32Limit, MiB(4), 0, "two\nlines")), EINVAL);
  EXPECT_EQ(error_of(cma.create(pages, kDma32Limit - MiB(4), MiB(8), 0, "two zones")), EINVAL);
  unsigned listed = 0;
  cma.for_each_area([&](CmaArea&) { ++listed; });
  EXPECT_EQ(listed, 0u);
  must(cma.create(pages, kDma32Limit, MiB(8), 0, "good"));
  EXPECT_EQ(error_of(cma.create(pages, kDma32Limit, MiB(8), 0, "twice")), EINVAL);
  cma.for_each_early_area([&](CmaArea&) { ++listed; });
  EXPECT_EQ(listed, 0u) << "a dynamic area is not an early one";
}

TEST(CmaDynamic, AnAreaCanBeMadeOfFreeMemory) {
  Cma cma;
  TestMemory ram(both_zones());
  CmaArea* high = must(cma.create_from_free(ram.allocator(), MiB(8), PhysAddr{~uint64_t{0}}, 0, "high"));
  EXPECT_GE(high->ranges().front().begin.address(), kDma32Limit);
  CmaArea* low = must(cma.create_from_free(ram.allocator(), MiB(8), kDma32Limit - 1, 0, "low"));
  EXPECT_LT(low->ranges().front().begin.address(), kDma32Limit);
  EXPECT_EQ(error_of(cma.create_from_free(ram.allocator(), MiB(8), PhysAddr{MiB(2)}, 0, "none")), ENOMEM);
  EXPECT_EQ(ram->stats().zone[1].free_cma_pages, 2 * kBlock);
  Page* movable = must(ram->alloc_contig_range({low->ranges().front().begin, low->ranges().front().begin + 1}));
  EXPECT_EQ(error_of(cma.destroy(low)), EBUSY) << "somebody's movable page lives there";
  ram->free_contig(movable, 1);
  must(cma.destroy(low));
  must(cma.destroy(high));
  EXPECT_EQ(error_of(cma.destroy(high)), EINVAL);
  ram.expect_all_free();
}

TEST(CmaThreads, EveryPageIsHandedOutOnce) {
  OneArea t;
  std::vector<std::thread> threads;
  for (unsigned n = 0; n < 4; ++n) {
    threads.emplace_back([&, n] {
      for (unsigned i = 0; i < 60; ++i) {
        auto pages = t.area->alloc(1 + (i * 7 + n) % 90, Order{i % 5}, kGfpKernel);
        ASSERT_TRUE(pages);
        (*pages)->private_data = n;
        std::this_thread::yield();
        EXPECT_EQ((*pages)->private_data, n);
        (*pages)->private_data = 0;
        EXPECT_TRUE(t.area->release(*pages, 1 + (i * 7 + n) % 90));
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(t.area->available(), 2 * kBlock);
  EXPECT_EQ(t.area->clear_bits(), 2 * kBlock);
  t.ram.expect_all_free();
}

}  // namespace
}  // namespace causeway::mm
