#include "iommu/vtd/invalidation_queue.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <thread>

#include "base/log.h"
#include "base/testing/results.h"
#include "iommu/vtd/descriptors.h"
#include "iommu/vtd/flush.h"
#include "iommu/vtd/register_invalidation.h"
#include "iommu/vtd/testing/fake_unit.h"

namespace causeway::iommu::vtd {
namespace {

using namespace hw::vtd;
using testing::FakeUnit;

constexpr Bdf kMine(0, 4, 0);
constexpr Bdf kOther(0, 5, 0);

class QueueTest : public ::testing::TestWithParam<bool> {
 protected:
  void start(InvalidatorOptions options = {}) {
    options.wide = GetParam();
    queue = must(InvalidationQueue::create(*regs, pages, options));
  }
  static QueueDescriptor tagged(unsigned number) {
    return iotlb_domain(DomainId{static_cast<uint16_t>(number)}, false, false);
  }
  static unsigned tag_of(const QueueDescriptor& descriptor) {
    return static_cast<unsigned>(DescriptorDomain::get(descriptor.w[0]));
  }
  Status submit(std::initializer_list<QueueDescriptor> descriptors) {
    return queue->submit({descriptors.begin(), descriptors.size()});
  }
  std::vector<unsigned> tags_done() {
    std::vector<unsigned> tags;
    for (const auto& descriptor : unit.done())
      if (DescriptorType::get(descriptor.w[0]) == kIotlb) tags.push_back(tag_of(descriptor));
    return tags;
  }

  log::Capture quiet;
  kho::TestMachine machine;
  kho::Generation kernel{machine};
  IommuPages pages{*kernel.allocator, nullptr};
  FakeUnit unit{machine};
  std::unique_ptr<UnitRegisters> regs = must(UnitRegisters::create(unit.window(), "dmar0"));
  std::unique_ptr<InvalidationQueue> queue;
};
INSTANTIATE_TEST_SUITE_P(Width, QueueTest, ::testing::Bool(),
                         [](const auto& width) { return width.param ? "Wide" : "Narrow"; });

TEST_P(QueueTest, WhatIsSubmittedIsDoneInOrder) {
  start();
  must(submit({tagged(1), tagged(2), tagged(3)}));
  must(submit({tagged(4)}));
  must(submit({}));
  EXPECT_EQ(tags_done(), (std::vector<unsigned>{1, 2, 3, 4}));
  EXPECT_EQ(unit.fetched(), 6u) << "one wait for each";
  EXPECT_EQ(queue->stats().submissions, 2u);
  EXPECT_EQ(queue->stats().descriptors, 4u);
  must(queue->disable());
  EXPECT_EQ(pages.pages(), 0u);
  EXPECT_FALSE(regs->queue_enabled());
  EXPECT_EQ(error_of(submit({tagged(5)})), ENODEV);
}

TEST_P(QueueTest, MoreThanTheRingHoldsIsRefused) {
  start();
  std::vector<QueueDescriptor> many(Invalidator::kMaxDescriptors + 1, tagged(1));
  EXPECT_EQ(error_of(queue->submit(many)), E2BIG);
  many.pop_back();
  must(queue->submit(many));
  EXPECT_EQ(unit.done().size(), Invalidator::kMaxDescriptors);
}

// Scenario 21.
TEST_P(QueueTest, With255OutstandingTheNextOneWaitsAndNothingIsOverwritten) {
  start();
  must(submit({tagged(9), tagged(9), tagged(9)}));  // so that the ring wraps inside what comes
  unit.hold(true);
  std::vector<QueueDescriptor> first;
  for (unsigned i = 0; i < Invalidator::kMaxDescriptors; ++i) first.push_back(tagged(100 + i));
  std::thread fills([&] { must(queue->submit(first)); });
  while (unit.load<uint64_t>(kQueueTail) >> (GetParam() ? 5 : 4) != 3) std::this_thread::yield();  // 4 + 255 - 256
  std::atomic<bool> second_done{false};
  std::thread waits([&] {
    must(submit({tagged(1), tagged(2)}));
    second_done = true;
  });
  // It cannot get in, however long it tries.
  for (int i = 0; i < 2000; ++i) std::this_thread::yield();
  EXPECT_FALSE(second_done);
  EXPECT_EQ(unit.load<uint64_t>(kQueueTail) >> (GetParam() ? 5 : 4), 3u);
  EXPECT_EQ(queue->stats().submissions, 2u);
  unit.hold(false);
  fills.join();
  waits.join();
  std::vector<unsigned> want{9, 9, 9};
  for (unsigned i = 0; i < Invalidator::kMaxDescriptors; ++i) want.push_back(100 + i);
  want.push_back(1);
  want.push_back(2);
  EXPECT_EQ(tags_done(), want);
}

TEST_P(QueueTest, ManyThreadsWrapTheRingManyTimes) {
  start();
  constexpr unsigned kThreads = 6, kEach = 300;
  std::vector<std::thread> threads;
  for (unsigned t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      for (unsigned i = 0; i < kEach; ++i) must(submit({tagged(t * kEach + i), tagged(60000)}));
    });
  }
  for (auto& thread : threads) thread.join();
  std::vector<unsigned> tags = tags_done();
  ASSERT_EQ(tags.size(), 2 * kThreads * kEach);
  std::vector<bool> seen(kThreads * kEach);
  for (size_t i = 0; i < tags.size(); i += 2) {
    ASSERT_LT(tags[i], seen.size());
    EXPECT_FALSE(seen[tags[i]]);
    seen[tags[i]] = true;
    EXPECT_EQ(tags[i + 1], 60000u) << "submissions are not interleaved";
  }
}

