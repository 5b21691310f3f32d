// Devices that keep translations themselves (ATS): what is unmapped goes out of their TLBs too, and what is handed over stays in.
#include <gtest/gtest.h>

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

class DeviceTlbTest : public ::testing::TestWithParam<Kind> {
 protected:
  static constexpr Bdf kNic{0, 1, 0};
  static constexpr Bdf kGone{0, 9, 0};
  static constexpr uint64_t kFrom = 0x100000;
  static constexpr uint64_t kTo = 0x200000;

  static machine::DeviceSpec device() {
    machine::DeviceSpec spec = testing::engine(1);
    spec.ats = true;
    return spec;
  }
  // Remaps the source to another page each time, and copies from there.
  void expect_that_each_page_is_found(EngineDma& dma, Domain& domain) {
    for (uint64_t round = 1; round < 6; ++round) {
      const PhysAddr page = round % 2 == 0 ? one : two;
      map(domain, kFrom, page);
      system.fill(page, round);
      EXPECT_TRUE(dma.copy(kFrom, kTo, 64));
      EXPECT_TRUE(dma.copy(kFrom, kTo, 64));
      EXPECT_EQ(system.word(to), round);
      unmap(domain, kFrom);
      EXPECT_FALSE(dma.copy(kFrom, kTo, 64));
    }
  }
  void expect_no_reports() { EXPECT_EQ(system.reports(), 0u) << system.all_status(); }

  log::Capture quiet;
  System system{{.iommus = {GetParam().spec}, .devices = {device(), testing::engine(2)}}};
  PhysAddr one = system.page(), two = system.page(), to = system.page(), rings = system.page();
};

TEST_P(DeviceTlbTest, WhatIsUnmappedIsNotKept) {
  Device& nic = system.probe(kNic);
  ASSERT_TRUE(VtdDevice::of(nic).ats_on);
  Domain& domain = *nic.group().default_domain();
  EngineDma dma(system, kNic, domain, rings);
  map(domain, kTo, to);
  expect_that_each_page_is_found(dma, domain);
  expect_no_reports();
}

// What proves that the device keeps anything: a second access does not come to the unit.
TEST_P(DeviceTlbTest, WhatIsKeptIsNotAskedForAgain) {
  Device& nic = system.probe(kNic);
  Domain& domain = *nic.group().default_domain();
  EngineDma dma(system, kNic, domain, rings);
  map(domain, kFrom, one);
  map(domain, kTo, to);
  EXPECT_TRUE(dma.copy(kFrom, kTo, 64));
  // The unit's own cache is emptied, so whoever asks is a miss.
  must(system.unit().flush().flush_all(system.unit().mode()));
  const uint64_t misses = system.number("iommu0.iotlb_misses");
  EXPECT_TRUE(dma.copy(kFrom, kTo, 64));
  EXPECT_EQ(system.number("iommu0.iotlb_misses"), misses);
  expect_no_reports();
}

// Negative control: the unit is told, the device is not.
TEST_P(DeviceTlbTest, AFlushThatDoesNotReachTheDeviceIsNoticed) {
  system.vtd().set_faults({.left_out = 1u << hw::vtd::kDeviceTlb | 1u << hw::vtd::kPasidDeviceTlb});
  Device& nic = system.probe(kNic);
  Domain& domain = *nic.group().default_domain();
  EngineDma dma(system, kNic, domain, rings);
  map(domain, kTo, to);
  map(domain, kFrom, one);
  system.fill(one, 1);
  system.fill(two, 2);
  EXPECT_TRUE(dma.copy(kFrom, kTo, 64));
  unmap(domain, kFrom);
  map(domain, kFrom, two);
  EXPECT_TRUE(dma.copy(kFrom, kTo, 64));
  EXPECT_EQ(system.word(to), 1u) << "the old page";
  EXPECT_GT(system.number("iommu0.stale_translation"), 0u);
}

// What a domain switch leaves in the device would be the old domain's memory.
TEST_P(DeviceTlbTest, ADomainIsLeftWithoutARest) {
  Device& nic = system.probe(kNic);
  Domain& old = *nic.group().default_domain();
  EngineDma dma(system, kNic, old, rings);
  map(old, kTo, to);
  map(old, kFrom, one);
  EXPECT_TRUE(dma.copy(kFrom, kTo, 64));
  auto next = must(system.vtd().alloc_paging(nic, DomainType::kUnmanaged, 0));
  must(next->map(Iova(EngineDma::kRings), rings, kPageSize, kRead | kWrite));
  must(next->map(Iova(kTo), to, kPageSize, kRead | kWrite));
  must(next->map(Iova(kFrom), two, kPageSize, kRead | kWrite));
  for (uint64_t round = 0; round < 4; ++round) {
    system.fill(one, 10 + round);
    system.fill(two, 20 + round);
    must(nic.group().attach(*next));
    EXPECT_TRUE(VtdDevice::of(nic).ats_on);
    EXPECT_TRUE(dma.copy(kFrom, kTo, 64));
    EXPECT_EQ(system.word(to), 20 + round);
    nic.group().detach();
    EXPECT_TRUE(dma.copy(kFrom, kTo, 64));
    EXPECT_EQ(system.word(to), 10 + round);
  }
  expect_no_reports();
}

