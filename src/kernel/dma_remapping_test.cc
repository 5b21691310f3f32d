#include "kernel/dma_remapping.h"

#include <gtest/gtest.h>

#include "kernel/testing/remapped_machine.h"

namespace causeway::kernel {
namespace {

class DmaRemappingTest : public testing::RemappedMachine {};

TEST_P(DmaRemappingTest, EveryDeviceIsTranslatedAfterAColdBoot) {
  boot();
  ASSERT_TRUE(work_advances());
  EXPECT_EQ(kernel_->status().iommu.devices, 3u);
  EXPECT_EQ(kernel_->status().iommu.restored_devices, 0u);
  EXPECT_GT(unit("translations"), 100u);
  expect_work_intact();
}

TEST_P(DmaRemappingTest, LiveUpdatesLoseNothingAndNeverStopTranslating) {
  boot();
  for (unsigned update = 0; update < 6; ++update) {
    SCOPED_TRACE(update);
    ASSERT_TRUE(work_advances(30));
    ASSERT_NO_FATAL_FAILURE(live_update());
    EXPECT_EQ(kernel_->status().iommu.restored_devices, 3u);
    EXPECT_EQ(kernel_->status().iommu.restored_domains, 3u);
    expect_work_intact();
  }
  ASSERT_TRUE(work_advances());
  expect_work_intact();
}

TEST_P(DmaRemappingTest, KernelsThatDieUnannouncedAreTakenOver) {
  boot();
  for (unsigned i = 0; i < 6; ++i) {
    SCOPED_TRACE(i);
    ASSERT_TRUE(work_advances(10 + 7 * i));
    kernel_.reset();
    ASSERT_NO_FATAL_FAILURE(boot());
    EXPECT_EQ(kernel_->status().boot, BootKind::kTakeover);
    EXPECT_EQ(kernel_->status().iommu.restored_devices, 3u);
    expect_work_intact();
  }
  ASSERT_TRUE(work_advances());
  expect_work_intact();
}

// Its entries were cleared, and are there again.
TEST_P(DmaRemappingTest, AJumpThatFailsIsUndoneForDevicesThatStayBehindToo) {
  boot(" no_handover=00:1e.0");
  ASSERT_TRUE(work_advances());
  for (unsigned i = 0; i < 3; ++i) {
    ASSERT_TRUE(kernel_->freeze());
    kernel_->thaw();
    ASSERT_TRUE(work_advances());
  }
  KernelStatus status = kernel_->status();
  for (const auto& [bdf, engine] : status.engines) EXPECT_EQ(engine.refused + engine.work_failed, 0u) << bdf;
  EXPECT_EQ(unit("reports"), 0u) << complaints();
  EXPECT_EQ(unit("faults"), 0u) << complaints();
}

TEST_P(DmaRemappingTest, ADeviceThatStaysBehindBeginsAnewAndTheOthersGoOn) {
  boot(" no_handover=00:1e.0");
  for (unsigned update = 0; update < 4; ++update) {
    SCOPED_TRACE(update);
    ASSERT_TRUE(work_advances(20));
    ASSERT_NO_FATAL_FAILURE(live_update(" no_handover=00:1e.0"));
    EXPECT_EQ(kernel_->status().iommu.restored_devices, 2u);
    EXPECT_EQ(kernel_->status().iommu.devices, 3u);
  }
  ASSERT_TRUE(work_advances());
  EXPECT_EQ(unit("reports"), 0u) << complaints();
  EXPECT_EQ(unit("te_off_transitions"), 0u);
}

TEST_P(DmaRemappingTest, ThePredecessorsChoiceCounts) {
  boot();
  ASSERT_TRUE(work_advances());
  ASSERT_NO_FATAL_FAILURE(live_update(" intel_iommu=off"));
  EXPECT_EQ(kernel_->status().iommu.restored_devices, 3u);
  ASSERT_TRUE(work_advances());
  expect_work_intact();
}

TEST_P(DmaRemappingTest, DevicesThatWereHandedOverUntranslatedStaySo) {
  boot(" intel_iommu=off");
  ASSERT_TRUE(work_advances());
  ASSERT_NO_FATAL_FAILURE(live_update());
  EXPECT_EQ(kernel_->status().iommu.units, 0u);
  EXPECT_EQ(unit("enabled"), 0u);
  ASSERT_TRUE(work_advances());
  EXPECT_TRUE(kernel_->status().problems.empty());
}

TEST_P(DmaRemappingTest, PassedThroughDevicesWorkAndAreNotHandedOver) {
  boot(" iommu.passthrough=1");
  ASSERT_TRUE(work_advances());
  ASSERT_NO_FATAL_FAILURE(live_update(" iommu.passthrough=1"));
  EXPECT_EQ(kernel_->status().iommu.restored_devices, 0u);
  ASSERT_TRUE(work_advances());
}

TEST_P(DmaRemappingTest, AShutDownMachineCanBeBootedAgain) {
  boot();
  ASSERT_TRUE(work_advances());
  kernel_->shutdown();
  kernel_.reset();
  boot();
  ASSERT_TRUE(work_advances());
  KernelStatus status = kernel_->status();
  EXPECT_EQ(status.boot, BootKind::kCold);
  EXPECT_TRUE(status.problems.empty());
  EXPECT_EQ(unit("reports"), 0u) << complaints();
}

INSTANTIATE_TEST_SUITE_P(All, DmaRemappingTest, ::testing::ValuesIn(testing::kUnitModes), testing::name_of_mode);

}  // namespace
}  // namespace causeway::kernel
