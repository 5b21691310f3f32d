// Threads that share tables but no addresses need no lock.
#include <gtest/gtest.h>

#include <atomic>
#include <barrier>
#include <thread>

#include "base/testing/results.h"
#include "iommu/pt/testing/configurations.h"
#include "iommu/pt/testing/table_memory.h"

namespace causeway::iommu {
namespace {

template <typename Config>
class PageTableThreads : public ::testing::Test {};
TYPED_TEST_SUITE(PageTableThreads, Configurations);

// 12: 10^6 pages over the ten configurations, two threads at a time under a table that is missing at first.
TYPED_TEST(PageTableThreads, DisjointPagesUnderAMissingTable) {
  constexpr uint64_t kGranule = uint64_t{1} << TypeParam::Format::kGranuleLg2;
  constexpr uint64_t kSpan = kGranule * pt::kItems;
  kho::TestMachine machine;
  TableMemory memory(machine);
  auto table = must(TypeParam::make(memory.pages));
  uint64_t mapped = 0;
  // The upper tables stay.
  must(table->map(Iova{0}, PhysAddr{0}, kGranule, kRead, &mapped));
  const uint64_t before = memory.pages.pages();
  std::atomic<uint64_t> failures{0};
  std::barrier both(2);
  auto work = [&](unsigned self) {
    for (unsigned round = 0; round < 200; ++round) {
      const uint64_t base = kSpan * (1 + round % 100);
      both.arrive_and_wait();
      for (unsigned i = self; i < pt::kItems; i += 2) {
        uint64_t done = 0;
        const uint64_t at = base + i * kGranule;
        // Physical neighbours in the other direction, so that no larger page fits.
        if (!table->map(Iova{at}, PhysAddr{GiB(1) - i * kGranule}, kGranule, kRead | kWrite, &done)) failures.fetch_add(1);
        if (table->iova_to_phys(Iova{at}) != PhysAddr{GiB(1) - i * kGranule}) failures.fetch_add(1);
      }
      both.arrive_and_wait();
      if (self != 0) continue;
      if (memory.pages.pages() != before + 1) failures.fetch_add(1);
      if (unmap_and_free(*table, memory.pages, Iova{base}, kSpan) != kSpan) failures.fetch_add(1);
      if (memory.pages.pages() != before) failures.fetch_add(1);
    }
  };
  std::thread other(work, 1);
  work(0);
  other.join();
  EXPECT_EQ(failures.load(), 0u);
}

}  // namespace
}  // namespace causeway::iommu
