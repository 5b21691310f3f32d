#include <gtest/gtest.h>

#include "machine/testing/local_unit.h"

namespace causeway::machine::testing {
namespace {

namespace vt = hw::vtd;

constexpr Bdf kDevice{0, 1, 0};
constexpr unsigned kRecords = 64;
constexpr uint64_t kIova = 0x7000'0000;
constexpr uint64_t kFrames = 0x200'0000;
constexpr uint64_t kTableBits = 3;

// One device with a directory of 128 entries (8192 PASIDs) and one table of PASIDs.
class ScalableUnit : public ::testing::Test {
 protected:
  ScalableUnit() {
    PhysAddr context = local.page();
    local.store(root, context.value() | 1);
    context_entry = context + 32 * (kDevice.value() & 0x7f);
    local.store(context_entry, directory.value() | vt::ScalablePasid::kMask | 1);
    local.store(directory, pasids.value() | 1);
    local.start(root, true);
    port.set_bus_master(true);
  }
  PhysAddr entry(uint32_t pasid) { return pasids + 64 * pasid; }
  void set_second(uint32_t pasid, PhysAddr tables, uint16_t domain, bool dirty = false) {
    local.store(entry(pasid) + 8, vt::PasidDomain::make(domain));
    local.store(entry(pasid), tables.value() | vt::PasidWidth::make(2) | vt::PasidType::make(vt::kSecondStage) |
                                  vt::PasidSecondStageDirty::make(dirty) | 1);
  }
  void set_first(uint32_t pasid, PhysAddr tables, uint16_t domain) {
    local.store(entry(pasid) + 8, vt::PasidDomain::make(domain));
    local.store(entry(pasid) + 16, tables.value());
    local.store(entry(pasid), vt::PasidType::make(vt::kFirstStage) | 1);
  }
  DmaStatus write(std::optional<uint32_t> pasid, uint64_t iova = kIova, uint64_t value = 1) {
    port.set_pasid(pasid);
    return port.write(DmaAddr{iova}, &value, 8);
  }
  DmaStatus read(std::optional<uint32_t> pasid, uint64_t iova = kIova) {
    uint64_t value;
    port.set_pasid(pasid);
    return port.read(DmaAddr{iova}, &value, 8);
  }
  uint64_t reason() { return local.last_reason(kRecords); }

