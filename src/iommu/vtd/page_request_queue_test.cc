// What the driver makes of the entries of the queue, with a unit that does nothing but answer.
#include "iommu/vtd/page_request_queue.h"

#include <gtest/gtest.h>

#include "base/log.h"
#include "iommu/vtd/testing/fake_unit.h"
#include "iommu/vtd/testing/table_kernel.h"

namespace causeway::iommu::vtd {
namespace {

using namespace hw::vtd;
using testing::FakeUnit;

class PageRequestQueueTest : public ::testing::Test {
 protected:
  static constexpr Bdf kDevice{0, 1, 0};
  static constexpr Pasid kSpace = 9;

  PageRequestQueueTest() {
    queue->add(kDevice, kSpace, [this](const PageRequestGroup& group) {
      groups.push_back(group);
      return answer;
    });
    (void)regs->read64(kPageRequestTail);  // what was posted before has arrived
  }
  // One entry, as the unit writes it.
  void put(uint64_t address, unsigned group, bool last, uint64_t more = 0, Pasid pasid = kSpace) {
    const uint64_t tail = unit.load<uint64_t>(kPageRequestTail);
    const PhysAddr ring(unit.load<uint64_t>(kPageRequestAddress) & kAddressMask);
    auto* words = kernel.pages.virt(ring) + tail / 8;
    words[0] = PageRequestType::make(1) | RequestPasidPresent::make(1) | RequestSource::make(kDevice.value()) |
               RequestPasid::make(pasid) | more;
    words[1] = address | RequestRead::make(1) | RequestLast::make(last) | RequestGroup::make(group);
    unit.store<uint64_t>(kPageRequestTail, (tail + 32) % PageRequestQueue::kRingBytes);
  }
  // Code and group of each answer so far.
  std::vector<std::pair<uint64_t, uint64_t>> answers() {
    std::vector<std::pair<uint64_t, uint64_t>> all;
    for (const WideDescriptor& descriptor : unit.done())
      if (DescriptorType::get(descriptor.w[0]) == kPageGroupResponse)
        all.emplace_back(ResponseCode::get(descriptor.w[0]), ResponseGroup::get(descriptor.w[1]));
    return all;
  }
  using Answers = std::vector<std::pair<uint64_t, uint64_t>>;

  log::Capture quiet;
  kho::TestMachine machine;
  testing::TableKernel kernel{machine};
  FakeUnit unit{machine};
  hw::InterruptMailbox mailbox{};
  platform::Interrupts interrupts{&mailbox};
  std::unique_ptr<UnitRegisters> regs = must(UnitRegisters::create(unit.window(), "dmar0"));
  std::unique_ptr<Invalidator> invalidator = must(Invalidator::create(*regs, kernel.pages, {.wide = true}));
  Flush flush{*regs, *invalidator};
  std::unique_ptr<PageRequestQueue> queue = must(PageRequestQueue::create(*regs, kernel.pages, flush, interrupts));
  std::vector<PageRequestGroup> groups;
  PageResponse answer = PageResponse::kSuccess;
};

TEST_F(PageRequestQueueTest, AGroupIsAnsweredOnceAsAWhole) {
  put(0x1000, 4, false);
  put(0x5000, 7, true);
  put(0x2000, 4, true);
  EXPECT_EQ(queue->handle(), 3u);
  ASSERT_EQ(groups.size(), 2u);
  EXPECT_EQ(groups[0].pages.size(), 1u);
  ASSERT_EQ(groups[1].pages.size(), 2u);
  EXPECT_EQ(groups[1].pages[0].address, Iova(0x1000));
  EXPECT_EQ(groups[1].pages[1].address, Iova(0x2000));
  EXPECT_EQ(answers(), (Answers{{kResponseSuccess, 7}, {kResponseSuccess, 4}}));
  EXPECT_EQ(regs->read64(kPageRequestHead), regs->read64(kPageRequestTail));
  answer = PageResponse::kFailure;
  put(0x3000, 1, true);
  EXPECT_EQ(queue->handle(), 1u);
  EXPECT_EQ(answers().back().first, kResponseFailure);
}

// Spec 2.6.
TEST_F(PageRequestQueueTest, WhatCannotBeGivenIsRefusedWithoutAsking) {
  put(0x1000, 1, true, RequestExecute::kMask);
  put(0x1000, 2, true, RequestPrivileged::kMask);
  put(uint64_t{1} << 47, 3, true);
  put(0x1000, 4, true, 0, kSpace + 1);
  put(0x1000, 5, false, RequestExecute::kMask);
  EXPECT_EQ(queue->handle(), 5u);
  EXPECT_TRUE(groups.empty());
  EXPECT_EQ(answers(), (Answers{{kResponseInvalid, 1}, {kResponseInvalid, 2}, {kResponseInvalid, 3}, {kResponseInvalid, 4}}))
      << "and nothing for what is not the last of its group";
  EXPECT_EQ(queue->stats().refused, 4u);
  put(uint64_t{0xffff'8000} << 32, 6, true);
  EXPECT_EQ(queue->handle(), 1u);
  EXPECT_EQ(groups.size(), 1u) << "the upper half of the address space is one too";
}

TEST_F(PageRequestQueueTest, TheRingGoesRound) {
  const unsigned entries = PageRequestQueue::kRingBytes / 32;
  for (unsigned i = 0; i < entries + 5; ++i) {
    put(0x1000, i % 512, true);
    EXPECT_EQ(queue->handle(), 1u);
  }
  EXPECT_EQ(groups.size(), entries + 5);
}

// What was begun before is not finished by what comes after: its device begins anew.
TEST_F(PageRequestQueueTest, AnOverflowIsClearedOnceTheQueueIsEmpty) {
  put(0x1000, 1, false);
  unit.store<uint32_t>(kPageRequestStatus, PageRequestPending::kMask | PageRequestOverflow::kMask);
  EXPECT_EQ(queue->handle(), 1u);
  EXPECT_EQ(queue->stats().overflows, 1u);
  EXPECT_EQ(regs->read32(kPageRequestStatus), 0u);
  put(0x2000, 1, true);
  EXPECT_EQ(queue->handle(), 1u);
  ASSERT_EQ(groups.size(), 1u);
  EXPECT_EQ(groups[0].pages.size(), 1u);
}

TEST_F(PageRequestQueueTest, NothingIsLeftAfterADrain) {
  put(0x1000, 1, false);
  put(0x1000, 2, true);
  queue->remove(kDevice, kSpace);
  must(queue->drain(kDevice, kSpace, DomainId{3}, 0, true));
  EXPECT_TRUE(groups.empty());
  EXPECT_EQ(answers(), (Answers{{kResponseInvalid, 2}}));
  // The group that was begun is forgotten.
  queue->add(kDevice, kSpace, [this](const PageRequestGroup& group) {
    groups.push_back(group);
    return answer;
  });
  put(0x2000, 1, true);
  EXPECT_EQ(queue->handle(), 1u);
  ASSERT_EQ(groups.size(), 1u);
  EXPECT_EQ(groups[0].pages.size(), 1u);
}

}  // namespace
}  // namespace causeway::iommu::vtd
