// Several threads at once; run under ThreadSanitizer this is the proof that the locks cover the data.
#include <gtest/gtest.h>

#include <atomic>
#include <random>
#include <thread>

#include "base/log.h"
#include "mm/slab.h"
#include "mm/testing/memory.h"

namespace causeway::mm {
namespace {

constexpr int kThreads = 4;

void run_threads(const std::function<void(unsigned)>& body) {
  std::vector<std::thread> threads;
  for (unsigned i = 0; i < kThreads; ++i) threads.emplace_back(body, i);
  for (std::thread& thread : threads) thread.join();
}

TEST(Threads, NoFrameHasTwoOwners) {
  TestMemory ram(both_zones());
  run_threads([&](unsigned id) {
    std::mt19937 random(id);
    std::vector<std::pair<Page*, unsigned>> mine;
    for (int i = 0; i < 3000; ++i) {
      if (random() % 2 == 0) {
        unsigned order = random() % 3 == 0 ? random() % 6 : 0;
        Gfp gfp = kGfpKernel | Gfp::kNoWarn | (random() % 2 == 0 ? Gfp::kMovable : Gfp::kNone);
        auto page = ram->alloc_pages(Order(order), gfp);
        if (!page) continue;
        // A tag in every page: another owner would overwrite it.
        for (uint64_t k = 0; k < Order(order).pages(); ++k) {
          *ram.map().address_as<uint64_t>(*page + k) = uint64_t{id} << 32 | order;
        }
        mine.emplace_back(*page, order);
      } else if (!mine.empty()) {
        auto [page, order] = mine.back();
        mine.pop_back();
        for (uint64_t k = 0; k < Order(order).pages(); ++k) {
          ASSERT_EQ(*ram.map().address_as<uint64_t>(page + k), uint64_t{id} << 32 | order);
        }
        ram->free_pages(page, Order(order));
      }
    }
    for (auto [page, order] : mine) ram->free_pages(page, Order(order));
  });
  ram.expect_all_free();
}

TEST(Threads, RangesAuditsAndHotplugAlongsideSmallAllocations) {
  TestMemory ram(both_zones());
  std::atomic<bool> stop{false};
  std::thread small([&] {
    while (!stop.load()) {
      Page* pages[50];
      for (Page*& page : pages) page = *ram->alloc_pages(kOrder0, kGfpKernel);
      for (Page* page : pages) ram->put_page(page);
    }
  });
  Pfn hot = Pfn::containing(PhysAddr(GiB(6)));
  for (int i = 0; i < 60; ++i) {
    auto range = ram->alloc_contig(2000, 8, kGfpKernel | Gfp::kNoWarn);
    if (range) ram->free_contig(*range, 2000);
    ASSERT_TRUE(ram->hot_add({hot, hot + 100}));
    (void)ram->state(kNormalStart + static_cast<uint64_t>(i) * 7);
    EXPECT_LE(ram->stats().zone[0].free_pages, ram->stats().zone[0].managed_pages);
    ram->drain_per_cpu_lists();
    while (!ram->hot_remove({hot, hot + 100})) std::this_thread::yield();
  }
  stop = true;
  small.join();
  ram.expect_all_free();
}

TEST(Threads, TheLastOfManyReferencesFrees) {
  TestMemory ram(low_only());
  Page* head = *ram->alloc_pages(Order(4), kGfpKernel | Gfp::kComp);
  for (int i = 0; i < kThreads - 1; ++i) ram->get_page(head);
  run_threads([&](unsigned id) {
    for (int i = 0; i < 1000; ++i) {
      ram->get_page(head + id);
      ram->put_page(head + 3 * id);
    }
    ram->put_page(head);
  });
  ram.expect_all_free();
}

TEST(Threads, OfSeveralFreesOfOnePageOneCounts) {
  TestMemory ram(low_only());
  log::Capture log;
  for (int i = 0; i < 50; ++i) {
    Page* page = *ram->alloc_pages(kOrder0, kGfpKernel);
    uint64_t bad = ram->stats().bad_pages;
    run_threads([&](unsigned) { ram->put_page(page); });
    ASSERT_EQ(ram->stats().bad_pages, bad + kThreads - 1);
  }
  EXPECT_EQ(ram.free_pages(), ram.managed_pages());
  EXPECT_EQ(ram->stats().leaked_pages, 0u);
}

TEST(Threads, SlabObjectsAreDisjoint) {
  TestMemory ram(low_only());
  Slab slab(ram.allocator());
  run_threads([&](unsigned id) {
    std::mt19937 random(id);
    std::vector<std::pair<uint64_t*, uint64_t>> mine;
    for (int i = 0; i < 3000; ++i) {
      if (random() % 2 == 0) {
        uint64_t size = 8 + random() % 600;
        auto* object = static_cast<uint64_t*>(*slab.kmalloc(size, kGfpKernel));
        *object = uint64_t{id} << 32 | static_cast<uint64_t>(i);
        mine.emplace_back(object, *object);
      } else if (!mine.empty()) {
        auto [object, tag] = mine.back();
        mine.pop_back();
        ASSERT_EQ(*object, tag);
        slab.kfree(object);
      }
    }
    for (auto [object, tag] : mine) slab.kfree(object);
  });
  EXPECT_EQ(slab.objects(), 0u);
}

}  // namespace
}  // namespace causeway::mm