  LocalUnit local{IommuSpec{.scalable = true, .fault_records = kRecords}};
  PhysAddr root = local.page(), directory = local.page(), pasids = local.page(), top = local.page();
  PhysAddr context_entry;
  DmaPort port{local.regions, local.remapping, kDevice};
};

TEST_F(ScalableUnit, EachPasidHasItsOwnSpace) {
  PhysAddr other = local.page();
  local.map(top, kIova, kFrames | 3, kTableBits);
  local.map(other, kIova, (kFrames + kPageSize) | 7, 7);
  set_second(0, top, 5);
  set_first(3, other, 6);
  EXPECT_EQ(write(std::nullopt, kIova, 0x11), DmaStatus::kOk);
  EXPECT_EQ(write(3, kIova, 0x22), DmaStatus::kOk);
  EXPECT_EQ(local.load(PhysAddr(kFrames)), 0x11u);
  EXPECT_EQ(local.load(PhysAddr(kFrames + kPageSize)), 0x22u);
  EXPECT_EQ(local.unit().reports(), 0u);
}

// Scenario 22.
TEST_F(ScalableUnit, APasidWithoutTheRight) {
  local.store(context_entry, directory.value() | 1);
  EXPECT_EQ(write(3), DmaStatus::kNotMapped);
  EXPECT_EQ(reason(), vt::kPasidDisabled);
}
TEST_F(ScalableUnit, APasidBeyondTheDirectory) {
  EXPECT_EQ(write(8192), DmaStatus::kNotMapped);
  EXPECT_EQ(reason(), vt::kPasidTooLarge);
}
TEST_F(ScalableUnit, AnAbsentDirectoryEntry) {
  EXPECT_EQ(write(64), DmaStatus::kNotMapped);
  EXPECT_EQ(reason(), vt::kPasidDirectoryNotPresent);
}
TEST_F(ScalableUnit, AnAbsentPasidEntry) {
  EXPECT_EQ(write(3), DmaStatus::kNotMapped);
  EXPECT_EQ(reason(), vt::kPasidEntryNotPresent);
}
TEST_F(ScalableUnit, AnAbsentContext) {
  local.store(context_entry, 0);
  EXPECT_EQ(write(std::nullopt), DmaStatus::kNotMapped);
  EXPECT_EQ(reason(), vt::kScalableContextNotPresent);
}
TEST_F(ScalableUnit, NestedStagesAreNoneOfItsCapabilities) {
  local.store(entry(3), vt::PasidType::make(vt::kNestedStages) | 1);
  EXPECT_EQ(write(3), DmaStatus::kNotMapped);
  EXPECT_EQ(reason(), vt::kPasidEntryInvalid);
}

// Scenario 23.
TEST_F(ScalableUnit, DirtyBitsWhereTheyAreAskedFor) {
  local.map(top, kIova, kFrames | 3, kTableBits);
  set_second(0, top, 5, true);
  PhysAddr leaf = local.leaf_at(top, kIova);
  EXPECT_EQ(read(std::nullopt), DmaStatus::kOk);
  EXPECT_EQ(local.load(leaf) & 0x300, vt::SecondAccessed::kMask);
  EXPECT_EQ(write(std::nullopt), DmaStatus::kOk) << "the write finds what the read has cached, and the bit missing";
  EXPECT_EQ(local.load(leaf) & 0x300, vt::SecondAccessed::kMask | vt::SecondDirty::kMask);
}
TEST_F(ScalableUnit, NoDirtyBitsWhereTheyAreNot) {
  local.map(top, kIova, kFrames | 3, kTableBits);
  set_second(0, top, 5);
  EXPECT_EQ(write(std::nullopt), DmaStatus::kOk);
  EXPECT_EQ(local.load(local.leaf_at(top, kIova)), kFrames | 3);
}

TEST_F(ScalableUnit, TheFirstStageSetsItsBitsAndHasItsOwnRules) {
  local.map(top, kIova, kFrames | 7, 7);
  local.map(top, kIova + kPageSize, kFrames | 5, 7);              // read-only
  local.map(top, kIova + 2 * kPageSize, kFrames | 3, 7);          // the supervisor's
  local.map(top, 0xffff'8000'0000'0000, (kFrames + kPageSize) | 7, 7);
  set_first(3, top, 6);
  PhysAddr leaf = local.leaf_at(top, kIova);
  EXPECT_EQ(read(3), DmaStatus::kOk);
  EXPECT_EQ(local.load(leaf), kFrames | 7 | vt::FirstAccessed::kMask);
  EXPECT_EQ(write(3), DmaStatus::kOk);
  EXPECT_EQ(local.load(leaf), kFrames | 7 | vt::FirstAccessed::kMask | vt::FirstDirty::kMask);
  EXPECT_EQ(read(3, kIova + kPageSize), DmaStatus::kOk);
  EXPECT_EQ(write(3, 0xffff'8000'0000'0000), DmaStatus::kOk);
  EXPECT_EQ(local.unit().reports(), 0u);
  EXPECT_EQ(write(3, kIova + kPageSize), DmaStatus::kNotMapped);
  EXPECT_EQ(reason(), vt::kStageNoWrite);
  EXPECT_EQ(write(3, kIova + 2 * kPageSize), DmaStatus::kNotMapped);
  EXPECT_EQ(reason(), vt::kSupervisorPage);
  EXPECT_EQ(write(3, 0x8000'0000'0000), DmaStatus::kNotMapped);
  EXPECT_EQ(reason(), vt::kNonCanonical);
  EXPECT_EQ(write(3, vt::kInterruptStart.value()), DmaStatus::kNotMapped);
  EXPECT_EQ(reason(), vt::kInterruptAddress);
}

}  // namespace
}  // namespace causeway::machine::testing
