// Devices behind a unit from one kernel to the next: their DMA goes on, translated as it was.
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>

#include "iommu/vtd/testing/dma.h"

namespace causeway::iommu::vtd {
namespace {

using testing::EngineDma;
using testing::System;
using testing::map;

struct Kind {
  const char* name;
  machine::IommuSpec spec;
  bool ats = false;
};
void PrintTo(const Kind& kind, std::ostream* out) { *out << kind.name; }

class VtdLiveUpdateTest : public ::testing::TestWithParam<Kind> {
 protected:
  static constexpr Bdf kNic{0, 1, 0};
  static constexpr Bdf kOther{0, 2, 0};

  // One device with a domain of three pages, handed over; another without.
  void set_up() {
    Device& nic = system.probe(kNic);
    Domain& domain = *nic.group().default_domain();
    map(domain, 0x100000, from);
    map(domain, 0x200000, to);
    EngineDma dma(system, kNic, domain, rings);
    expect_copy(dma, 1);
    system.hand_over(nic, domain);
  }
  void expect_copy(EngineDma& dma, uint64_t value) {
    std::memcpy(system.at(from), &value, sizeof value);
    EXPECT_TRUE(dma.copy(0x100000, 0x200000, 64));
    uint64_t found = 0;
    std::memcpy(&found, system.at(to), sizeof found);
    EXPECT_EQ(found, value);
  }
  void expect_quiet() {
    EXPECT_EQ(system.reports(), 0u) << system.all_status();
    EXPECT_EQ(system.faults(), 0u) << system.all_status();
    EXPECT_EQ(system.number("iommu0.te_off_transitions"), 0u);
    for (const std::string& text : system.live_update().damage()) ADD_FAILURE() << text;
  }

  static machine::DeviceSpec nic_spec() {
    machine::DeviceSpec spec = testing::engine(1);
    spec.ats = GetParam().ats;
    return spec;
  }

