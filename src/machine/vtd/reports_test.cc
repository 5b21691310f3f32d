#include <thread>

#include "machine/testing/vtd_fixture.h"

namespace causeway::machine::testing {
namespace {

using regs::TransferStatus;

class Reports : public VtdTest {};

TEST_F(Reports, StaleTranslation) {
  start_legacy();
  ASSERT_EQ(copy_to(kIovaTarget), TransferStatus::kOk);
  ASSERT_EQ(copy_to(kIovaTarget), TransferStatus::kOk);
  EXPECT_EQ(reports(), 0u);
  iommu.unmap(top, kIovaTarget);
  ASSERT_EQ(copy_to(kIovaTarget), TransferStatus::kOk) << "not invalidated yet, and not present: no harm";
  EXPECT_EQ(reports(), 0u);
  iommu.map(top, kIovaTarget, kOther);
  copy_to(kIovaTarget);
  EXPECT_GT(reports("stale_translation"), 0u);
  EXPECT_NE(machine->status().find("report.0=stale_translation: 00:01.0 0x80001000: cached 0x500000, tables 0x600000"),
            std::string::npos)
      << machine->status();
}

// Wherever on the way: here the entry above the leaf names another table.
TEST_F(Reports, StaleTranslationAboveTheLeaf) {
  start_legacy();
  for (int i = 0; i < 3; ++i) ASSERT_EQ(copy_to(kIovaTarget), TransferStatus::kOk);
  PhysAddr other = iommu.page();
  iommu.map(other, kIovaTarget, kOther);
  iommu.store(iommu.slot(top, kIovaTarget, 1), iommu.load(iommu.slot(other, kIovaTarget, 1)));
  EXPECT_EQ(reports(), 0u);
  copy_to(kIovaTarget);
  EXPECT_GT(reports("stale_translation"), 0u);
}

TEST_F(Reports, NoStaleTranslationAfterAnInvalidation) {
  start_legacy();
  ASSERT_EQ(copy_to(kIovaTarget), TransferStatus::kOk);
  iommu.unmap(top, kIovaTarget);
  iommu.submit({iommu.iotlb_page(kDomainId, kIovaTarget)});
  iommu.map(top, kIovaTarget, kOther);
  EXPECT_EQ(copy_to(kIovaTarget, 0x77), TransferStatus::kOk);
  EXPECT_EQ(at(kOther), 0x77u);
  EXPECT_EQ(reports(), 0u);
}

// The fault of a demonstration: the invalidation is acknowledged and not done.
TEST_F(Reports, AnInvalidationThatIsSkippedIsFound) {
  start_legacy();
  ASSERT_EQ(copy_to(kIovaTarget), TransferStatus::kOk);
  iommu.unmap(top, kIovaTarget);
  EXPECT_EQ(control_call(kernel.control(), hw::control::Op::kInject,
                         static_cast<uint64_t>(hw::control::Fault::kIommuSkipInvalidation), 1)
                .reply.error,
            0);
  iommu.submit({iommu.iotlb_page(kDomainId, kIovaTarget)});
  iommu.map(top, kIovaTarget, kOther);
  EXPECT_EQ(copy_to(kIovaTarget), TransferStatus::kOk);
  EXPECT_GT(reports("stale_translation"), 0u);
}

TEST_F(Reports, TranslationOffUnderALiveDevice) {
  start_legacy();
  registers.set_command(false);
  iommu.set_translation(false);
  EXPECT_EQ(reports(), 0u);
  EXPECT_EQ(number("iommu0.te_off_transitions"), 1u);
  iommu.set_translation(true);
  registers.set_command(true);
  iommu.set_translation(false);
  EXPECT_EQ(reports("translation_off_live"), 1u);
}

TEST_F(Reports, ContextDropped) {
  start_legacy();
  ASSERT_EQ(copy_to(kIovaTarget), TransferStatus::kOk);
  iommu.submit({iommu.context_global(), iommu.iotlb_global()});
  EXPECT_EQ(reports(), 0u);
  ASSERT_EQ(copy_to(kIovaTarget), TransferStatus::kOk);
  // A root that has not what the old one had.
  PhysAddr empty = iommu.page();
  iommu.set_root(empty);
  kernel.flush();
  EXPECT_EQ(reports("context_dropped"), 1u);
}

TEST_F(Reports, TranslationChanged) {
  start_legacy();
  ASSERT_EQ(copy_to(kIovaTarget), TransferStatus::kOk);
  // The same tables under a new root.
  PhysAddr root = iommu.page();
  iommu.store(root, iommu.load(iommu.root()));
  iommu.set_root(root);
  iommu.submit({iommu.context_global(), iommu.iotlb_global()});
  EXPECT_EQ(reports(), 0u);
  ASSERT_EQ(copy_to(kIovaTarget), TransferStatus::kOk);
  iommu.map(top, kIovaTarget, kOther);
  iommu.submit({iommu.iotlb_global()});
  EXPECT_EQ(reports("translation_changed"), 1u);
}

// Scenario 19: the second half.
TEST_F(Reports, ATableFreedWithAHintThatNoneWas) {
  start_legacy();
  const uint64_t iova = GiB(4);
  iommu.map(top, iova, kTarget);
  iommu.map(top, iova + kPageSize, kTarget);
  ASSERT_EQ(copy_to(iova), TransferStatus::kOk);
  PhysAddr parent = iommu.slot(top, iova, 1);
  PhysAddr table(iommu.load(parent) & vt::kEntryAddress);
  // The table stays: the hint is right.
  iommu.unmap(top, iova);
  iommu.submit({iommu.iotlb_page(kDomainId, iova, 0, true)});
  EXPECT_EQ(copy_to(iova + kPageSize), TransferStatus::kOk);
  EXPECT_EQ(reports(), 0u);
  // It goes, and something else comes into its page.
  iommu.store(parent, 0);
  iommu.submit({iommu.iotlb_page(kDomainId, iova, 1, true)});
  iommu.store(table, kOther | 3);
  EXPECT_EQ(copy_to(iova, 0x99), TransferStatus::kOk) << "the unit still walks the table that was freed";
  EXPECT_EQ(at(kOther), 0x99u);
  EXPECT_GT(reports("table_reused"), 0u);
}

TEST_F(Reports, ATableFreedWithoutTheHintIsForgotten) {
  start_legacy();
  const uint64_t iova = GiB(4);
  iommu.map(top, iova, kTarget);
  ASSERT_EQ(copy_to(iova), TransferStatus::kOk);
  PhysAddr parent = iommu.slot(top, iova, 1);
  PhysAddr table(iommu.load(parent) & vt::kEntryAddress);
  iommu.store(parent, 0);
  iommu.submit({iommu.iotlb_page(kDomainId, iova, 9)});
  iommu.store(table, kOther | 3);
  EXPECT_EQ(copy_to(iova), TransferStatus::kRefusedDestination);
  EXPECT_EQ(reports(), 0u);
}

TEST_F(Reports, ReservedBit) {
  start_legacy();
  iommu.map(top, kIovaTarget, kTarget, 3 | uint64_t{1} << 61);
  EXPECT_EQ(copy_to(kIovaTarget), TransferStatus::kRefusedDestination);
  EXPECT_EQ(vt::RecordReason::get(iommu.record(0)), vt::kEntryReservedBits);
  EXPECT_EQ(reports("reserved_bit"), 1u);
}

// A second engine gets the same domain id with tables of its own.
class TwoEngines : public VtdTest {
 protected:
  static MachineConfig two() {
    MachineConfig config;
    config.ram = MiB(128);
    config.iommus = {IommuSpec{}};
    config.devices = {DeviceSpec{}, DeviceSpec{.bdf = Bdf(0, 2, 0)}};
    return config;
  }
  TwoEngines() : VtdTest(two(), Mode::kLegacy) {}
  static constexpr PhysAddr kSecondRings{0x18'0000};
  RawRegisters second_registers{kernel, Bdf(0, 2, 0)};
  MiniDriver second{second_registers};
  void share(uint16_t domain) {
    start_legacy();
    PhysAddr other = iommu.page();
    for (uint64_t offset = 0; offset < KiB(64); offset += kPageSize)
      iommu.map(other, kSecondRings.value() + offset, kSecondRings.value() + offset);
    iommu.map(other, kIovaTarget, kOther);
    iommu.set_context(Bdf(0, 2, 0), other, domain);
    ASSERT_EQ(copy_to(kIovaTarget), TransferStatus::kOk);
    second.reset();
    second.set_up(regs::kWorkQueue, kSecondRings, 6);
    second.run(regs::kWorkQueue, fill(0x1234, kIovaTarget, 64));
  }
};

TEST_F(TwoEngines, DomainIdShared) {
  share(kDomainId);
  EXPECT_GT(reports("domain_id_shared"), 0u);
  EXPECT_EQ(at(kTarget), 0x1234u) << "it went where the other device's tables say";
}

TEST_F(TwoEngines, DomainIdsOfTheirOwn) {
  share(kDomainId + 1);
  EXPECT_EQ(reports(), 0u);
  EXPECT_EQ(at(kOther), 0x1234u);
}

// Software unmaps, invalidates and maps elsewhere while the device writes: no report, and no write to a page that has
// been taken away.
TEST_F(Reports, NoneForWhatIsDoneRightUnderLoad) {
  start_legacy();
  constexpr unsigned kRounds = 300;
  uint64_t places[] = {kTarget, kOther};
  unsigned refused = 0;
  for (unsigned round = 0; round < kRounds; ++round) {
    const uint64_t place = places[round % 2];
    iommu.map(top, kIovaTarget, place);
    for (unsigned i = 0; i < 8; ++i)
      driver.put(regs::kWorkQueue, fill(round + 1, kIovaTarget, kPageSize));
    driver.ring_doorbell(regs::kWorkQueue);
    if (round % 3 == 0) std::this_thread::yield();
    iommu.unmap(top, kIovaTarget);
    iommu.post({iommu.iotlb_page(kDomainId, kIovaTarget, 0, round % 2 == 0)});
    ASSERT_TRUE(eventually([&] { return iommu.done(); }));
    // From here on nothing writes there.
    std::memset(kernel.ram(PhysAddr(place)), 0xee, kPageSize);
    for (unsigned i = 0; i < 8; ++i) refused += driver.wait(regs::kWorkQueue).status != TransferStatus::kOk;
    for (uint64_t offset = 0; offset < kPageSize; offset += 8)
      ASSERT_EQ(at(place + offset), 0xeeee'eeee'eeee'eeeeu) << "round " << round;
  }
  EXPECT_EQ(reports(), 0u) << machine->status();
  EXPECT_GT(refused, 0u);
}

}  // namespace
}  // namespace causeway::machine::testing
