// Devices and units that are not handed over, beside ones that are.
#include <gtest/gtest.h>

#include "iommu/vtd/testing/dma.h"

namespace causeway::iommu::vtd {
namespace {

using testing::EngineDma;
using testing::System;

constexpr Bdf kNic{0, 1, 0};
constexpr Bdf kOther{0, 2, 0};
constexpr uint64_t kData = 0x100000;

class LeftBehind : public ::testing::TestWithParam<bool> {
 protected:
  log::Capture quiet;
};

// Spec scenario 75: at every step of the two kernels the unit with the preserved device translates; the other one is off when the
// first has ended, and starts without a trace of it.
TEST_P(LeftBehind, AUnitWithoutPreservedDevicesIsSwitchedOffAndBootsClean) {
  if (!has_points()) GTEST_SKIP();
  System system({.iommus = {{.scalable = GetParam(), .scope = {kNic}}, {.scalable = GetParam()}}});
  const PhysAddr page = system.page(), rings = system.page();
  Device& nic = system.probe(kNic);
  must(nic.group().default_domain()->map(Iova(kData), page, kPageSize, kRead | kWrite));
  EngineDma dma(system, kNic, *nic.group().default_domain(), rings);
  ASSERT_TRUE(dma.copy(kData, kData + 512, 64));
  (void)system.probe(kOther);
  const PhysAddr old_root = system.unit(1).root().phys();
  system.hand_over(nic, *nic.group().default_domain());
  system.commit(hw::HandoverKind::kOrderly);
  UnitRegisters& first = system.unit(0).regs();
  UnitRegisters& second = system.unit(1).regs();
  std::vector<std::pair<bool, bool>> trace;
  for (const char* step : {"iommu.vtd.unit.shutdown_cleared", "iommu.vtd.unit.shutdown_unlinked"})
    ASSERT_TRUE(point::on_hit(step, [&]() -> Status {
      trace.emplace_back(first.translation_enabled(), second.translation_enabled());
      return {};
    }));
  must(system.vtd().shut_down());
  point::disarm_all();
  trace.emplace_back(first.translation_enabled(), second.translation_enabled());
  EXPECT_EQ(trace, (std::vector<std::pair<bool, bool>>{{true, true}, {true, true}, {true, false}}));
  EXPECT_EQ(must(second.root()).address, old_root);
  EXPECT_TRUE(dma.copy(kData, kData + 512, 64));

  system.crash();
  EngineDma after(system, kNic, rings);
  EXPECT_TRUE(after.copy(kData, kData + 512, 64));
  EXPECT_FALSE(system.unit(1).is_adopted());
  EXPECT_EQ(system.unit(1).ids().taken(), 0u);
  unsigned contexts = 0;
  system.unit(1).root().for_each_present([&](Bdf, ContextSlot) { ++contexts; });
  EXPECT_EQ(contexts, 0u);
  Device& other = system.probe(kOther);
  EngineDma others(system, kOther, *other.group().default_domain(), system.page());
  must(other.group().default_domain()->map(Iova(kData), page, kPageSize, kRead | kWrite));
  EXPECT_TRUE(others.copy(kData, kData + 512, 64));
  EXPECT_EQ(system.number("iommu0.te_off_transitions"), 0u);
  EXPECT_EQ(system.number("iommu1.te_off_transitions"), 1u);
  EXPECT_EQ(system.faults(0) + system.faults(1), 0u) << system.all_status();
  EXPECT_EQ(system.reports(), 0u) << system.all_status();
}

// Spec scenario 76: one that is left on the bus. The model says that it has lost its context, and every DMA is refused.
TEST_P(LeftBehind, ADeviceOnTheBusIsRefusedFromTheScrubOn) {
  System system({.iommus = {{.scalable = GetParam()}}});
  const PhysAddr page = system.page(), rings = system.page(), stray_rings = system.page();
  Device& nic = system.probe(kNic);
  Device& other = system.probe(kOther);
  for (Device* device : {&nic, &other})
    must(device->group().default_domain()->map(Iova(kData), page, kPageSize, kRead | kWrite));
  EngineDma dma(system, kNic, *nic.group().default_domain(), rings);
  EngineDma stray(system, kOther, *other.group().default_domain(), stray_rings);
  ASSERT_TRUE(dma.copy(kData, kData + 512, 64));
  ASSERT_TRUE(stray.copy(kData, kData + 512, 64));
  system.hand_over(nic, *nic.group().default_domain());
  system.commit(hw::HandoverKind::kOrderly);
  must(system.vtd().shut_down());
  stray.driver().post(testing::regs::kWorkQueue, machine::testing::copy(kData, kData + 512, 64));
  EXPECT_TRUE(machine::testing::eventually([&] { return system.faults() != 0; }));
  // Not present: the context, of legacy or of scalable mode.
  const std::string wanted = fmt::format("00:02.0 read {:#x}: reason {:#x}", EngineDma::kRings + 32,
                                         GetParam() ? hw::vtd::kScalableContextNotPresent : hw::vtd::kContextNotPresent);
  EXPECT_EQ(system.status("iommu0.fault.0"), wanted);
  EXPECT_GT(system.number("iommu0.context_dropped"), 0u);
  EXPECT_EQ(system.number("iommu0.context_dropped"), system.reports()) << system.all_status();
  EXPECT_TRUE(dma.copy(kData, kData + 512, 64));
  EXPECT_EQ(system.faults(), 1u) << system.all_status();
}

// Its bus is its own: the whole context table goes from the root.
TEST_P(LeftBehind, ATableThatOnlyTheyUsedIsUnlinked) {
  System system({.iommus = {{.scalable = GetParam()}}});
  Device& nic = system.probe(kNic);
  (void)must(system.core().probe_device({.bdf = Bdf(9, 0, 0), .name = "0000:09:00.0"}));
  ASSERT_TRUE(system.unit().root().find(Bdf(9, 0, 0))->present());
  system.hand_over(nic, *nic.group().default_domain());
  system.commit(hw::HandoverKind::kOrderly);
  must(system.vtd().shut_down());
  EXPECT_FALSE(system.unit().root().find(Bdf(9, 0, 0)));
  must(system.vtd().undo_shut_down());
  EXPECT_TRUE(system.unit().root().find(Bdf(9, 0, 0))->present());
}

// A device whose entry reads like the preserved one's, because both are on one domain, is not its alias.
TEST_P(LeftBehind, ADeviceOfTheSameDomainIsCutOffAllTheSame) {
  System system({.iommus = {{.scalable = GetParam()}}});
  Device& nic = system.probe(kNic);
  Device& far = *must(system.core().probe_device({.bdf = Bdf(9, 0, 0), .name = "0000:09:00.0"}));
  auto shared = must(system.vtd().alloc_paging(nic, DomainType::kUnmanaged, 0));
  must(nic.group().attach(*shared));
  must(far.group().attach(*shared));
  system.hand_over(nic, *shared);
  system.commit(hw::HandoverKind::kOrderly);
  must(system.vtd().shut_down());
  auto slot = system.unit().root().find(Bdf(9, 0, 0));
  EXPECT_FALSE(slot && slot->present());
  EXPECT_TRUE(system.unit().root().find(kNic)->present());
  System::bury(std::move(shared));
}

// Spec scenario 80: nobody answers page requests between two kernels, so the preserved device may make none.
TEST_P(LeftBehind, PageRequestsEndWithTheirKernel) {
  if (!GetParam()) GTEST_SKIP() << "legacy entries have no page requests";
  System system({.iommus = {{.scalable = true}}});
  Device& nic = system.probe(kNic);
  ContextSlot slot = *system.unit().root().find(kNic);
  slot.set_page_requests(true);
  const ScalableContext before = slot.scalable();
  ASSERT_TRUE(before.page_requests);
  system.hand_over(nic, *nic.group().default_domain());
  system.kexec();
  ScalableContext after = system.unit().root().find(kNic)->scalable();
  EXPECT_FALSE(after.page_requests);
  after.page_requests = true;
  EXPECT_EQ(after, before) << "and nothing else changes";
  EXPECT_EQ(error_of(system.try_probe(kNic)), 0);
}

// Spec 3.2: requests under another id than the function's own. Its entry is attached, kept and cut off with the device's.
TEST_P(LeftBehind, AliasesShareTheFateOfTheirDevice) {
  const Bdf bridge(9, 0, 0), other_bridge(9, 1, 0);
  System system({.iommus = {{.scalable = GetParam()}}});
  DeviceInfo info = system.info(kNic), other_info = system.info(kOther);
  info.aliases = {bridge};
  other_info.aliases = {other_bridge};
  Device& nic = *must(system.core().probe_device(info));
  Device& other = *must(system.core().probe_device(other_info));
  auto present = [&](Bdf bdf) {
    auto slot = system.unit().root().find(bdf);
    return slot && slot->present();
  };
  auto same = [&](Bdf one, Bdf two) {
    ContextSlot first = *system.unit().root().find(one), second = *system.unit().root().find(two);
    return GetParam() ? first.scalable() == second.scalable() : first.legacy() == second.legacy();
  };
  ASSERT_TRUE(present(bridge) && present(other_bridge));
  EXPECT_TRUE(same(kNic, bridge));
  EXPECT_FALSE(same(kNic, other_bridge));
  system.function(kOther).set_bus_master(false);
  system.core().release_device(other);
  EXPECT_FALSE(present(kOther) || present(other_bridge));
  (void)must(system.core().probe_device(other_info));
  system.hand_over(nic, *nic.group().default_domain());
  system.kexec();
  EXPECT_TRUE(present(kNic) && present(bridge));
  EXPECT_TRUE(same(kNic, bridge));
  EXPECT_FALSE(present(kOther) || present(other_bridge));
  EXPECT_EQ(error_of(system.core().probe_device(info)), 0);
  EXPECT_EQ(system.reports(), 0u) << system.all_status();
}

INSTANTIATE_TEST_SUITE_P(Modes, LeftBehind, ::testing::Bool(),
                         [](const auto& mode) { return mode.param ? "Scalable" : "Legacy"; });

}  // namespace
}  // namespace causeway::iommu::vtd