  log::Capture quiet;
  System system{{.iommus = {GetParam().spec}, .devices = {nic_spec(), testing::engine(2)}}};
  PhysAddr from = system.page(), to = system.page(), rings = system.page();
};

// Spec scenario 65, for a kernel driver's device.
TEST_P(VtdLiveUpdateTest, TheDmaGoesOnAfterAnOrderlyEnd) {
  set_up();
  const DomainId id = VtdDevice::of(*system.core().find(0, kNic)).id;
  system.kexec();
  EXPECT_TRUE(system.unit().is_adopted());
  EngineDma dma(system, kNic, rings);
  expect_copy(dma, 2);
  Device& nic = system.probe(kNic);
  EXPECT_EQ(VtdDevice::of(nic).id, id);
  EXPECT_EQ(nic.group().default_domain()->iova_to_phys(Iova(0x200010)), to + 0x10);
  expect_copy(dma, 3);
  expect_quiet();
}

TEST_P(VtdLiveUpdateTest, TheDmaGoesOnThroughDeathsAnywhere) {
  set_up();
  system.commit();
  for (uint64_t round = 2; round < 6; ++round) {
    system.crash();
    EngineDma dma(system, kNic, rings);
    expect_copy(dma, round);
    if (round % 2 == 0) continue;  // this kernel dies before it has probed anything
    Device& nic = system.probe(kNic);
    expect_copy(dma, round + 100);
    system.hand_over(nic, *nic.group().default_domain());
    system.commit();
  }
  expect_quiet();
}

// Spec scenario 78.
TEST_P(VtdLiveUpdateTest, AnIdThatWasHandedOverIsNobodyElses) {
  set_up();
  const DomainId id = VtdDevice::of(*system.core().find(0, kNic)).id;
  system.kexec();
  Device& other = system.probe(kOther);
  EXPECT_NE(VtdDevice::of(other).id, id);
  for (int i = 0; i < 100; ++i) EXPECT_NE(must(system.unit().ids().allocate()), id);
}

// Spec scenario 76.
TEST_P(VtdLiveUpdateTest, ADeviceThatIsNotHandedOverIsCutOff) {
  Device& other = system.probe(kOther);
  const PhysAddr stray_rings = system.page();
  EngineDma stray(system, kOther, *other.group().default_domain(), stray_rings);
  set_up();
  system.function(kOther).set_bus_master(false);
  system.kexec();
  EXPECT_EQ(system.faults(), 0u);
  // It asks again, and is refused: nothing of what it was translated by is left.
  system.function(kOther).set_bus_master(true);
  EngineDma again(system, kOther, stray_rings);
  again.driver().post(testing::regs::kWorkQueue, machine::testing::copy(0x100000, 0x200000, 64));
  EXPECT_TRUE(machine::testing::eventually([&] { return system.faults() > 0; }));
  EngineDma dma(system, kNic, rings);
  expect_copy(dma, 2);
  EXPECT_EQ(system.reports(), 0u) << system.all_status();
}

// Spec scenario 77: a table that is made after the first device was handed over is handed over too.
TEST_P(VtdLiveUpdateTest, LaterContextTablesAreHandedOverToo) {
  set_up();
  system.commit();
  DeviceInfo far{.bdf = Bdf(9, 0, 0), .name = "0000:09:00.0"};
  Device& device = *must(system.core().probe_device(far));
  map(*device.group().default_domain(), 0x100000, from);
  system.hand_over(device, *device.group().default_domain());
  system.crash();
  EXPECT_TRUE(system.unit().root().find(far.bdf)->present());
  EXPECT_EQ(error_of(system.core().probe_device(far)), 0);
  EXPECT_EQ(error_of(system.try_probe(kNic)), 0);
  expect_quiet();
}

// And one that no device handed over needs is not in the next kernel's way.
TEST_P(VtdLiveUpdateTest, TablesOfOthersGoWithTheirKernel) {
  set_up();
  system.commit();
  DeviceInfo far{.bdf = Bdf(9, 0, 0), .name = "0000:09:00.0"};
  (void)must(system.core().probe_device(far));
  system.crash();
  EXPECT_FALSE(system.unit().root().find(far.bdf));
  EXPECT_EQ(error_of(system.core().probe_device(far)), 0);
  // Made in the adopted root by a kernel that has not committed, which dies.
  system.crash();
  EXPECT_EQ(error_of(system.try_probe(kNic)), 0);
  expect_quiet();
}

// Spec scenario 82: nothing the restore does on its way can cost the device its translation.
TEST_P(VtdLiveUpdateTest, AFailedRestoreLeavesTheHardwareAlone) {
  if (!has_points()) GTEST_SKIP();
  set_up();
  system.commit();
  uint64_t value = 2;
  for (const char* step : {"iommu.vtd.unit.adopt", "iommu.vtd.unit.tables_restored", "iommu.vtd.unit.ids_reserved",
                           "iommu.vtd.restore.pasid_table", "iommu.vtd.restore.id", "iommu.vtd.restore.tags"}) {
    SCOPED_TRACE(step);
    const bool scalable_only = std::string(step) == "iommu.vtd.restore.pasid_table";
    {
      FailingStep failing(step);
      system.crash();
      EXPECT_EQ(error_of(system.try_probe(kNic)), scalable_only && !GetParam().spec.scalable ? 0 : EIO);
    }
    EngineDma dma(system, kNic, rings);
    expect_copy(dma, value++);
  }
  // The old handover is whole.
  system.crash();
  EXPECT_EQ(error_of(system.try_probe(kNic)), 0);
  expect_quiet();
}

// Killed at any step of taking over, or of handing over again, in a process of its own: the kernel after that one finds a
// handover that is whole.
TEST_P(VtdLiveUpdateTest, TheNewKernelMayDieAnywhere) {
  if (!has_points()) GTEST_SKIP();
#if defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "ThreadSanitizer does not follow a fork that starts threads";
#endif
  set_up();
  system.commit();
  unsigned killed = 0;
  uint64_t value = 2;
  for (const point::Point* step : point::list()) {
    const std::string name = step->name;
    if (!name.starts_with("iommu.vtd.") && !name.starts_with("iommu.take_over.")) continue;
    SCOPED_TRACE(name);
    system.die();
    UniqueFd control = system.connect();
    const pid_t child = fork();
    if (child == 0) {
      must(point::arm(name + "=kill"));
      system.boot(std::move(control));
      Device& nic = system.probe(kNic);
      (void)system.probe(kOther);
      system.hand_over(nic, *nic.group().default_domain());
      system.commit();
      _exit(0);
    }
    int status = 0;
    ASSERT_EQ(waitpid(child, &status, 0), child);
    killed += WIFSIGNALED(status) ? 1 : 0;
    EXPECT_TRUE(WIFSIGNALED(status) || WEXITSTATUS(status) == 0);
    system.boot(system.connect());
    EngineDma dma(system, kNic, rings);
    expect_copy(dma, value++);
    Device& nic = system.probe(kNic);
    expect_copy(dma, value++);
    system.hand_over(nic, *nic.group().default_domain());
    system.commit();
  }
  EXPECT_GE(killed, 8u);
  expect_quiet();
}

// Spec scenarios 27 and 85: a kernel booted after a crash copies what is there, handover or not, and the DMA goes on until its
// device has a driver.
TEST_P(VtdLiveUpdateTest, AKernelAfterACrashCopiesWhatIsThere) {
  set_up();
  system.commit();
  system.options().vtd.crash_kernel = true;
  system.options().vtd.scalable = GetParam().spec.scalable;
  system.crash();
  EXPECT_FALSE(system.unit().is_adopted());
  EngineDma dma(system, kNic, rings);
  expect_copy(dma, 2);
  EXPECT_EQ(system.number("iommu0.te_off_transitions"), 0u);
  EXPECT_EQ(system.faults(), 0u) << system.all_status();
}

// Negative controls: each defect is noticed by somebody.
TEST_P(VtdLiveUpdateTest, ForgottenIdsAreNoticed) {
  set_up();
  system.kexec({.forget_domain_ids = true});
  (void)system.probe(kNic);
  Device& other = system.probe(kOther);
  EXPECT_EQ(VtdDevice::of(other).id, VtdDevice::of(*system.core().find(0, kNic)).id);
}

TEST_P(VtdLiveUpdateTest, ContextTablesThatAreNotPreservedAreNoticed) {
  system.vtd().set_faults({.skip_context_preserve = true});
  set_up();
  system.kexec();
  EXPECT_FALSE(system.live_update().damage().empty());
  EXPECT_EQ(error_of(system.try_probe(kNic)), EIO);
}

TEST_P(VtdLiveUpdateTest, TranslationThatIsOffIsNoticed) {
  set_up();
  system.vtd().set_faults({.translation_off_at_shutdown = true});
  system.kexec();
  EXPECT_GT(system.reports(), 0u);
  EXPECT_FALSE(system.live_update().damage().empty());
}

// Negative control: a restored table that is not what it was, and nobody was told.
TEST_P(VtdLiveUpdateTest, AStaleRestoreIsNoticed) {
  set_up();
  system.kexec();
  EngineDma dma(system, kNic, rings);
  IoPageTable& table = *system.probe(kNic).group().default_domain()->page_table();
  expect_copy(dma, 2);
  std::vector<IoPageTable::Leaf> leaves;
  table.for_each_leaf([&](const IoPageTable::Leaf& leaf) {
    leaves.push_back(leaf);
    return true;
  });
  ASSERT_GE(leaves.size(), 2u);
  Gather never_flushed;
  for (size_t i = 0; i < leaves.size(); ++i) {
    uint64_t mapped = 0;
    table.unmap(leaves[i].iova, leaves[i].size, never_flushed);
    must(table.map(leaves[i].iova, leaves[(i + 1) % leaves.size()].phys, leaves[i].size, leaves[i].prot, &mapped));
  }
  (void)dma.copy(0x100000, 0x200000, 64);
  EXPECT_GT(system.reports(), 0u);
}

INSTANTIATE_TEST_SUITE_P(Units, VtdLiveUpdateTest,
                         ::testing::Values(Kind{"legacy", {.scalable = false}}, Kind{"first_stage", {.scalable = true}},
                                           Kind{"second_stage", {.scalable = true, .first_stage = false}},
                                           Kind{"legacy_ats", {.scalable = false}, true},
                                           Kind{"first_stage_ats", {.scalable = true}, true},
                                           Kind{"page_requests", {.scalable = true, .page_requests = true}, true},
                                           Kind{"caching", {.scalable = true, .caching_mode = true}}),
                         [](const auto& kind) { return kind.param.name; });

}  // namespace
}  // namespace causeway::iommu::vtd