// Spec 3.2: a device asks only while there is an entry that lets it.
TEST_P(DeviceTlbTest, AtsIsOnOnlyWhileTheEntryIsThere) {
  DeviceInfo info = system.info(kNic);
  std::vector<std::pair<bool, bool>> switches;  // what to; was the entry there?
  info.set_ats = [&, set_ats = info.set_ats](bool on) {
    auto slot = system.unit().root().find(kNic);
    switches.emplace_back(on, slot && slot->present());
    set_ats(on);
  };
  Device& nic = *must(system.core().probe_device(std::move(info)));
  auto next = must(system.vtd().alloc_paging(nic, DomainType::kUnmanaged, 0));
  must(nic.group().attach(*next));
  nic.group().detach();
  system.core().release_device(nic);
  for (auto [on, present] : switches) EXPECT_TRUE(present) << on;
  // Legacy entries come and go with domains; in scalable mode ATS stays on from the probe to the release.
  EXPECT_EQ(switches.size(), GetParam().spec.scalable ? 2u : 6u);
  EXPECT_FALSE(switches.back().first);
  expect_no_reports();
}

// Spec scenario 20: a device that has gone does not answer; the others lose what they kept.
TEST_P(DeviceTlbTest, ADeviceThatIsGoneIsNotInTheOthersWay) {
  Device& nic = system.probe(kNic);
  Device& gone = *must(system.core().probe_device({.bdf = kGone, .name = "0000:00:09.0", .ats = true}));
  auto shared = must(system.vtd().alloc_paging(nic, DomainType::kUnmanaged, 0));
  must(nic.group().attach(*shared));
  must(gone.group().attach(*shared));
  EngineDma dma(system, kNic, *shared, rings);
  map(*shared, kTo, to);
  const uint64_t before = system.unit().invalidator().stats().timeouts;
  expect_that_each_page_is_found(dma, *shared);
  EXPECT_GE(system.unit().invalidator().stats().timeouts, before + 5);
  EXPECT_EQ(system.unit().invalidator().stats().errors, 0u);
  expect_no_reports();
  nic.group().detach();
  gone.group().detach();
}

// Spec scenario 65 and section 11, 21: through a live update the device goes on with what it keeps.
TEST_P(DeviceTlbTest, WhatIsKeptIsKeptThroughALiveUpdate) {
  Device& old = system.probe(kNic);
  Domain& domain = *old.group().default_domain();
  map(domain, kFrom, one);
  map(domain, kTo, to);
  {
    EngineDma dma(system, kNic, domain, rings);
    EXPECT_TRUE(dma.copy(kFrom, kTo, 64));
  }
  system.hand_over(old, domain);
  const uint64_t misses = system.number("iommu0.iotlb_misses");
  system.kexec();
  EngineDma dma(system, kNic, rings);
  system.fill(one, 2);
  EXPECT_TRUE(dma.copy(kFrom, kTo, 64));
  Device& nic = system.probe(kNic);
  ASSERT_TRUE(VtdDevice::of(nic).ats_on);
  system.fill(one, 3);
  EXPECT_TRUE(dma.copy(kFrom, kTo, 64));
  EXPECT_EQ(system.word(to), 3u);
  EXPECT_EQ(system.number("iommu0.iotlb_misses"), misses) << "somebody has emptied the device's TLB, or disabled it";
  EXPECT_EQ(system.faults(), 0u);
  // And the new kernel knows that it has to tell the device.
  Domain& restored = *nic.group().default_domain();
  unmap(restored, kFrom);
  EXPECT_FALSE(dma.copy(kFrom, kTo, 64));
  expect_no_reports();
}

// Spec scenario 82, with ATS: a restore that fails at its last step leaves the device its TLB.
TEST_P(DeviceTlbTest, AFailedRestoreLeavesTheDeviceItsTlb) {
  if (!has_points()) GTEST_SKIP();
  Device& old = system.probe(kNic);
  Domain& domain = *old.group().default_domain();
  map(domain, kFrom, one);
  map(domain, kTo, to);
  {
    EngineDma dma(system, kNic, domain, rings);
    EXPECT_TRUE(dma.copy(kFrom, kTo, 64));
  }
  system.hand_over(old, domain);
  system.commit();
  const uint64_t misses = system.number("iommu0.iotlb_misses");
  for (const char* step : {"iommu.vtd.restore.id", "iommu.vtd.restore.tags", "iommu.vtd.restore.ats"}) {
    SCOPED_TRACE(step);
    system.crash();
    {
      FailingStep failing(step);
      EXPECT_EQ(error_of(system.try_probe(kNic)), EIO);
      EXPECT_GT(failing.hits(), 0u);
    }
    EngineDma dma(system, kNic, rings);
    EXPECT_TRUE(dma.copy(kFrom, kTo, 64));
    EXPECT_EQ(system.number("iommu0.iotlb_misses"), misses);
  }
  system.crash();
  EXPECT_EQ(error_of(system.try_probe(kNic)), 0);
  EXPECT_EQ(system.faults(), 0u);
  expect_no_reports();
}

INSTANTIATE_TEST_SUITE_P(Units, DeviceTlbTest,
                         ::testing::Values(Kind{"legacy", {.scalable = false}}, Kind{"first_stage", {.scalable = true}},
                                           Kind{"second_stage", {.scalable = true, .first_stage = false}},
                                           Kind{"caching", {.scalable = true, .caching_mode = true}}),
                         [](const auto& kind) { return kind.param.name; });

}  // namespace
}  // namespace causeway::iommu::vtd
