// The driver on the model of the unit, with real DMA behind it, in every kind of unit.
#include "iommu/vtd/vtd_driver.h"

#include <cstring>

#include "iommu/vtd/testing/dma.h"

namespace causeway::iommu::vtd {
namespace {

using testing::EngineDma;
using testing::System;
using testing::map;
using testing::unmap;

struct Kind {
  const char* name;
  machine::IommuSpec spec;
};
void PrintTo(const Kind& kind, std::ostream* out) { *out << kind.name; }

class VtdDriverTest : public ::testing::TestWithParam<Kind> {
 protected:
  System::Options options() { return {.iommus = {GetParam().spec}}; }
  bool first_stage() { return GetParam().spec.scalable && GetParam().spec.first_stage; }


  log::Capture quiet;
  static constexpr Bdf kNic{0, 1, 0};
  static constexpr Bdf kOther{0, 2, 0};
};

TEST_P(VtdDriverTest, WhatIsMappedIsReachedAndNothingElse) {
  System system(options());
  EXPECT_EQ(system.status("iommu0.mode"), GetParam().spec.scalable ? "scalable" : "legacy");
  EXPECT_EQ(system.status("iommu0.enabled"), "1");
  Domain& domain = *system.probe(kNic).group().default_domain();
  const PhysAddr from = system.page(), to = system.page(), rings = system.page();
  map(domain, 0x100000, from, kRead);
  map(domain, 0x200000, to);
  EngineDma nic(system, kNic, domain, rings);
  system.fill(from, 0x1234);
  EXPECT_TRUE(nic.copy(0x100000, 0x200000, 64));
  EXPECT_EQ(system.word(to), 0x1234u);
  EXPECT_EQ(system.faults(), 0u);

  EXPECT_FALSE(nic.copy(0x300000, 0x200000, 64));
  EXPECT_FALSE(nic.copy(0x200000, 0x100000, 64)) << "to be read only";
  EXPECT_FALSE(nic.copy(from.value(), 0x200000, 64)) << "physical addresses mean nothing";
  EXPECT_EQ(system.reports(), 0u) << system.all_status();
}

// Spec scenario 18 too: with caching mode what was refused is cached, until sync_map().
TEST_P(VtdDriverTest, WhatWasRefusedIsReachedOnceItIsMapped) {
  System system(options());
  Domain& domain = *system.probe(kNic).group().default_domain();
  const PhysAddr page = system.page();
  EngineDma nic(system, kNic, domain, system.page());
  EXPECT_FALSE(nic.copy(0x100000, 0x100100, 64));
  map(domain, 0x100000, page);
  EXPECT_TRUE(nic.copy(0x100000, 0x100100, 64));
  EXPECT_EQ(system.reports(), 0u) << system.all_status();
}

TEST_P(VtdDriverTest, WhatIsMappedElsewhereIsReachedThere) {
  System system(options());
  Domain& domain = *system.probe(kNic).group().default_domain();
  const PhysAddr one = system.page(), two = system.page(), to = system.page();
  EngineDma nic(system, kNic, domain, system.page());
  map(domain, 0x200000, to);
  for (uint64_t round = 0; round < 8; ++round) {
    const PhysAddr from = round % 2 == 0 ? one : two;
    map(domain, 0x100000, from);
    system.fill(from, round);
    EXPECT_TRUE(nic.copy(0x100000, 0x200000, 64));
    EXPECT_EQ(system.word(to), round);
    unmap(domain, 0x100000);
    EXPECT_FALSE(nic.copy(0x100000, 0x200000, 64));
  }
  EXPECT_EQ(system.reports(), 0u) << system.all_status();
}

// Spec scenario 17, of translations: the model notices what is not flushed.
TEST_P(VtdDriverTest, AMissingFlushIsNoticed) {
  System system(options());
  system.vtd().set_faults({.skip_flush = true});
  Domain& domain = *system.probe(kNic).group().default_domain();
  const PhysAddr one = system.page(), two = system.page(), to = system.page();
  EngineDma nic(system, kNic, domain, system.page());
  map(domain, 0x200000, to);
  map(domain, 0x100000, one);
  system.fill(one, 1);
  system.fill(two, 2);
  EXPECT_TRUE(nic.copy(0x100000, 0x200000, 64));
  unmap(domain, 0x100000);
  must(domain.map(Iova(0x100000), two, kPageSize, kRead | kWrite));
  EXPECT_TRUE(nic.copy(0x100000, 0x200000, 64));
  EXPECT_EQ(system.word(to), 1u) << "the old page";
  EXPECT_GT(system.reports(), 0u);
}

// Spec scenario 25.
TEST_P(VtdDriverTest, DevicesOfOneDomainShareItsId) {
  System system(options());
  Device& nic = system.probe(kNic);
  Device& other = system.probe(kOther);
  auto shared = must(system.vtd().alloc_paging(nic, DomainType::kUnmanaged, 0));
  const uint32_t before = system.unit().ids().taken();
  must(nic.group().attach(*shared));
  must(other.group().attach(*shared));
  EXPECT_EQ(VtdDevice::of(nic).id, VtdDevice::of(other).id);
  EXPECT_EQ(system.unit().ids().taken(), before - 2 + 1) << "both left their own";
  nic.group().detach();
  EXPECT_EQ(system.unit().ids().taken(), before - 1 + 1);
  other.group().detach();
  EXPECT_EQ(system.unit().ids().taken(), before);
  EXPECT_EQ(system.reports(), 0u) << system.all_status();
}

TEST_P(VtdDriverTest, ADeviceIsReleasedWithoutATrace) {
  System system(options());
  (void)system.probe(kOther);
  const uint64_t pages = system.tables().pages();
  const uint32_t ids = system.unit().ids().taken();
  for (int round = 0; round < 3; ++round) {
    Device& nic = system.probe(kNic);
    EngineDma engine(system, kNic, *nic.group().default_domain(), system.page());
    system.function(kNic).set_bus_master(false);
    system.core().release_device(nic);
    EXPECT_EQ(system.tables().pages(), pages);
    EXPECT_EQ(system.unit().ids().taken(), ids);
  }
  EXPECT_EQ(system.reports(), 0u) << system.all_status();
}

TEST_P(VtdDriverTest, IdentityPassesThroughAndBlockedNothing) {
  System system(options());
  Device& nic = system.probe(kNic);
  const PhysAddr page = system.page(), rings = system.page();
  must(nic.group().replace(system.vtd().identity_domain()));
  struct Flat final : machine::testing::Registers {
    explicit Flat(System& s) : inner(s.platform()), system(s) {}
    void write32(uint32_t offset, uint32_t value) override { inner.write32(offset, value); }
    void write64(uint32_t offset, uint64_t value) override { inner.write64(offset, value); }
    uint32_t read32(uint32_t offset) override { return inner.read32(offset); }
    uint64_t read64(uint32_t offset) override { return inner.read64(offset); }
    uint32_t read32_with_effect(uint32_t offset) override { return inner.read32_with_effect(offset); }
    std::byte* ram(PhysAddr address) override { return system.at(address); }
    platform::testing::PlatformRegisters inner;
    System& system;
  } registers(system);
  machine::testing::MiniDriver driver(registers);
  driver.reset();
  driver.set_up(testing::regs::kWorkQueue, rings, 5);
  system.fill(page, 77);
  auto done = driver.run(testing::regs::kWorkQueue, machine::testing::copy(page.value(), page.value() + 512, 64));
  EXPECT_EQ(done.status, testing::regs::TransferStatus::kOk);
  EXPECT_EQ(system.reports(), 0u) << system.all_status();

  system.function(kNic).set_bus_master(false);
  must(nic.group().replace(system.vtd().blocked_domain()));
  system.function(kNic).set_bus_master(true);
  const uint64_t faults = system.faults();
  driver.post(testing::regs::kWorkQueue, machine::testing::copy(page.value(), page.value() + 512, 64));
  EXPECT_TRUE(machine::testing::eventually([&] { return system.faults() > faults; }));
  EXPECT_EQ(system.reports(), 0u) << system.all_status();
}

INSTANTIATE_TEST_SUITE_P(
    Units, VtdDriverTest,
    ::testing::Values(Kind{"legacy", {.scalable = false, .ats = false}}, Kind{"legacy_ats", {.scalable = false}},
                      Kind{"legacy_caching", {.scalable = false, .caching_mode = true}},
                      Kind{"legacy_rwbf", {.scalable = false, .write_buffer_flush = true}},
                      Kind{"first_stage", {.scalable = true}},
                      Kind{"first_stage_caching", {.scalable = true, .caching_mode = true}},
                      Kind{"second_stage", {.scalable = true, .first_stage = false}},
                      Kind{"second_stage_caching", {.scalable = true, .first_stage = false, .caching_mode = true}},
                      Kind{"esrtps", {.scalable = true, .enhanced_set_root = true}}),
    [](const auto& kind) { return kind.param.name; });

}  // namespace
}  // namespace causeway::iommu::vtd
