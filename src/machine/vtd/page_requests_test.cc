#include <gtest/gtest.h>

#include "machine/testing/local_unit.h"

namespace causeway::machine::testing {
namespace {

namespace vt = hw::vtd;

constexpr Bdf kDevice{0, 1, 0};
constexpr unsigned kRecords = 16;
constexpr uint64_t kIova = 0x7000'0000;
constexpr uint32_t kPasid = 3;
constexpr uint8_t kVector = 50;

// A device that may ask for pages, a queue of them of one page, and an invalidation queue.
class PageRequestUnit : public ::testing::Test {
 protected:
  PageRequestUnit() {
    PhysAddr context = local.page();
    local.store(root, context.value() | 1);
    context_entry = context + 32 * (kDevice.value() & 0x7f);
    let_ask(true);
    local.start(root, true);
    local.write(vt::kPageRequestAddress, 8, ring.value());
    local.write(vt::kPageRequestData, 4, kVector);
    local.write(vt::kPageRequestEventAddress, 4, hw::kMsiBase.value());
    local.write(vt::kPageRequestControl, 4, 0);
    local.write(vt::kQueueAddress, 8, queue.value() | vt::QueueWide::kMask);
    local.write(vt::kGlobalCommand, 4, vt::GlobalTranslation::kMask | vt::GlobalQueue::kMask);
    port.set_bus_master(true);
  }
  void let_ask(bool on) {
    local.store(context_entry, directory.value() | vt::ScalablePasid::kMask | vt::ScalableDeviceTlb::kMask |
                                   vt::ScalablePageRequest::make(on) | 1);
  }
  void submit(uint64_t first, uint64_t second) {
    local.store(queue + tail, first);
    local.store(queue + tail + 8, second);
    tail += sizeof(vt::WideDescriptor);
    local.write(vt::kQueueTail, 8, tail);
  }
  void respond(uint64_t group, vt::Response code, uint32_t pasid = kPasid) {
    submit(vt::kPageGroupResponse | vt::ResponsePasidPresent::make(1) | vt::ResponseCode::make(code) |
               vt::ResponseSource::make(kDevice.value()) | vt::DescriptorPasid::make(pasid),
           vt::ResponseGroup::make(group));
  }
  PageAnswer ask(uint64_t iova = kIova) {
    port.set_pasid(kPasid);
    port.request_page(DmaAddr{iova}, Access::kWrite);
    return port.page_answer();
  }
  uint64_t status() { return RegisterPage(local.bus.iommu(0)).get32(vt::kPageRequestStatus); }
  uint64_t request_tail() { return RegisterPage(local.bus.iommu(0)).get64(vt::kPageRequestTail); }
  uint64_t group(unsigned entry) { return vt::RequestGroup::get(local.load(ring + entry * sizeof(vt::PageRequest) + 8)); }
  unsigned interrupts() { return local.bus.interrupt_mailbox().raised[kVector].load(); }

  LocalUnit local{IommuSpec{.scalable = true, .fault_records = kRecords, .page_requests = true}};
  PhysAddr root = local.page(), directory = local.page(), ring = local.page(), queue = local.page();
  PhysAddr context_entry;
  uint64_t tail = 0;
  DmaPort port{local.regions, local.remapping, kDevice};
};

TEST_F(PageRequestUnit, ARequestIsQueuedAndAnswered) {
  EXPECT_EQ(ask(), PageAnswer::kPending);
  const uint64_t first = local.load(ring), second = local.load(ring + 8);
  EXPECT_EQ(vt::RequestSource::get(first), kDevice.value());
  EXPECT_EQ(vt::RequestPasidPresent::get(first), 1u);
  EXPECT_EQ(vt::RequestPasid::get(first), kPasid);
  EXPECT_EQ(second & vt::kAddressMask, kIova);
  EXPECT_EQ(vt::RequestWrite::get(second), 1u);
  EXPECT_EQ(vt::RequestLast::get(second), 1u);
  EXPECT_EQ(request_tail(), sizeof(vt::PageRequest));
  EXPECT_EQ(status(), vt::PageRequestPending::kMask);
  EXPECT_EQ(interrupts(), 1u);
  respond(group(0), vt::kResponseSuccess);
  EXPECT_EQ(port.page_answer(), PageAnswer::kReady);
  EXPECT_EQ(ask(), PageAnswer::kPending);
  EXPECT_EQ(interrupts(), 1u) << "not while the one before is not cleared";
  respond(group(1), vt::kResponseInvalid);
  EXPECT_EQ(port.page_answer(), PageAnswer::kRefused);
  local.write(vt::kPageRequestStatus, 4, vt::PageRequestPending::kMask);
  EXPECT_EQ(status(), 0u);
  EXPECT_EQ(ask(), PageAnswer::kPending);
  EXPECT_EQ(interrupts(), 2u);
}

TEST_F(PageRequestUnit, AnAnswerToSomebodyElseIsNone) {
  EXPECT_EQ(ask(), PageAnswer::kPending);
  respond(group(0) + 1, vt::kResponseSuccess);
  respond(group(0), vt::kResponseSuccess, kPasid + 1);
  EXPECT_EQ(port.page_answer(), PageAnswer::kPending);
  respond(group(0), vt::kResponseSuccess);
  EXPECT_EQ(port.page_answer(), PageAnswer::kReady);
}

TEST_F(PageRequestUnit, WithoutTheRightItIsAFault) {
  let_ask(false);
  EXPECT_EQ(ask(), PageAnswer::kRefused);
  EXPECT_EQ(local.last_reason(kRecords), vt::kPageRequestDisabled);
  EXPECT_EQ(request_tail(), 0u);
}

TEST_F(PageRequestUnit, WhatDoesNotFitIsTriedAgain) {
  const unsigned room = kPageSize / sizeof(vt::PageRequest) - 1;
  for (unsigned i = 0; i < room; ++i) ASSERT_EQ(ask(), PageAnswer::kPending) << i;
  EXPECT_EQ(status(), vt::PageRequestPending::kMask);
  EXPECT_EQ(ask(), PageAnswer::kReady) << "the device begins anew";
  EXPECT_EQ(status(), vt::PageRequestPending::kMask | vt::PageRequestOverflow::kMask);
  // There is room again, and software does not know yet that something was lost.
  local.write(vt::kPageRequestHead, 8, request_tail());
  EXPECT_EQ(ask(), PageAnswer::kReady);
  local.write(vt::kPageRequestStatus, 4, vt::PageRequestPending::kMask | vt::PageRequestOverflow::kMask);
  EXPECT_EQ(ask(), PageAnswer::kPending);
}

// Scenario 80: who waits is told when nobody will answer any more.
TEST_F(PageRequestUnit, ADeviceThatMayNotAskAnyMoreDoesNotWait) {
  EXPECT_EQ(ask(), PageAnswer::kPending);
  let_ask(false);
  EXPECT_EQ(port.page_answer(), PageAnswer::kPending) << "the unit has not looked";
  submit(vt::kContextCache | vt::DescriptorGranularity::make(vt::kGlobal), 0);
  EXPECT_EQ(port.page_answer(), PageAnswer::kRefused);
}
TEST_F(PageRequestUnit, AnInvalidationOfOthersLeavesItWaiting) {
  EXPECT_EQ(ask(), PageAnswer::kPending);
  submit(vt::kContextCache | vt::DescriptorGranularity::make(vt::kGlobal), 0);
  EXPECT_EQ(port.page_answer(), PageAnswer::kPending);
}

}  // namespace
}  // namespace causeway::machine::testing
