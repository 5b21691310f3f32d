#include "machine/testing/vtd_fixture.h"

namespace causeway::machine::testing {
namespace {

using regs::TransferStatus;

constexpr uint64_t kQueueErrorBit = vt::FaultQueueError::kMask;

class Queue : public VtdTest {};

// Scenario 20: the first half.
TEST_F(Queue, AnUnknownCommandStopsTheQueueUntilItIsReplaced) {
  iommu.start();
  const PhysAddr bad = iommu.ring() + iommu.tail();
  iommu.post({vt::Descriptor{{0xf, 0}}});
  kernel.flush();
  EXPECT_FALSE(iommu.done());
  EXPECT_NE(iommu.read32(vt::kFaultStatus) & kQueueErrorBit, 0u);
  EXPECT_EQ(vt::QueueErrorReason::get(iommu.read64(vt::kQueueError)), vt::kQueueErrorType);
  EXPECT_EQ(iommu.read64(vt::kQueueHead), bad - iommu.ring());
  // As a driver does it: something harmless in its place.
  iommu.store(bad, iommu.iotlb_global().w[0]);
  iommu.write32(vt::kFaultStatus, static_cast<uint32_t>(kQueueErrorBit));
  kernel.flush();
  EXPECT_TRUE(iommu.done());
  EXPECT_EQ(iommu.read32(vt::kFaultStatus) & kQueueErrorBit, 0u);
  iommu.submit({iommu.context_global()});
}

TEST_F(Queue, AGranularityThatDoesNotExistIsAnError) {
  iommu.start();
  iommu.post({vt::Descriptor{{vt::kIotlb, 0}}});
  kernel.flush();
  EXPECT_FALSE(iommu.done());
  EXPECT_EQ(vt::QueueErrorReason::get(iommu.read64(vt::kQueueError)), vt::kQueueErrorField);
}

// Scenario 20: the second half. No device is there.
TEST_F(Queue, ADeviceThatDoesNotAnswerAbortsTheNextWait) {
  iommu.start();
  iommu.post({iommu.device_tlb(Bdf(0, 9, 0), 0)});
  kernel.flush();
  EXPECT_FALSE(iommu.done());
  EXPECT_NE(vt::FaultTimeoutError::get(iommu.read32(vt::kFaultStatus)), 0u);
  EXPECT_EQ(vt::QueueErrorTimeoutSource::get(iommu.read64(vt::kQueueError)), Bdf(0, 9, 0).value());
  EXPECT_EQ(iommu.read64(vt::kQueueHead), iommu.tail()) << "behind the wait";
  iommu.write32(vt::kFaultStatus, static_cast<uint32_t>(vt::FaultTimeoutError::kMask));
  iommu.submit({iommu.iotlb_global()});
}

// Scenario 21, the unit's side: the ring goes round as often as it is asked to.
TEST_F(Queue, TheRingWraps) {
  iommu.start();
  for (unsigned round = 0; round < 10; ++round) {
    std::vector<vt::Descriptor> many(100, iommu.iotlb_page(kDomainId, 0x1000));
    iommu.submit(many);
    EXPECT_EQ(iommu.read64(vt::kQueueHead), iommu.tail());
  }
  EXPECT_EQ(number("iommu0.invalidations"), 1000u);
}

// Scenario 21: all of the ring but one slot.
TEST_F(Queue, AFullRingIsProcessedWhole) {
  iommu.start();
  iommu.submit(std::vector<vt::Descriptor>(60, iommu.iotlb_global()));
  iommu.submit(std::vector<vt::Descriptor>(254, iommu.iotlb_global()));
  EXPECT_EQ(number("iommu0.invalidations"), 314u);
}

TEST_F(Queue, TheTailBeyondTheRingIsAnError) {
  iommu.start();
  iommu.write64(vt::kQueueTail, kPageSize);
  kernel.flush();
  EXPECT_NE(iommu.read32(vt::kFaultStatus) & kQueueErrorBit, 0u);
}

TEST_F(Queue, NothingHappensWhileItIsOff) {
  iommu.post({iommu.iotlb_global()});
  kernel.flush();
  EXPECT_FALSE(iommu.done());
  EXPECT_EQ(number("iommu0.invalidations"), 0u);
}

class ScalableQueue : public VtdTest {
 protected:
  ScalableQueue() : VtdTest(IommuSpec{.scalable = true}) {}
};

TEST_F(ScalableQueue, WideDescriptorsKeepTheirUpperHalfZero) {
  iommu.start();
  iommu.submit({iommu.pasid_cache_global(), iommu.iotlb_global()});
  const PhysAddr at = iommu.ring() + iommu.tail();
  iommu.put(iommu.iotlb_global());
  iommu.store(at + 24, 1);
  iommu.write64(vt::kQueueTail, iommu.tail());
  EXPECT_EQ(vt::QueueErrorReason::get(iommu.read64(vt::kQueueError)), vt::kQueueErrorReserved);
}

class DeviceTlb : public VtdTest {
 protected:
  DeviceTlb() : VtdTest(IommuSpec{}, nullptr, true) {}
  void set_ats(bool on) {
    kernel.write(kernel.config(kEngine) + hw::pci::kAtsOffset + hw::pci::kAtsControl, hw::pci::AtsEnable::make(on), 2);
    kernel.flush();
  }
  void start(uint64_t type) {
    top = iommu.page();
    map_engine(top);
    iommu.set_context(kEngine, top, kDomainId, type);
    iommu.start();
    set_ats(true);
    driver.reset();
    driver.set_up(regs::kWorkQueue, kRings, 6);
  }
};

TEST_F(DeviceTlb, IsUsedUntilItIsInvalidatedItself) {
  start(vt::kTranslateDeviceTlb);
  ASSERT_EQ(copy_to(kIovaTarget), TransferStatus::kOk);
  iommu.unmap(top, kIovaTarget);
  iommu.submit({iommu.iotlb_page(kDomainId, kIovaTarget)});
  EXPECT_EQ(copy_to(kIovaTarget, 0x31), TransferStatus::kOk) << "the device still has it";
  EXPECT_EQ(at(kTarget), 0x31u);
  EXPECT_EQ(reports(), 0u);
  iommu.submit({iommu.device_tlb(kEngine, kIovaTarget)});
  EXPECT_EQ(copy_to(kIovaTarget), TransferStatus::kRefusedDestination);
}

TEST_F(DeviceTlb, AReusedAddressThatTheDeviceStillHasIsReported) {
  start(vt::kTranslateDeviceTlb);
  ASSERT_EQ(copy_to(kIovaTarget), TransferStatus::kOk);
  iommu.unmap(top, kIovaTarget);
  iommu.submit({iommu.iotlb_page(kDomainId, kIovaTarget)});
  iommu.map(top, kIovaTarget, kOther);
  ASSERT_EQ(copy_to(kIovaTarget), TransferStatus::kOk);
  EXPECT_GT(reports("stale_translation"), 0u);
}

TEST_F(DeviceTlb, IsNotFilledWhereTheContextForbidsIt) {
  start(vt::kTranslateUntranslated);
  ASSERT_EQ(copy_to(kIovaTarget), TransferStatus::kOk);
  iommu.unmap(top, kIovaTarget);
  iommu.submit({iommu.iotlb_page(kDomainId, kIovaTarget)});
  EXPECT_EQ(copy_to(kIovaTarget), TransferStatus::kRefusedDestination);
}

TEST_F(DeviceTlb, ADeviceWithAtsOffDoesNotAnswer) {
  start(vt::kTranslateDeviceTlb);
  set_ats(false);
  iommu.post({iommu.device_tlb(kEngine, kIovaTarget)});
  kernel.flush();
  EXPECT_FALSE(iommu.done());
  EXPECT_NE(vt::FaultTimeoutError::get(iommu.read32(vt::kFaultStatus)), 0u);
}

}  // namespace
}  // namespace causeway::machine::testing
