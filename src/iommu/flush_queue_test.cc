#include "iommu/flush_queue.h"

#include <gtest/gtest.h>

#include <chrono>
#include <thread>
#include <vector>

#include "base/testing/results.h"
#include "iommu/map_domain.h"
#include "iommu/pt/testing/table_memory.h"

namespace causeway::iommu {
namespace {

using Flush = IovaDomain::Flush;
constexpr uint64_t kLow = 0xfffff;

// A domain with its allocator; a timer that does not come by itself unless asked for.
struct Space {
  explicit Space(FlushQueue::Options options = {.timeout_ms = 1'000'000})
      : queue(must(FlushQueue::create(domain, iovas, options))) {}
  uint64_t map() {
    uint64_t pfn = must(iovas.alloc_fast(1, kLow, Flush::kYes));
    must(domain.map(Iova(pfn << 12), PhysAddr{0x7000}, KiB(4), kRead | kWrite));
    return pfn;
  }
  void unmap(uint64_t pfn) {
    Gather gather{.queued = true};
    ASSERT_EQ(domain.unmap(Iova(pfn << 12), KiB(4), gather), KiB(4));
    queue->add(pfn, 1);
  }
  bool device_reaches(uint64_t pfn) { return domain.translate(Iova(pfn << 12), 4, kWrite).bytes != 0; }

