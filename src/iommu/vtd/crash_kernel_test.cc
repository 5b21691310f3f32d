// A kernel booted after a crash, with translation on: it copies what its devices are translated by, and each of them keeps that
// until it has a driver again (spec 3.6).
#include <gtest/gtest.h>

#include <cstring>

#include "iommu/vtd/testing/dma.h"

namespace causeway::iommu::vtd {
namespace {

using testing::EngineDma;
using testing::System;

class CrashKernel : public ::testing::TestWithParam<bool> {
 protected:
  static constexpr Bdf kNic{0, 1, 0};
  static constexpr Bdf kOther{0, 2, 0};
  static constexpr uint64_t kData = 0x100000;

  static System::Options options() {
    machine::DeviceSpec nic = testing::engine(1);
    nic.pasid_bits = 10;
    return {.iommus = {{.scalable = GetParam()}}, .devices = {nic, testing::engine(2)}};
  }
  // Two devices are translated; then the kernel crashes.
  void crash() {
    Device& other = system.probe(kOther);
    Device& nic = system.probe(kNic);
    Domain& domain = *nic.group().default_domain();
    must(domain.map(Iova(kData), page, kPageSize, kRead | kWrite));
    EngineDma dma(system, kNic, domain, rings);
    EXPECT_TRUE(dma.copy(kData, kData + 512, 64));
    ids = {VtdDevice::of(other).id, VtdDevice::of(nic).id};
    system.hand_over(nic, domain);  // so that its memory is nobody else's in the next kernel
    system.hand_over(other, *other.group().default_domain());
    system.commit();
    system.options().vtd.crash_kernel = true;
    system.options().vtd.scalable = GetParam();
    system.crash();
  }

  log::Capture quiet;
  System system{options()};
  PhysAddr page = system.page(), rings = system.page();
  std::vector<DomainId> ids;  // that the crashed kernel had given out
  AttachHandle handle;
};

// Every id that the hardware has cached something under, and no other: of legacy contexts, or of the entries in the crashed
// kernel's PASID tables.
TEST_P(CrashKernel, KeepsTheIdsThatAreInUseAndNoOthers) {
  crash();
  for (DomainId id : ids) EXPECT_TRUE(system.unit().ids().is_taken(id)) << static_cast<unsigned>(id);
  EXPECT_EQ(system.unit().ids().taken(), ids.size());
}

// Spec scenario 28: nothing is added to a copied context, and the first attach takes it away, and what is cached of it.
TEST_P(CrashKernel, ACopiedContextIsDroppedByTheFirstAttachAlone) {
  crash();
  EngineDma old(system, kNic, rings);
  EXPECT_TRUE(old.copy(kData, kData + 512, 64));
  Device& nic = system.probe(kNic);
  EXPECT_TRUE(nic.attach_deferred());
  EXPECT_TRUE(VtdDevice::of(nic).is_copied());
  EXPECT_TRUE(old.copy(kData, kData + 512, 64)) << "probing changes nothing";
  if (GetParam()) {
    auto space = must(system.vtd().alloc_paging(nic, DomainType::kUnmanaged, kAllocPasid));
    EXPECT_EQ(error_of(nic.group().attach_pasid(*space, 9, &handle)), EBUSY);
  }
  EXPECT_TRUE(old.copy(kData, kData + 512, 64));
  EXPECT_EQ(system.faults(), 0u) << system.all_status();
  EXPECT_EQ(system.reports(), 0u) << system.all_status();

  // Its driver stops it and maps memory of its own.
  system.function(kNic).set_bus_master(false);
  must(nic.group().attach_deferred(nic));
  EXPECT_FALSE(VtdDevice::of(nic).is_copied());
  EXPECT_TRUE(system.unit().root().is_copied(kOther));
  Domain& domain = *nic.group().default_domain();
  const PhysAddr own = system.page(), own_rings = system.page();
  must(domain.map(Iova(kData), own, kPageSize, kRead | kWrite));
  EngineDma dma(system, kNic, domain, own_rings);
  const uint64_t value = 0x5a5a;
  std::memcpy(system.at(own), &value, sizeof value);
  EXPECT_TRUE(dma.copy(kData, kData + 512, 64));
  uint64_t found = 0;
  std::memcpy(&found, system.at(own + 512), sizeof found);
  EXPECT_EQ(found, value) << "through what was cached of the old tables";
  if (GetParam()) {
    auto space = must(system.vtd().alloc_paging(nic, DomainType::kUnmanaged, kAllocPasid));
    EXPECT_EQ(error_of(nic.group().attach_pasid(*space, 9, &handle)), 0);
    nic.group().detach_pasid(9);
  }
  EXPECT_EQ(system.faults(), 0u) << system.all_status();
  EXPECT_EQ(system.reports(), 0u) << system.all_status();
  EXPECT_EQ(system.number("iommu0.te_off_transitions"), 0u);
}

// The negative control: the first attach without the flushes.
TEST_P(CrashKernel, WithoutTheFlushesTheOldTablesGoOn) {
  crash();
  EngineDma old(system, kNic, rings);
  EXPECT_TRUE(old.copy(kData, kData + 512, 64));
  Device& nic = system.probe(kNic);
  system.function(kNic).set_bus_master(false);
  system.vtd().set_faults({.left_out = 1u << hw::vtd::kContextCache | 1u << hw::vtd::kPasidCache});
  must(nic.group().attach_deferred(nic));
  Domain& domain = *nic.group().default_domain();
  const PhysAddr own = system.page();
  must(domain.map(Iova(EngineDma::kRings), rings, kPageSize, kRead | kWrite));
  must(domain.map(Iova(kData), own, kPageSize, kRead | kWrite));
  system.function(kNic).set_bus_master(true);
  for (int i = 0; i < 2; ++i) EXPECT_TRUE(old.copy(kData, kData + 512, 64));
  EXPECT_GT(system.reports(), 0u) << system.all_status();
}

INSTANTIATE_TEST_SUITE_P(Modes, CrashKernel, ::testing::Bool(),
                         [](const auto& mode) { return mode.param ? "Scalable" : "Legacy"; });

}  // namespace
}  // namespace causeway::iommu::vtd
