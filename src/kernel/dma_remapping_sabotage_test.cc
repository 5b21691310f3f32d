// Negative controls of a live update with translated devices: each mistake is noticed and named, and the same run without it
// is clean (DmaRemappingTest).
#include <gtest/gtest.h>

#include "base/point.h"
#include "base/testing/results.h"
#include "kernel/testing/remapped_machine.h"

namespace causeway::kernel {
namespace {

class DmaRemappingSabotage : public testing::RemappedMachine {
 protected:
  bool has_problem(std::string_view words) const {
    for (const std::string& problem : kernel_->status().problems)
      if (problem.find(words) != std::string::npos) return true;
    return false;
  }
  std::string problems() const {
    std::string all;
    for (const std::string& problem : kernel_->status().problems) all += problem + "\n";
    for (const std::string& error : kernel_->status().driver_errors) all += error + "\n";
    return all;
  }
  bool counts(std::string_view name) const {
    return eventually([&] { return unit(name) != 0; });
  }
};

TEST_P(DmaRemappingSabotage, DroppedContextTablesQuarantineTheirDevices) {
  boot(" sabotage=drop-context");
  ASSERT_TRUE(work_advances());
  ASSERT_NO_FATAL_FAILURE(live_update());
  EXPECT_TRUE(has_problem("iommu: dmar0")) << problems();
  EXPECT_EQ(kernel_->status().driver_errors.size(), 3u) << problems();
  EXPECT_EQ(kernel_->status().iommu.devices, 0u);
  EXPECT_EQ(kernel_->status().iommu.restored_devices, 0u);
  // Nobody drives them, and they are translated as before.
  EXPECT_EQ(unit("enabled"), 1u);
  EXPECT_EQ(unit("te_off_transitions"), 0u);
  EXPECT_EQ(unit("faults"), 0u) << complaints();
  EXPECT_EQ(unit("reports"), 0u) << complaints();

  // Until the next reboot.
  kernel_->shutdown();
  kernel_.reset();
  const uint64_t faults = unit("faults"), reports = unit("reports");
  boot();
  EXPECT_EQ(kernel_->status().boot, BootKind::kCold);
  EXPECT_EQ(kernel_->status().iommu.devices, 3u);
  ASSERT_TRUE(work_advances());
  EXPECT_EQ(problems(), "");
  EXPECT_EQ(unit("faults"), faults) << complaints();
  EXPECT_EQ(unit("reports"), reports) << complaints();
  ASSERT_NO_FATAL_FAILURE(live_update());
  EXPECT_EQ(kernel_->status().iommu.restored_devices, 3u);
  ASSERT_TRUE(work_advances());
  EXPECT_EQ(problems(), "");
}

TEST_P(DmaRemappingSabotage, AReusedDomainIdIsReported) {
  boot(" no_handover=00:1e.0");
  ASSERT_TRUE(work_advances());
  ASSERT_NO_FATAL_FAILURE(live_update(" no_handover=00:1e.0 sabotage=reuse-did"));
  EXPECT_TRUE(counts("domain_id_shared")) << machine_->status();
}

TEST_P(DmaRemappingSabotage, TranslationThatIsSwitchedOffIsReported) {
  boot(" sabotage=te-off");
  ASSERT_TRUE(work_advances());
  ASSERT_TRUE(kernel_->freeze());
  kernel_.reset();
  EXPECT_GT(unit("translation_off_live"), 0u) << complaints();
  EXPECT_EQ(unit("te_off_transitions"), 1u);
  EXPECT_EQ(unit("enabled"), 0u);
  boot();
  EXPECT_TRUE(has_problem("translation off")) << problems();
}

TEST_P(DmaRemappingSabotage, UnmapsWithoutAFlushAreReported) {
  boot(" sabotage=skip-flush");
  (void)work_advances();
  EXPECT_TRUE(counts("reports")) << machine_->status();
  EXPECT_GT(unit("stale_translation") + unit("table_reused"), 0u) << complaints();
}

TEST_P(DmaRemappingSabotage, AStaleTranslationInARestoredTableIsReported) {
  boot();
  ASSERT_TRUE(work_advances());
  ASSERT_NO_FATAL_FAILURE(live_update(" sabotage=stale-restore"));
  // By what the unit's caches still know; once those have nothing of it any more, where it leads to nothing.
  EXPECT_TRUE(eventually([&] { return unit("stale_translation") + unit("faults") != 0; })) << machine_->status();
}

// Spec scenario 76, end to end: a device that was not handed over and that somebody has left on the bus. The model counts it as
// one that has lost its context; that is the point. Every DMA of it is refused, and the others do not notice.
TEST_P(DmaRemappingSabotage, ADeviceThatIsLeftOnTheBusIsRefusedAndReported) {
  if (!has_points()) GTEST_SKIP();
  // Buffers enough that some are left to write to, however long the freeze takes.
  boot(" no_handover=00:1e.0 dma_engine.ring=1024");
  ASSERT_TRUE(work_advances());
  auto left_on_the_bus = [&]() -> platform::PciFunction {
    for (platform::PciFunction& function : kernel_->platform().pci().scan())
      if (function.bdf() == Bdf(0, 30, 0)) return function;
    std::abort();
  };
  ASSERT_TRUE(point::on_hit("kernel.freeze.before_publish", [&]() -> Status {
    left_on_the_bus().set_bus_master(true);
    return {};
  }));
  Status frozen = kernel_->freeze();
  point::disarm_all();
  ASSERT_TRUE(frozen);
  EXPECT_TRUE(counts("faults"));
  EXPECT_NE(complaints().find("00:1e.0 "), std::string::npos) << complaints();
  // In scalable mode it had a context table of its own, which has gone from the root.
  EXPECT_NE(complaints().find(GetParam().unit.scalable ? "reason 0x39" : "reason 0x2"), std::string::npos) << complaints();
  EXPECT_EQ(complaints().find(" 00:01.0"), std::string::npos) << complaints();
  EXPECT_EQ(unit("context_dropped"), unit("reports")) << complaints();
  kernel_.reset();
  boot(" no_handover=00:1e.0");
  EXPECT_EQ(kernel_->status().iommu.restored_devices, 2u);
  ASSERT_TRUE(work_advances());
  EXPECT_EQ(problems(), "");
}

INSTANTIATE_TEST_SUITE_P(All, DmaRemappingSabotage, ::testing::ValuesIn(testing::kUnitModes), testing::name_of_mode);

}  // namespace
}  // namespace causeway::kernel
