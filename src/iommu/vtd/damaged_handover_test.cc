// Handovers that say something wrong (spec scenario 81): the reason is told, the device is nobody's, and its DMA goes on through
// the tables it was on. No device gets another domain instead.
#include <gtest/gtest.h>

#include <cstring>
#include <functional>

#include "iommu/vtd/testing/dma.h"

namespace causeway::iommu::vtd {
namespace {

using testing::EngineDma;
using testing::System;

class DamagedHandover : public ::testing::TestWithParam<bool> {
 protected:
  static constexpr Bdf kNic{0, 1, 0};
  static constexpr Bdf kOther{0, 2, 0};
  static constexpr uint64_t kData = 0x100000;

  struct Case {
    const char* what;
    std::function<void(System&)> damage;
    bool all = false;             // the other device cannot be taken over either
    bool scalable_only = false;
  };
  static abi::DeviceSer& device(System& system) {  // of the nic, which was the first
    return *system.first_record<abi::DeviceSer>(system.standing().device_array_phys);
  }
  static abi::DomainSer& domain(System& system) {
    return *system.record<abi::DomainSer>(device(system).map.domain_phys);
  }
  static abi::IommuHwSer& unit(System& system) {
    return *system.record<abi::IommuHwSer>(device(system).map.iommu_phys);
  }
  static const std::vector<Case>& cases();

  void run(const Case& one) {
    log::Capture quiet;
    System system({.iommus = {{.scalable = GetParam()}}});
    const PhysAddr page = system.page(), rings = system.page();
    Device& nic = system.probe(kNic);
    Device& other = system.probe(kOther);
    must(nic.group().default_domain()->map(Iova(kData), page, kPageSize, kRead | kWrite));
    EngineDma before(system, kNic, *nic.group().default_domain(), rings);
    ASSERT_TRUE(before.copy(kData, kData + 512, 64));
    system.hand_over(nic, *nic.group().default_domain());
    system.hand_over(other, *other.group().default_domain());
    one.damage(system);
    system.commit();
    system.crash();

    EngineDma after(system, kNic, rings);
    EXPECT_TRUE(after.copy(kData, kData + 512, 64));
    EXPECT_EQ(error_of(system.try_probe(kNic)), EIO);
    EXPECT_EQ(error_of(system.try_probe(kOther)), one.all ? EIO : 0);
    EXPECT_FALSE(system.live_update().damage().empty());
    EXPECT_EQ(system.core().find(0, kNic), nullptr);
    EXPECT_EQ(error_of(system.try_probe(kNic)), EIO) << "and it stays so";
    EXPECT_TRUE(after.copy(kData, kData + 512, 64));
    EXPECT_EQ(system.status("iommu0.enabled"), "1");
    EXPECT_EQ(system.number("iommu0.te_off_transitions"), 0u);
    EXPECT_EQ(system.faults(), 0u) << system.all_status();
    EXPECT_EQ(system.reports(), 0u) << system.all_status();
  }
};

const std::vector<DamagedHandover::Case>& DamagedHandover::cases() {
  static const std::vector<Case> all{
      {"another version", [](System& s) { s.standing().version = 9; }, true},
      {"no device array", [](System& s) { s.standing().device_array_phys = 0; }, true},
      {"an array that is not preserved", [](System& s) { s.standing().iommu_array_phys = 0x3000'0000; }, true},
      {"another root table", [](System& s) { unit(s).intel.root_table = unit(s).intel.root_table + kPageSize; }, true},
      {"a context table not handed over",
       [](System& s) { std::memset(&unit(s).intel.context_tables_bitmap, 0, 64); }, true},
      {"another max_pasid", [](System& s) { device(s).intel.max_pasid = 65536; }, false, true},
      {"another PASID directory",
       [](System& s) { device(s).intel.pasid_table = device(s).intel.pasid_table + kPageSize; }, false, true},
      {"another domain id", [](System& s) { device(s).map.attachment_id = 77; }},
      {"an id that the unit has not", [](System& s) { device(s).map.attachment_id = 1 << 20; }},
      {"another width", [](System& s) { domain(s).vasz = 64; }},
      {"another stage", [](System& s) { domain(s).sign_extend = domain(s).sign_extend == 0; }},
  };
  return all;
}

TEST_P(DamagedHandover, IsRefusedAndTheHardwareGoesOn) {
  for (const Case& one : cases()) {
    if (one.scalable_only && !GetParam()) continue;
    SCOPED_TRACE(one.what);
    run(one);
  }
}

// The negative control: nothing is damaged, and everybody comes back.
TEST_P(DamagedHandover, OneThatIsNotDamagedIsTakenOver) {
  log::Capture quiet;
  System system({.iommus = {{.scalable = GetParam()}}});
  Device& nic = system.probe(kNic);
  system.hand_over(nic, *nic.group().default_domain());
  EXPECT_EQ(device(system).devid, kNic.value());
  EXPECT_EQ(unit(system).intel.root_table, system.unit().root().phys().value());
  system.commit();
  system.crash();
  EXPECT_EQ(error_of(system.try_probe(kNic)), 0);
  EXPECT_TRUE(system.live_update().damage().empty());
}

INSTANTIATE_TEST_SUITE_P(Modes, DamagedHandover, ::testing::Bool(),
                         [](const auto& mode) { return mode.param ? "Scalable" : "Legacy"; });

}  // namespace
}  // namespace causeway::iommu::vtd