// Scenario 20: the bad one's submitter is told, and the ring goes on.
TEST_P(QueueTest, ABadDescriptorIsRefusedAndTheRestIsDone) {
  start();
  for (unsigned round = 0; round < 3; ++round) {
    EXPECT_EQ(error_of(submit({tagged(1), {{0xe}}, tagged(2)})), EINVAL);
    must(submit({tagged(3)}));
  }
  EXPECT_EQ(tags_done(), (std::vector<unsigned>{1, 2, 3, 1, 2, 3, 1, 2, 3}));
  EXPECT_EQ(queue->stats().errors, 3u);
  EXPECT_TRUE(quiet.contains("the type is unknown"));
}

TEST_P(QueueTest, OthersDoNotNoticeABadDescriptor) {
  start();
  std::vector<std::thread> threads;
  std::atomic<unsigned> refused{0};
  for (unsigned t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (unsigned i = 0; i < 200; ++i) {
        bool bad = t == 0 && i % 5 == 0;
        int error = error_of(submit({tagged(1), bad ? QueueDescriptor{{0xf}} : tagged(2)}));
        EXPECT_EQ(error, bad ? EINVAL : 0);
        if (error != 0) ++refused;
      }
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(refused, 40u);
  EXPECT_EQ(queue->stats().errors, 40u);
}

// Scenario 20: a device that is gone is given up, everything else that was under way is done.
TEST_P(QueueTest, ADeviceThatIsGoneTimesOut) {
  start({.is_present = [](Bdf bdf) { return bdf != kMine; }});
  unit.silent_device = kMine.value();
  EXPECT_EQ(error_of(submit({tagged(1), device_tlb(kMine, 0, kEverything), device_tlb(kOther, 0, kEverything)})),
            ETIMEDOUT);
  EXPECT_EQ(queue->stats().timeouts, 1u);
  EXPECT_EQ(queue->stats().aborted, 1u);
  unsigned others = 0;
  for (const auto& descriptor : unit.done()) {
    if (DescriptorType::get(descriptor.w[0]) == kDeviceTlb) ++others;
  }
  EXPECT_GE(others, 1u);
  must(submit({tagged(2)}));
  EXPECT_EQ(tags_done().back(), 2u);
}

TEST_P(QueueTest, OthersAreTriedAgainWhenADeviceIsSilent) {
  start({.is_present = [](Bdf bdf) { return bdf != kMine; }});
  unit.silent_device = kMine.value();
  unit.hold(true);
  std::vector<std::thread> threads;
  std::atomic<unsigned> timed_out{0};
  for (unsigned t = 0; t < 8; ++t) {
    threads.emplace_back([&, t] {
      bool mine = t % 4 == 1;
      int error = error_of(submit({tagged(t), device_tlb(mine ? kMine : kOther, 0, kEverything)}));
      EXPECT_EQ(error, mine ? ETIMEDOUT : 0) << t;
      if (error != 0) ++timed_out;
    });
  }
  while (queue->stats().submissions < 8) std::this_thread::yield();
  unit.hold(false);
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(timed_out, 2u);
  std::vector<unsigned> tags = tags_done();
  for (unsigned t = 0; t < 8; ++t) EXPECT_GE(std::count(tags.begin(), tags.end(), t), 1);
}

TEST_P(QueueTest, ADeviceThatIsThereIsAskedAgain) {
  start();
  unit.silent_device = kMine.value();
  unit.on_write = [this](uint32_t offset, uint64_t value) {
    if (offset == kFaultStatus && FaultTimeoutError::get(value) != 0) unit.silent_device = 0;
  };
  must(submit({device_tlb(kMine, 0, kEverything)}));
  EXPECT_EQ(queue->stats().aborted, 1u);
  EXPECT_EQ(queue->stats().timeouts, 0u);
}

TEST_P(QueueTest, ADeviceThatNeverAnswersIsGivenUp) {
  start();
  unit.silent_device = kMine.value();
  EXPECT_EQ(error_of(submit({device_tlb(kMine, 0, kEverything)})), ETIMEDOUT);
  EXPECT_GT(queue->stats().aborted, 1u);
}

TEST_P(QueueTest, AUnitThatStandsStillIsNotWaitedForForEver) {
  start();
  regs->set_time_limit(std::chrono::milliseconds(30));
  unit.hold(true);
  EXPECT_EQ(error_of(submit({tagged(1)})), ETIMEDOUT);
  EXPECT_EQ(error_of(queue->disable()), ETIMEDOUT);
  EXPECT_EQ(pages.pages(), GetParam() ? 3u : 2u) << "memory that the unit may come to yet is not freed";
}

TEST_P(QueueTest, AnOldKernelsQueueIsStoppedFirst) {
  start();
  must(submit({tagged(1)}));
  PhysAddr old(unit.load<uint64_t>(kQueueAddress) & kAddressMask);
  auto again = must(UnitRegisters::create(unit.window(), "dmar0"));
  auto next = must(InvalidationQueue::create(*again, pages, {.wide = GetParam()}));
  EXPECT_NE(PhysAddr(unit.load<uint64_t>(kQueueAddress) & kAddressMask), old);
  QueueDescriptor descriptor = tagged(2);
  must(next->submit({&descriptor, 1}));
  EXPECT_EQ(tags_done(), (std::vector<unsigned>{1, 2}));
}

TEST_P(QueueTest, PagesAreSelectedWhereTheUnitCan) {
  start();
  Flush flush(*regs, *queue);
  must(flush.flush_iotlb_pages(DomainId{5}, Iova{0x1000}, KiB(8), Hint::kLeafOnly));  // pages 1 and 2: a block of 4
  must(flush.flush_iotlb_pages(DomainId{5}, Iova{0}, GiB(1), Hint::kTablesToo));      // 2^18, just possible
  must(flush.flush_iotlb_pages(DomainId{5}, Iova{0}, GiB(2), Hint::kTablesToo));
  must(flush.flush_pasid_iotlb_pages(DomainId{5}, 3, Iova{0}, GiB(2), Hint::kTablesToo));
  auto done = unit.done();
  ASSERT_EQ(done.size(), 4u);
  EXPECT_EQ(DescriptorGranularity::get(done[0].w[0]), kPage);
  EXPECT_EQ(done[0].w[1], 0x40u | 2);
  EXPECT_EQ(DescriptorGranularity::get(done[1].w[0]), kPage);
  EXPECT_EQ(done[1].w[1], 18u);
  EXPECT_EQ(DescriptorGranularity::get(done[2].w[0]), kDomain);
  EXPECT_EQ(DescriptorGranularity::get(done[3].w[0]), kPasidAll);
}

TEST_P(QueueTest, ABatchIsOneSubmissionForSixteen) {
  start();
  Flush flush(*regs, *queue);
  FlushBatch batch(flush);
  EXPECT_TRUE(batch.empty());
  for (unsigned i = 0; i < 35; ++i) batch.iotlb_domain(DomainId{static_cast<uint16_t>(i)});
  EXPECT_FALSE(batch.empty());
  must(batch.submit());
  must(batch.submit());
  EXPECT_EQ(queue->stats().submissions, 3u);
  EXPECT_EQ(tags_done().size(), 35u);
  // The first failure is what submit() tells, and the rest is done.
  batch.add({{0xe}});
  for (unsigned i = 0; i < 20; ++i) batch.iotlb_domain(DomainId{77});
  EXPECT_EQ(error_of(batch.submit()), EINVAL);
  EXPECT_EQ(tags_done().size(), 55u);
  must(batch.submit());
}

TEST_P(QueueTest, AfterANewRootEverythingIsFlushedInOrder) {
  start();
  Flush flush(*regs, *queue);
  must(flush.flush_all(GetParam() ? TableMode::kScalable : TableMode::kLegacy));
  std::vector<uint64_t> types;
  for (const auto& descriptor : unit.done()) types.push_back(DescriptorType::get(descriptor.w[0]));
  EXPECT_EQ(types, GetParam() ? (std::vector<uint64_t>{kContextCache, kPasidCache, kIotlb})
                              : (std::vector<uint64_t>{kContextCache, kIotlb}));
}

TEST(RegisterInvalidationTest, IsUsedWhenThereIsNoQueue) {
  kho::TestMachine machine;
  kho::Generation kernel(machine);
  IommuPages pages(*kernel.allocator, nullptr);
  FakeUnit::Config config;
  config.ecap = EcapQueuedInvalidation::set(config.ecap, 0);
  FakeUnit unit(machine, config);
  std::vector<std::pair<uint32_t, uint64_t>> writes;
  unit.on_write = [&](uint32_t offset, uint64_t value) { writes.emplace_back(offset, value); };
  auto regs = must(UnitRegisters::create(unit.window(), "dmar0"));
  auto invalidator = must(Invalidator::create(*regs, pages, {}));
  EXPECT_EQ(pages.pages(), 0u);
  Flush flush(*regs, *invalidator);
  must(flush.flush_context_device(DomainId{7}, Bdf(0, 4, 0)));
  must(flush.flush_iotlb_domain(DomainId{7}));
  must(flush.flush_iotlb_pages(DomainId{7}, Iova{0x4000}, KiB(8), Hint::kLeafOnly));
  ASSERT_EQ(writes.size(), 4u);
  EXPECT_EQ(writes[0].first, kContextCommand);
  EXPECT_EQ(writes[0].second, ContextCommandStart::make(1) | ContextCommandGranularity::make(kDevice) |
                                  ContextCommandSource::make(0x20) | ContextCommandDomain::make(7));
  EXPECT_EQ(writes[1].first, kIotlbOffset + 8);
  EXPECT_EQ(writes[1].second,
            IotlbStart::make(1) | IotlbGranularity::make(kDomain) | IotlbDomain::make(7));
  EXPECT_EQ(writes[2].first, kIotlbOffset);
  EXPECT_EQ(writes[2].second, 0x4000u | 0x40 | 1);
  EXPECT_EQ(IotlbGranularity::get(writes[3].second), kPage);
  EXPECT_EQ(error_of(flush.flush_device_tlb(Bdf(0, 4, 0), 0)), EOPNOTSUPP);
  EXPECT_EQ(error_of(flush.flush_pasid_cache_global()), EOPNOTSUPP);
}

// Surprise 15, better: the fall-back ends with an error instead of the kernel.
TEST(RegisterInvalidationTest, ACommandThatIsNeverDoneEnds) {
  log::Capture quiet;
  kho::TestMachine machine;
  FakeUnit unit(machine);
  auto regs = must(UnitRegisters::create(unit.window(), "dmar0"));
  regs->set_time_limit(std::chrono::milliseconds(20));
  RegisterInvalidation registers(*regs);
  unit.store<uint64_t>(kContextCommand, ContextCommandStart::make(1));
  QueueDescriptor descriptor = context_global();
  EXPECT_EQ(error_of(registers.submit({&descriptor, 1})), ETIMEDOUT);
}

}  // namespace
}  // namespace causeway::iommu::vtd
