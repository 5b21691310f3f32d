// Units of several kinds beside each other, and what a unit has only so many of.
#include <gtest/gtest.h>

#include "iommu/vtd/testing/dma.h"

namespace causeway::iommu::vtd {
namespace {

using testing::engine;
using testing::EngineDma;
using testing::System;

constexpr Bdf kNic{0, 1, 0};
constexpr Bdf kOther{0, 2, 0};

// Spec scenario 24: ids 0 and 1 are nobody's.
TEST(VtdUnits, TheFifteenthDomainOfSixteenIdsIsRefused) {
  log::Capture quiet;
  System system({.iommus = {{.scalable = true, .domains = 16}}});
  std::vector<Device*> devices;
  for (unsigned i = 1; i <= 14; ++i) {
    DeviceInfo info{.bdf = Bdf(3, i, 0), .name = fmt::format("device {}", i)};
    devices.push_back(*system.core().probe_device(info));
    EXPECT_NE(devices.back(), nullptr);
  }
  EXPECT_EQ(error_of(system.core().probe_device({.bdf = Bdf(3, 15, 0), .name = "device 15"})), ENOSPC);
  system.core().release_device(*devices.front());
  EXPECT_EQ(error_of(system.core().probe_device({.bdf = Bdf(3, 15, 0), .name = "device 15"})), 0);
  EXPECT_EQ(system.reports(), 0u) << system.all_status();
}

// Spec scenario 26.
TEST(VtdUnits, AnIncompatibleDomainIsRefusedAndTheOldOneStays) {
  log::Capture quiet;
  System system({.iommus = {{.scalable = true, .scope = {kNic}}, {.scalable = false}}});
  Device& nic = system.probe(kNic);
  Device& other = system.probe(kOther);
  ASSERT_NE(&nic.unit(), &other.unit());
  auto first_stage = must(system.vtd().alloc_paging(nic, DomainType::kUnmanaged, 0));
  Domain* before = other.group().domain();
  EXPECT_EQ(error_of(other.group().attach(*first_stage)), EINVAL);
  EXPECT_EQ(other.group().domain(), before);
  EngineDma dma(system, kOther, *before, system.page());
  const PhysAddr page = system.page();
  must(before->map(Iova(0x100000), page, kPageSize, kRead | kWrite));
  EXPECT_TRUE(dma.copy(0x100000, 0x100200, 64));
  EXPECT_EQ(system.reports(), 0u) << system.all_status();
}

// Spec scenario 75: a unit without preserved devices stops, the other one never does.
TEST(VtdUnits, OnlyUnitsWithPreservedDevicesGoOnTranslating) {
  log::Capture quiet;
  System system({.iommus = {{.scalable = true, .scope = {kNic}}, {.scalable = true}}});
  Device& nic = system.probe(kNic);
  (void)system.probe(kOther);
  system.hand_over(nic, *nic.group().default_domain());
  system.kexec();
  EXPECT_TRUE(system.unit(0).is_adopted());
  EXPECT_FALSE(system.unit(1).is_adopted());
  EXPECT_EQ(system.number("iommu0.te_off_transitions"), 0u);
  EXPECT_EQ(system.number("iommu1.te_off_transitions"), 1u);
  EXPECT_EQ(system.status("iommu1.enabled"), "1");
  EXPECT_EQ(error_of(system.try_probe(kOther)), 0);
  EXPECT_EQ(system.reports(), 0u) << system.all_status();
}

// Spec scenario 74: two devices, one domain, one id.
TEST(VtdUnits, DevicesOfOneDomainShareItAfterwardsToo) {
  log::Capture quiet;
  System system({.iommus = {{.scalable = true}}});
  Device& nic = system.probe(kNic);
  Device& other = system.probe(kOther);
  auto shared = must(system.vtd().alloc_paging(nic, DomainType::kUnmanaged, 0));
  must(nic.group().attach(*shared));
  must(other.group().attach(*shared));
  system.hand_over(nic, *shared);
  system.hand_over(other, *shared);
  system.kexec();
  System::bury(std::move(shared));  // its kernel is gone, and gives nothing back
  Device& first = system.probe(kNic);
  Device& second = system.probe(kOther);
  EXPECT_EQ(first.group().domain(), second.group().domain());
  EXPECT_EQ(VtdDevice::of(first).id, VtdDevice::of(second).id);
  EXPECT_EQ(system.unit().ids().taken(), 1u);
  // Detached, it stays taken.
  must(first.group().replace(system.vtd().blocked_domain()));
  must(second.group().replace(system.vtd().blocked_domain()));
  EXPECT_EQ(system.unit().ids().taken(), 1u);
  EXPECT_EQ(system.reports(), 0u) << system.all_status();
}

// Spec scenario 29: what a unit that does not snoop reads has been written back before.
TEST(VtdUnits, WithoutCoherenceEveryWriteIsFlushed) {
  for (bool scalable : {false, true}) {
    log::Capture quiet;
    machine::LineFlushes lines;
    System* running = nullptr;
    VtdOptions options;
    options.flush_cache = [&](const void* from, uint64_t bytes) {
      lines.flushed(running->platform().direct_map().to_phys(from), bytes);
    };
    System::Options machine{.iommus = {{.scalable = scalable, .coherent = false}}, .vtd = options, .lines = &lines};
    System system(machine, &running);
    Device& nic = system.probe(kNic);
    Domain& domain = *nic.group().default_domain();
    const PhysAddr page = system.page();
    must(domain.map(Iova(0x100000), page, kPageSize, kRead | kWrite));
    EngineDma dma(system, kNic, domain, system.page());
    EXPECT_TRUE(dma.copy(0x100000, 0x100200, 64));
    EXPECT_EQ(system.reports(), 0u) << system.all_status();
  }
}

// Spec scenario 23, and that what was cached before is tracked too.
TEST(VtdUnits, DirtyPagesAreTrackedWhileTheyAreToBe) {
  log::Capture quiet;
  System system({.iommus = {{.scalable = true}}});
  Device& nic = system.probe(kNic);
  auto domain = must(system.vtd().alloc_paging(nic, DomainType::kUnmanaged, kDirtyTracking));
  must(nic.group().attach(*domain));
  const PhysAddr page = system.page();
  must(domain->map(Iova(0x100000), page, kPageSize, kRead | kWrite));
  EngineDma dma(system, kNic, *domain, system.page());
  EXPECT_TRUE(dma.copy(0x100000, 0x100200, 64));
  struct Count final : DirtyBitmap {
    void record(Iova, uint64_t size) override { bytes += size; }
    uint64_t bytes = 0;
  };
  auto dirty = [&] {
    Count count;
    Gather gather;
    must(domain->read_and_clear_dirty(Iova(0x100000), kPageSize, DirtyClear::kYes, &count, gather));
    domain->sync(gather);
    return count.bytes;
  };
  EXPECT_EQ(dirty(), 0u);
  must(domain->set_dirty_tracking(true));
  EXPECT_TRUE(dma.copy(0x100000, 0x100200, 64));
  EXPECT_EQ(dirty(), kPageSize);
  EXPECT_EQ(dirty(), 0u);
  EXPECT_TRUE(dma.copy(0x100000, 0x100200, 64));
  EXPECT_EQ(dirty(), kPageSize) << "the clear was not flushed";
  must(domain->set_dirty_tracking(false));
  EXPECT_EQ(system.reports(), 0u) << system.all_status();
  system.function(kNic).set_bus_master(false);
  nic.group().detach();
}

TEST(VtdUnits, AddressSpacesOfADeviceAreAttachedAndReplaced) {
  log::Capture quiet;
  System system({.iommus = {{.scalable = true}}});
  Device& device = *must(system.core().probe_device(
      {.bdf = Bdf(4, 0, 0), .name = "0000:04:00.0", .pasid_bits = 10}));
  VtdDevice& data = VtdDevice::of(device);
  EXPECT_EQ(device.max_pasids(), 1024u);
  auto one = must(system.vtd().alloc_paging(device, DomainType::kUnmanaged, kAllocPasid));
  auto two = must(system.vtd().alloc_paging(device, DomainType::kUnmanaged, kAllocPasid));
  AttachHandle first, second;
  must(device.group().attach_pasid(*one, 77, &first));
  EXPECT_TRUE(data.pasids->present(77));
  EXPECT_EQ(error_of(device.group().attach_pasid(*two, 77, &second)), EBUSY);
  must(device.group().replace_pasid(*two, 77, &second));
  EXPECT_EQ(data.pasids->get(77).first_stage, two->page_table()->root().top);
  // Spec scenario 79.
  must(system.live_update().preserve_domain(Carrier::kStanding, *device.group().default_domain()));
  EXPECT_EQ(error_of(system.live_update().preserve_device(Carrier::kStanding, *device.group().default_domain(), device, 0)),
            EOPNOTSUPP);
  device.group().detach_pasid(77);
  EXPECT_FALSE(data.pasids->present(77));
  EXPECT_EQ(error_of(system.live_update().preserve_device(Carrier::kStanding, *device.group().default_domain(), device, 0)),
            0);
  EXPECT_EQ(system.reports(), 0u) << system.all_status();
}

TEST(VtdUnits, FlagsThatTheHardwareCannotHonourAreRefused) {
  log::Capture quiet;
  System system({.iommus = {{.scalable = false}}});
  Device& nic = system.probe(kNic);
  EXPECT_EQ(error_of(system.vtd().alloc_paging(nic, DomainType::kUnmanaged, kDirtyTracking)), EOPNOTSUPP);
  EXPECT_EQ(error_of(system.vtd().alloc_paging(nic, DomainType::kUnmanaged, kNestParent)), EOPNOTSUPP);
  EXPECT_EQ(error_of(system.vtd().alloc_paging(nic, DomainType::kUnmanaged, kFaultIdValid)), EOPNOTSUPP);
  EXPECT_EQ(error_of(nic.group().default_domain()->set_dirty_tracking(true)), EOPNOTSUPP);
}

}  // namespace
}  // namespace causeway::iommu::vtd
