#include "machine/testing/vtd_fixture.h"

namespace causeway::machine::testing {
namespace {

using regs::TransferStatus;

constexpr uint64_t kPattern = 0x1122'3344'5566'7788;

class LegacyUnit : public VtdTest {};

// Scenario 15.
TEST_F(LegacyUnit, PassesAddressesThroughWhileOff) {
  driver.reset();
  driver.set_up(regs::kWorkQueue, kRings, 6);
  std::memcpy(kernel.ram(PhysAddr(kSource)), &kPattern, 8);
  EXPECT_EQ(driver.run(regs::kWorkQueue, copy(kSource, kTarget, 64)).status, TransferStatus::kOk);
  EXPECT_EQ(at(kTarget), kPattern);
  EXPECT_EQ(number("iommu0.translations"), 0u);
}

// Scenario 15.
TEST_F(LegacyUnit, AnAbsentRootEntryIsAFaultWithOneRecord) {
  iommu.write32(vt::kFaultEventData, 40);
  iommu.write32(vt::kFaultEventAddress, static_cast<uint32_t>(hw::kMsiBase.value()));
  iommu.write32(vt::kFaultEventControl, 0);
  iommu.start();
  driver.reset();
  driver.set_up(regs::kWorkQueue, kRings, 6);
  driver.post(regs::kWorkQueue, copy(kIovaSource, kIovaTarget, 64));
  ASSERT_TRUE(eventually([&] { return number("iommu0.faults") >= 1; }));
  kernel.flush();
  EXPECT_NE(vt::FaultPending::get(iommu.read32(vt::kFaultStatus)), 0u);
  uint64_t record = iommu.record(0);
  EXPECT_EQ(vt::RecordFault::get(record), 1u);
  EXPECT_EQ(vt::RecordReason::get(record), vt::kRootNotPresent);
  EXPECT_EQ(vt::RecordSource::get(record), kEngine.value());
  EXPECT_EQ(vt::RecordRead::get(record), 1u);
  EXPECT_EQ(iommu.record_address(0), kRings.value());
  EXPECT_EQ(kernel.interrupts().raised[40].load(), 1u);
  iommu.clear_record(0);
  EXPECT_EQ(vt::RecordFault::get(iommu.record(0)), 0u);
}

TEST_F(LegacyUnit, TranslatesWhatTheTablesSay) {
  start_legacy();
  EXPECT_EQ(copy_to(kIovaTarget), TransferStatus::kOk);
  EXPECT_EQ(at(kTarget), kPattern);
  EXPECT_EQ(copy_to(kIovaTarget + kPageSize), TransferStatus::kRefusedDestination);
  EXPECT_EQ(vt::RecordReason::get(iommu.record(0)), vt::kNoWrite);
  EXPECT_EQ(iommu.record_address(0), kIovaTarget + kPageSize);
  EXPECT_EQ(reports(), 0u);
  EXPECT_GT(number("iommu0.iotlb_hits"), 0u);
}

TEST_F(LegacyUnit, PermissionIsThatOfTheWholePath) {
  start_legacy();
  // The table above allows reading alone.
  const uint64_t iova = 0xc000'0000;
  iommu.map(top, iova, kTarget);
  PhysAddr parent = iommu.slot(top, iova, 1);
  iommu.store(parent, (iommu.load(parent) & vt::kEntryAddress) | vt::SecondRead::kMask);
  EXPECT_EQ(copy_to(iova), TransferStatus::kRefusedDestination);
  EXPECT_EQ(vt::RecordReason::get(iommu.record(0)), vt::kNoWrite);
  EXPECT_EQ(driver.run(regs::kWorkQueue, copy(iova, kIovaTarget, 64)).status, TransferStatus::kOk);
}

TEST_F(LegacyUnit, LargePagesAndTheEndOfTheAddressSpace) {
  start_legacy();
  iommu.store(iommu.slot(top, GiB(8), 1), kOther | vt::SecondLarge::kMask | 3);
  EXPECT_EQ(copy_to(GiB(8)), TransferStatus::kOk);
  EXPECT_EQ(at(kOther), kPattern);
  EXPECT_EQ(copy_to(uint64_t{1} << 48), TransferStatus::kRefusedDestination);
  EXPECT_EQ(vt::RecordReason::get(iommu.record(0)), vt::kBeyondWidth);
}

TEST_F(LegacyUnit, PassThroughIsTheIdentity) {
  iommu.set_context(kEngine, PhysAddr{0}, kDomainId, vt::kPassThrough);
  iommu.start();
  driver.reset();
  driver.set_up(regs::kWorkQueue, kRings, 6);
  EXPECT_EQ(driver.run(regs::kWorkQueue, fill(kPattern, kTarget, 64)).status, TransferStatus::kOk);
  EXPECT_EQ(at(kTarget), kPattern);
}

// Scenario 16.
TEST_F(LegacyUnit, FaultsAreNotRecordedWhereTheContextSaysSo) {
  start_legacy();
  PhysAddr entry = iommu.context_entry(kEngine);
  iommu.store(entry, iommu.load(entry) | vt::ContextFaultDisable::kMask);
  iommu.submit({iommu.context_device(kEngine, kDomainId), iommu.iotlb_domain(kDomainId)});
  EXPECT_EQ(copy_to(kIovaTarget + kPageSize), TransferStatus::kRefusedDestination);
  EXPECT_EQ(number("iommu0.faults"), 0u);
  EXPECT_EQ(vt::FaultPending::get(iommu.read32(vt::kFaultStatus)), 0u);
}

// Scenario 16.
TEST_F(LegacyUnit, FaultsBeyondTheRecordsOverflow) {
  start_legacy();
  const unsigned records = IommuSpec{}.fault_records;
  for (unsigned i = 0; i < records; ++i) copy_to(kIovaTarget + kPageSize);
  EXPECT_EQ(vt::FaultOverflow::get(iommu.read32(vt::kFaultStatus)), 0u);
  copy_to(kIovaTarget + 2 * kPageSize);
  EXPECT_NE(vt::FaultOverflow::get(iommu.read32(vt::kFaultStatus)), 0u);
  for (unsigned i = 0; i < records; ++i) {
    EXPECT_EQ(iommu.record_address(i), kIovaTarget + kPageSize) << i;
    EXPECT_NE(vt::FaultPending::get(iommu.read32(vt::kFaultStatus)), 0u);
    EXPECT_EQ(vt::FaultRecordIndex::get(iommu.read32(vt::kFaultStatus)), i);
    iommu.clear_record(i);
  }
  iommu.write32(vt::kFaultStatus, static_cast<uint32_t>(vt::FaultOverflow::kMask));
  EXPECT_EQ(iommu.read32(vt::kFaultStatus) & 0xff, 0u);
}

// Scenario 17.
TEST_F(LegacyUnit, AContextChangedWithoutInvalidationStaysInUse) {
  start_legacy();
  ASSERT_EQ(copy_to(kIovaTarget), TransferStatus::kOk);
  PhysAddr other = iommu.page();
  map_engine(other);
  iommu.map(other, kIovaTarget, kOther);
  iommu.set_context(kEngine, other, 9);
  EXPECT_EQ(copy_to(kIovaTarget, 0x55), TransferStatus::kOk);
  EXPECT_EQ(at(kTarget), 0x55u);
  EXPECT_GT(reports("stale_translation"), 0u);
  iommu.submit({iommu.context_device(kEngine, kDomainId), iommu.iotlb_domain(kDomainId)});
  EXPECT_EQ(copy_to(kIovaTarget, 0x66), TransferStatus::kOk);
  EXPECT_EQ(at(kOther), 0x66u);
}

// The device-selective command names the domain that the entry had.
TEST_F(LegacyUnit, AContextInvalidationOfAnotherDomainChangesNothing) {
  start_legacy();
  ASSERT_EQ(copy_to(kIovaTarget), TransferStatus::kOk);
  iommu.store(iommu.context_entry(kEngine), 0);
  iommu.submit({iommu.context_device(kEngine, kDomainId + 1)});
  EXPECT_EQ(copy_to(kIovaTarget), TransferStatus::kOk);
  iommu.submit({iommu.context_device(kEngine, kDomainId)});
  driver.post(regs::kWorkQueue, copy(kIovaSource, kIovaTarget, 64));
  EXPECT_TRUE(eventually([&] { return number("iommu0.faults") > 0; }));
  EXPECT_EQ(vt::RecordReason::get(iommu.record(0)), vt::kContextNotPresent);
}

// Scenario 19.
TEST_F(LegacyUnit, InvalidatingOnePageDropsTheLargePageAroundIt) {
  start_legacy();
  PhysAddr entry = iommu.slot(top, GiB(8), 1);
  iommu.store(entry, MiB(4) | vt::SecondLarge::kMask | 3);
  ASSERT_EQ(copy_to(GiB(8)), TransferStatus::kOk);
  iommu.store(entry, 0);
  iommu.submit({iommu.iotlb_page(kDomainId, GiB(8) + MiB(1))});
  EXPECT_EQ(copy_to(GiB(8)), TransferStatus::kRefusedDestination);
}

TEST_F(LegacyUnit, InvalidationThroughRegisters) {
  start_legacy();
  ASSERT_EQ(copy_to(kIovaTarget), TransferStatus::kOk);
  iommu.unmap(top, kIovaTarget);
  EXPECT_EQ(copy_to(kIovaTarget), TransferStatus::kOk);
  iommu.write64(vt::kIotlbOffset, kIovaTarget);
  iommu.write64(vt::kIotlbOffset + 8, vt::IotlbStart::make(1) | vt::IotlbGranularity::make(vt::kPage) |
                                          vt::IotlbDomain::make(kDomainId) | vt::IotlbDrainWrites::make(1));
  EXPECT_EQ(vt::IotlbStart::get(iommu.read64(vt::kIotlbOffset + 8)), 0u);
  EXPECT_EQ(vt::IotlbActual::get(iommu.read64(vt::kIotlbOffset + 8)), vt::kPage);
  EXPECT_EQ(copy_to(kIovaTarget), TransferStatus::kRefusedDestination);
  iommu.store(iommu.context_entry(kEngine), 0);
  iommu.write64(vt::kContextCommand,
                vt::ContextCommandStart::make(1) | vt::ContextCommandGranularity::make(vt::kGlobal));
  EXPECT_EQ(vt::ContextCommandStart::get(iommu.read64(vt::kContextCommand)), 0u);
  driver.post(regs::kWorkQueue, copy(kIovaSource, kIovaTarget, 64));
  EXPECT_TRUE(eventually([&] { return number("iommu0.faults") > 1; }));
}

class CachingMode : public VtdTest {
 protected:
  CachingMode() : VtdTest(IommuSpec{.caching_mode = true}) {}
};

// Scenario 18.
TEST_F(CachingMode, WhatWasNotPresentStaysSoUntilItIsInvalidated) {
  start_legacy();
  EXPECT_EQ(copy_to(kIovaTarget + kPageSize), TransferStatus::kRefusedDestination);
  iommu.map(top, kIovaTarget + kPageSize, kOther);
  EXPECT_EQ(copy_to(kIovaTarget + kPageSize), TransferStatus::kRefusedDestination);
  iommu.submit({iommu.iotlb_page(kDomainId, kIovaTarget + kPageSize)});
  EXPECT_EQ(copy_to(kIovaTarget + kPageSize), TransferStatus::kOk);
}

// An absent context is remembered with the domain id 0.
TEST_F(CachingMode, AnAbsentContextIsOfDomainZero) {
  iommu.start();
  driver.reset();
  driver.set_up(regs::kWorkQueue, kRings, 6);
  driver.post(regs::kWorkQueue, copy(kIovaSource, kIovaTarget, 64));
  ASSERT_TRUE(eventually([&] { return number("iommu0.faults") == 1; }));
  top = iommu.page();
  map_engine(top);
  iommu.set_context(kEngine, top, kDomainId);
  auto try_again = [&] {
    driver.reset();
    driver.set_up(regs::kWorkQueue, kRings, 6);
    driver.post(regs::kWorkQueue, copy(kIovaSource, kIovaTarget, 64));
  };
  iommu.submit({iommu.context_device(kEngine, kDomainId)});
  try_again();
  ASSERT_TRUE(eventually([&] { return number("iommu0.faults") == 2; }));
  iommu.submit({iommu.context_device(kEngine, 0)});
  driver.reset();
  driver.set_up(regs::kWorkQueue, kRings, 6);
  EXPECT_EQ(copy_to(kIovaTarget), TransferStatus::kOk);
}

}  // namespace
}  // namespace causeway::machine::testing
