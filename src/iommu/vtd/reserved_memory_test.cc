// Memory that the firmware's table reserves for a device (RMRR), and coherence that is forced on one.
#include <gtest/gtest.h>

#include <cstring>

#include "iommu/vtd/testing/dma.h"

namespace causeway::iommu::vtd {
namespace {

using testing::EngineDma;
using testing::System;

constexpr Bdf kNic{0, 1, 0};
constexpr Bdf kOther{0, 2, 0};

class VtdMemory : public ::testing::TestWithParam<machine::IommuSpec> {
 protected:
  log::Capture quiet;
};

TEST_P(VtdMemory, ReservedMemoryIsReachedByItsDeviceWhateverIsMapped) {
  constexpr uint64_t kFirmware = 0x80000;  // below 1 MiB: no kernel gives it to anybody
  machine::IommuSpec unit = GetParam();
  unit.reserved = {{.base = kFirmware, .last = kFirmware + 2 * kPageSize - 1, .devices = {kNic}}};
  System system({.iommus = {unit}});
  Device& nic = system.probe(kNic);
  Device& other = system.probe(kOther);
  Domain& domain = *nic.group().default_domain();
  EXPECT_EQ(domain.iova_to_phys(Iova(kFirmware + 0x1234)), PhysAddr(kFirmware + 0x1234));
  EXPECT_FALSE(domain.iova_to_phys(Iova(kFirmware + 2 * kPageSize)));
  EXPECT_FALSE(other.group().default_domain()->iova_to_phys(Iova(kFirmware)));
  const PhysAddr rings = system.page();
  EngineDma dma(system, kNic, domain, rings);
  EngineDma strange(system, kOther, *other.group().default_domain(), system.page());
  EXPECT_TRUE(dma.copy(kFirmware, kFirmware + kPageSize, 64));
  EXPECT_FALSE(strange.copy(kFirmware, kFirmware + kPageSize, 64));
  const uint64_t faults = system.faults();
  system.function(kOther).set_bus_master(false);
  system.hand_over(nic, domain);
  system.kexec();
  EngineDma after(system, kNic, rings);
  EXPECT_TRUE(after.copy(kFirmware, kFirmware + kPageSize, 64));
  Device& again = system.probe(kNic);
  EXPECT_TRUE(after.copy(kFirmware, kFirmware + kPageSize, 64));
  EXPECT_EQ(again.group().default_domain()->iova_to_phys(Iova(kFirmware)), PhysAddr(kFirmware));
  unsigned direct = 0;
  for (const ReservedRegion& region : again.group().reserved_regions())
    direct += region.kind == ReservedRegion::Kind::kDirect && region.start == Iova(kFirmware);
  EXPECT_EQ(direct, 1u);
  EXPECT_EQ(system.faults(), faults) << system.all_status();
  EXPECT_EQ(system.reports(), 0u) << system.all_status();
}

// Spec 3.2 and surprise 24: of the second stage leaf by leaf, so before the first; of the first stage in every entry, at once and
// after a live update.
TEST_P(VtdMemory, CoherenceIsForcedOnWhatIsMappedAfterwards) {
  System system({.iommus = {GetParam()}});
  const bool first = GetParam().scalable && GetParam().first_stage;
  Device& nic = system.probe(kNic);
  auto domain = must(system.vtd().alloc_paging(nic, DomainType::kUnmanaged, kAllocPasid));
  const PhysAddr page = system.page(), rings = system.page();
  if (!first) must(domain->enforce_cache_coherency());
  must(nic.group().attach(*domain));
  must(domain->map(Iova(0x100000), page, kPageSize, kRead | kWrite));
  EngineDma dma(system, kNic, *domain, rings);
  EXPECT_TRUE(dma.copy(0x100000, 0x100200, 64));
  EXPECT_EQ(error_of(domain->enforce_cache_coherency()), 0);
  EXPECT_TRUE(dma.copy(0x100000, 0x100200, 64));
  if (first) {
    EXPECT_TRUE(VtdDevice::of(nic).pasids->get(kNoPasid).page_snoop);
    system.hand_over(nic, *domain);
    system.kexec();
    Device& again = system.probe(kNic);
    EXPECT_TRUE(VtdDevice::of(again).pasids->get(kNoPasid).page_snoop);
    // Another device that comes to the domain is coherent too.
    Device& other = system.probe(kOther);
    auto& restored = dynamic_cast<PagingDomain&>(*again.group().domain());
    EXPECT_TRUE(restored.pasid_entry(static_cast<VtdUnit&>(other.unit()), DomainId(2)).page_snoop);
    System::bury(std::move(domain));
  } else {
    uint64_t table = domain->page_table()->root().top.value();
    uint64_t word = 0;
    for (unsigned level = domain->page_table()->root().level + 1; level-- > 0;) {
      std::memcpy(&word, system.at(PhysAddr(table + 8 * (uint64_t{0x100000} >> (12 + 9 * level) & 511))), sizeof word);
      table = word & hw::vtd::kEntryAddress;
    }
    EXPECT_EQ(hw::vtd::SecondSnoop::get(word), 1u);
    auto late = must(system.vtd().alloc_paging(nic, DomainType::kUnmanaged, 0));
    must(late->map(Iova(0x100000), page, kPageSize, kRead | kWrite));
    EXPECT_EQ(error_of(late->enforce_cache_coherency()), EINVAL);
    system.function(kNic).set_bus_master(false);
    nic.group().detach();
  }
  EXPECT_EQ(system.reports(), 0u) << system.all_status();
}

INSTANTIATE_TEST_SUITE_P(Units, VtdMemory,
                         ::testing::Values(machine::IommuSpec{.scalable = false}, machine::IommuSpec{.scalable = true},
                                           machine::IommuSpec{.scalable = true, .first_stage = false}),
                         [](const auto& unit) {
                           if (!unit.param.scalable) return "legacy";
                           return unit.param.first_stage ? "first_stage" : "second_stage";
                         });

}  // namespace
}  // namespace causeway::iommu::vtd