  MapDomain domain{{.type = DomainType::kDmaFq}};
  IovaDomain iovas{{}};
  std::unique_ptr<FlushQueue> queue;
};

// 47
TEST(FlushQueue, AnUnmappedAddressIsReachableForAWhileButNobodyElses) {
  Space space;
  uint64_t pfn = space.map();
  EXPECT_TRUE(space.device_reaches(pfn));
  space.unmap(pfn);
  EXPECT_TRUE(space.device_reaches(pfn));  // by the IOTLB
  for (unsigned i = 0; i < 50; ++i) EXPECT_NE(space.map(), pfn);
  space.queue->drain();
  EXPECT_FALSE(space.device_reaches(pfn));
  EXPECT_EQ(space.map(), pfn);
}

// 47
TEST(FlushQueue, TheRingIsFlushedWhenThe256thUnmapFindsItFull) {
  Space space;
  std::vector<uint64_t> pages;
  for (unsigned i = 0; i < 256; ++i) pages.push_back(space.map());
  for (unsigned i = 0; i < 255; ++i) space.unmap(pages[i]);
  EXPECT_EQ(space.domain.counts().flushes, 0u);
  EXPECT_EQ(space.queue->stats().queued, 255u);
  space.unmap(pages[255]);
  EXPECT_EQ(space.domain.counts().flushes, 1u);
  EXPECT_EQ(space.queue->stats().queued, 1u);
  EXPECT_EQ(space.iovas.stats().live, 1u);
}

// A table that an unmap leaves is the hardware's until a flush that began after it.
TEST(FlushQueue, TablesAreFreedAfterTheFlush) {
  struct Tables final : Domain {
    explicit Tables(IommuPages& memory) : pages(memory), table(must(make_vtdss({.pages = memory}))) {}
    DomainType type() const override { return DomainType::kDmaFq; }
    uint64_t page_sizes() const override { return table->info().page_sizes; }
    Aperture aperture() const override { return table->info().aperture; }
    Status map(Iova iova, PhysAddr phys, uint64_t size, uint32_t prot) override {
      uint64_t mapped = 0;
      return table->map(iova, phys, size, prot, &mapped);
    }
    void sync_map(Iova, uint64_t) override {}
    uint64_t unmap(Iova iova, uint64_t size, Gather& gather) override { return table->unmap(iova, size, gather); }
    void sync(Gather& gather) override { pages.free(gather.freed); }
    void flush_all() override { in_use_at_flush = pages.pages(); }
    void free_tables(FreeList& tables) override { pages.free(tables); }
    std::optional<PhysAddr> iova_to_phys(Iova iova) const override { return table->iova_to_phys(iova); }
    IommuPages& pages;
    std::unique_ptr<IoPageTable> table;
    uint64_t in_use_at_flush = 0;
  };
  kho::TestMachine machine;
  TableMemory memory(machine);
  Tables domain(memory.pages);
  IovaDomain iovas({});
  auto queue = must(FlushQueue::create(domain, iovas, {.timeout_ms = 1'000'000}));
  const uint64_t pfn = must(iovas.alloc_fast(512, 1023, Flush::kYes));
  ASSERT_EQ(pfn, 512u);
  must(domain.map(Iova{MiB(2)}, PhysAddr{0x1000}, MiB(2), kRead));
  EXPECT_EQ(memory.pages.pages(), 4u);
  Gather gather{.queued = true};
  ASSERT_EQ(domain.unmap(Iova{MiB(2)}, MiB(2), gather), MiB(2));
  EXPECT_TRUE(gather.empty()) << "no range is tracked for a flush of everything";
  queue->add(pfn, 512, std::move(gather.freed));
  EXPECT_TRUE(gather.freed.empty());
  EXPECT_EQ(memory.pages.pages(), 4u);
  queue->drain();
  EXPECT_EQ(domain.in_use_at_flush, 4u);
  EXPECT_EQ(memory.pages.pages(), 3u);
}

// 47
TEST(FlushQueue, TheTimerFlushesWhatNobodyElseDoes) {
  Space space({.timeout_ms = 1});
  space.unmap(space.map());
  while (space.queue->stats().queued != 0) std::this_thread::yield();
  EXPECT_GE(space.queue->stats().flushes, 1u);
  EXPECT_EQ(space.iovas.stats().live, 0u);
  space.unmap(space.map());  // and again
  while (space.queue->stats().queued != 0) std::this_thread::yield();
  EXPECT_EQ(space.iovas.stats().live, 0u);
}

TEST(FlushQueue, OneLargeRingServesAllCpus) {
  Space space({.single = true, .timeout_ms = 1'000'000});
  std::vector<uint64_t> pages;
  for (unsigned i = 0; i < 2000; ++i) pages.push_back(space.map());
  std::thread other([&] {
    for (unsigned i = 0; i < 1000; ++i) space.unmap(pages[i]);
  });
  other.join();
  for (unsigned i = 1000; i < 2000; ++i) space.unmap(pages[i]);
  EXPECT_EQ(space.queue->stats().queued, 2000u);
  EXPECT_EQ(space.domain.counts().flushes, 0u);
  space.queue->drain();
  EXPECT_EQ(space.iovas.stats().live, 0u);
}

// A flush that began before the unmap does not free the address: the device may have used it since.
class SlowDomain final : public Domain {
 public:
  DomainType type() const override { return DomainType::kDmaFq; }
  uint64_t page_sizes() const override { return KiB(4); }
  Aperture aperture() const override { return {}; }
  Status map(Iova, PhysAddr, uint64_t, uint32_t) override { return {}; }
  void sync_map(Iova, uint64_t) override {}
  uint64_t unmap(Iova, uint64_t size, Gather&) override { return size; }
  void sync(Gather&) override {}
  void flush_all() override {
    if (during_flush) std::exchange(during_flush, nullptr)();
  }
  std::optional<PhysAddr> iova_to_phys(Iova) const override { return std::nullopt; }
  std::function<void()> during_flush;
};

TEST(FlushQueue, AFlushThatBeganBeforeTheUnmapDoesNotFreeItsAddress) {
  SlowDomain domain;
  IovaDomain iovas({});
  auto queue = must(FlushQueue::create(domain, iovas, {.timeout_ms = 1'000'000}));
  uint64_t before = must(iovas.alloc(64, kLow));
  uint64_t during = must(iovas.alloc(64, kLow));
  queue->add(before, 64);
  domain.during_flush = [&] { queue->add(during, 64); };
  queue->drain();
  EXPECT_FALSE(iovas.find(before));
  EXPECT_TRUE(iovas.find(during));
  queue->drain();
  EXPECT_FALSE(iovas.find(during));
}

// The flush that a full ring makes frees nothing then, since what is in the ring came after the other one began.
TEST(FlushQueue, AFullRingIsNotOverrunWhileAnotherFlushIsUnderWay) {
  SlowDomain domain;
  IovaDomain iovas({});
  auto queue = must(FlushQueue::create(domain, iovas, {.single = true, .timeout_ms = 1'000'000}));
  domain.during_flush = [&] {
    for (size_t i = 0; i < FlushQueue::kSingleEntries; ++i) queue->add(must(iovas.alloc(1, kLow)), 1);
    EXPECT_EQ(queue->stats().queued, 1u);
  };
  queue->drain();
  queue->drain();
  EXPECT_EQ(queue->stats().queued, 0u);
  EXPECT_EQ(iovas.stats().live, 0u);
}

TEST(FlushQueue, ItsEndFreesWhatIsQueued) {
  Space space;
  space.unmap(space.map());
  space.queue.reset();
  EXPECT_EQ(space.iovas.stats().live, 0u);
  EXPECT_EQ(space.domain.counts().flushes, 1u);
}

TEST(FlushQueue, MayFailToBeMade) {
  if (!has_points()) GTEST_SKIP();
  FailingStep step("iommu.flush_queue.create");
  MapDomain domain;
  IovaDomain iovas({});
  EXPECT_EQ(error_of(FlushQueue::create(domain, iovas, {})), ENOMEM);
}

// 87, 88: while threads map and unmap, a device never finds another mapping than the one that was unmapped.
TEST(FlushQueueThreads, AStaleTranslationNeverLeadsToANewOwner) {
  Space space({.timeout_ms = 1});
  std::atomic<bool> stop{false};
  std::vector<std::thread> threads;
  for (unsigned id = 1; id <= 8; ++id) {
    threads.emplace_back([&, id] {
      for (unsigned i = 0; i < 400; ++i) {
        uint64_t pfn = must(space.iovas.alloc_fast(1, kLow, Flush::kYes));
        PhysAddr own(id << 20 | (i & 0xff) << 12);
        must(space.domain.map(Iova(pfn << 12), own, KiB(4), kRead | kWrite));
        // A stale entry of the address's former owner would be seen here.
        EXPECT_EQ(space.domain.translate(Iova(pfn << 12), 4, kWrite).phys, own);
        space.unmap(pfn);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  space.queue->drain();
  EXPECT_EQ(space.iovas.stats().live, 0u);
  EXPECT_EQ(space.domain.counts().mapped_bytes, 0u);
}

}  // namespace
}  // namespace causeway::iommu
