#include "iommu/vtd/registers.h"

#include <gtest/gtest.h>

#include "base/log.h"
#include "base/testing/results.h"
#include "iommu/vtd/testing/fake_unit.h"

namespace causeway::iommu::vtd {
namespace {

using namespace hw::vtd;
using testing::FakeUnit;

class RegistersTest : public ::testing::Test {
 protected:
  log::Capture quiet;
  kho::TestMachine machine;
};

TEST_F(RegistersTest, CapabilitiesAreWhatTheUnitSays) {
  uint64_t cap = CapDomains::make(3) | CapAgaw::make(0xc) | CapMgaw::make(47) | CapLargePages::make(1) |
                 CapPageSelective::make(1) | CapMaxAddressMask::make(9) | CapFaultOffset::make(0x60) |
                 CapFaultRecords::make(7) | CapWriteBufferFlush::make(1);
  uint64_t ecap = EcapIotlbOffset::make(0x50) | EcapScalableMode::make(1) | EcapPageWalkCoherent::make(1) |
                  EcapPasidBits::make(19);
  Capabilities caps(cap, ecap);
  EXPECT_EQ(caps.domains(), 1024u);
  EXPECT_EQ(caps.widest(), 3u);
  EXPECT_TRUE(caps.supports_width(2));
  EXPECT_FALSE(caps.supports_width(1));
  EXPECT_FALSE(caps.supports_width(0));
  EXPECT_EQ(caps.guest_address_bits(), 48u);
  EXPECT_TRUE(caps.second_stage_2m());
  EXPECT_FALSE(caps.second_stage_1g());
  EXPECT_EQ(caps.fault_records(), 8u);
  EXPECT_EQ(caps.fault_record_offset(), 0x600u);
  EXPECT_EQ(caps.iotlb_offset(), 0x500u);
  EXPECT_EQ(caps.pasid_bits(), 20u);
  EXPECT_FALSE(caps.coherent_page_walks(false));
  EXPECT_TRUE(caps.coherent_page_walks(true));
  EXPECT_EQ(Capabilities(CapDomains::make(0), 0).domains(), 16u);
  EXPECT_EQ(Capabilities(CapDomains::make(7), 0).domains(), 65536u);
  EXPECT_NE(caps.describe().find("57-bit"), std::string::npos);
}

TEST_F(RegistersTest, WhatIsOnStaysOnWithEveryCommand) {
  FakeUnit unit(machine);
  unit.store<uint32_t>(kGlobalStatus, GlobalInterruptRemapping::kMask);
  auto regs = must(UnitRegisters::create(unit.window(), "dmar0"));
  must(regs->set_root(PhysAddr{0x5000}, TableMode::kScalable));
  EXPECT_EQ(unit.load<uint64_t>(kRootTable), 0x5400u);
  must(regs->enable_translation());
  EXPECT_TRUE(regs->translation_enabled());
  must(regs->enable_queue(0x7000));
  EXPECT_TRUE(regs->translation_enabled());
  EXPECT_TRUE(regs->queue_enabled());
  must(regs->set_root(PhysAddr{0x6000}, TableMode::kLegacy));
  EXPECT_TRUE(regs->translation_enabled());
  EXPECT_TRUE(regs->queue_enabled());
  EXPECT_EQ(must(regs->root()).address, PhysAddr{0x6000});
  EXPECT_EQ(must(regs->root()).mode, TableMode::kLegacy);
  must(regs->disable_queue());
  must(regs->disable_translation());
  EXPECT_EQ(unit.load<uint32_t>(kGlobalStatus), GlobalInterruptRemapping::kMask | GlobalSetRoot::kMask);
}

// 7.4: a kernel that takes a unit over never turns translation off by not knowing that it is on.
TEST_F(RegistersTest, TranslationFoundOnIsNotTurnedOff) {
  FakeUnit unit(machine);
  unit.store<uint32_t>(kGlobalStatus, GlobalTranslation::kMask | GlobalQueue::kMask);
  bool ever_off = false;
  unit.on_write = [&](uint32_t offset, uint64_t value) {
    if (offset == kGlobalCommand && GlobalTranslation::get(value) == 0) ever_off = true;
  };
  auto regs = must(UnitRegisters::create(unit.window(), "dmar0"));
  must(regs->quiesce());
  must(regs->enable_queue(0x7000));
  must(regs->set_root(PhysAddr{0x5000}, TableMode::kLegacy));
  must(regs->enable_translation());
  EXPECT_TRUE(regs->translation_enabled());
  must(regs->disable_queue());
  EXPECT_FALSE(ever_off);
  must(regs->disable_translation());
  EXPECT_TRUE(ever_off);
}

TEST_F(RegistersTest, ACommandThatIsNeverDoneEnds) {
  FakeUnit unit(machine);
  auto regs = must(UnitRegisters::create(unit.window(), "dmar0"));
  regs->set_time_limit(std::chrono::milliseconds(20));
  unit.deaf = GlobalTranslation::kMask;
  EXPECT_EQ(error_of(regs->enable_translation()), ETIMEDOUT);
  EXPECT_TRUE(quiet.contains("enabling translation"));
  unit.deaf = 0;
  must(regs->enable_queue(0x7000));
  EXPECT_FALSE(regs->translation_enabled()) << "the next command does not turn on what failed";
}

TEST_F(RegistersTest, NothingThere) {
  FakeUnit empty(machine, {.cap = 0, .ecap = 0});
  EXPECT_EQ(error_of(UnitRegisters::create(empty.window(), "dmar0")), ENODEV);
  FakeUnit gone(machine, {.cap = ~uint64_t{0}, .ecap = ~uint64_t{0}});
  EXPECT_EQ(error_of(UnitRegisters::create(gone.window(), "dmar0")), ENODEV);
  FakeUnit outside(machine, {.cap = CapFaultOffset::make(0x3ff), .ecap = EcapIotlbOffset::make(0x50)});
  EXPECT_EQ(error_of(UnitRegisters::create(outside.window(), "dmar0")), EINVAL);
}

TEST_F(RegistersTest, AWriteBufferIsFlushedOnlyWhereThereIsOne) {
  for (bool has : {false, true}) {
    FakeUnit::Config config;
    config.cap = CapWriteBufferFlush::set(config.cap, has);
    FakeUnit unit(machine, config);
    unsigned flushes = 0;
    unit.on_write = [&](uint32_t offset, uint64_t value) {
      if (offset == kGlobalCommand && GlobalWriteBufferFlush::get(value) != 0) ++flushes;
    };
    auto regs = must(UnitRegisters::create(unit.window(), "dmar0"));
    must(regs->flush_write_buffer());
    EXPECT_EQ(flushes, has ? 1u : 0u);
  }
}

TEST_F(RegistersTest, AReservedRootModeIsRefused) {
  FakeUnit unit(machine);
  auto regs = must(UnitRegisters::create(unit.window(), "dmar0"));
  unit.store<uint64_t>(kRootTable, 0x5000 | RootMode::make(3));
  EXPECT_EQ(error_of(regs->root()), EINVAL);
}

}  // namespace
}  // namespace causeway::iommu::vtd
