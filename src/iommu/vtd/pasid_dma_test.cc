// Address spaces of one device: requests with a PASID go through its table, and through no other.
#include <gtest/gtest.h>

#include <cstring>

#include "iommu/vtd/testing/dma.h"

namespace causeway::iommu::vtd {
namespace {

using testing::EngineDma;
using testing::System;
using testing::map;
using testing::unmap;
namespace regs = hw::dma_engine;
using regs::TransferStatus;

struct Kind {
  const char* name;
  machine::IommuSpec spec;
  bool ats = false;
};
void PrintTo(const Kind& kind, std::ostream* out) { *out << kind.name; }

class PasidDmaTest : public ::testing::TestWithParam<Kind> {
 protected:
  static constexpr Bdf kNic{0, 1, 0};
  static constexpr Pasid kFirst = 5;
  static constexpr Pasid kSecond = 6;
  static constexpr uint64_t kFrom = 0x100000;
  static constexpr uint64_t kTo = 0x200000;

  static machine::DeviceSpec device() {
    machine::DeviceSpec spec = testing::engine(1);
    spec.ats = GetParam().ats;
    spec.pasid_bits = 10;
    return spec;
  }
  std::unique_ptr<Domain> make_domain(Device& nic, PhysAddr from) {
    auto domain = must(system.vtd().alloc_paging(nic, DomainType::kUnmanaged, kAllocPasid));
    map(*domain, kFrom, from);
    map(*domain, kTo, to);
    return domain;
  }
  static bool copies(EngineDma& dma, Pasid pasid) {
    regs::Descriptor descriptor = machine::testing::copy(kFrom, kTo, 64);
    descriptor.flags = regs::kWithPasid;
    descriptor.pasid = static_cast<uint16_t>(pasid);
    return dma.driver().run(regs::kWorkQueue, descriptor).status == TransferStatus::kOk;
  }
  // The word at the source, as the device finds it in that address space; 0: it was refused.
  uint64_t read_by(EngineDma& dma, Pasid pasid) {
    system.fill(to, 0);
    if (!copies(dma, pasid)) return 0;
    uint64_t value;
    std::memcpy(&value, system.at(to), sizeof value);
    return value;
  }
  void expect_fault(EngineDma& dma, Pasid pasid, const char* reason) {
    EXPECT_FALSE(copies(dma, pasid));
    EXPECT_NE(system.all_status().find(fmt::format("pasid {}: reason {}", pasid, reason)), std::string::npos)
        << system.all_status();
  }
  void expect_no_reports() { EXPECT_EQ(system.reports(), 0u) << system.all_status(); }

  log::Capture quiet;
  System system{{.iommus = {GetParam().spec}, .devices = {device(), testing::engine(2)}}};
  PhysAddr one = system.page(), two = system.page(), to = system.page(), rings = system.page();
};

TEST_P(PasidDmaTest, EachAddressSpaceHasItsOwnTable) {
  Device& nic = system.probe(kNic);
  Domain& own = *nic.group().default_domain();
  EngineDma dma(system, kNic, own, rings);
  map(own, kTo, to);
  auto first = make_domain(nic, one), second = make_domain(nic, two);
  must(nic.group().attach_pasid(*first, kFirst));
  must(nic.group().attach_pasid(*second, kSecond));
  system.fill(one, 11);
  system.fill(two, 22);
  EXPECT_EQ(read_by(dma, kFirst), 11u);
  EXPECT_EQ(read_by(dma, kSecond), 22u);
  EXPECT_FALSE(dma.copy(kFrom, kTo, 64)) << "what has no PASID has nothing there";
  // One of them changes; the others do not.
  unmap(*first, kFrom);
  EXPECT_EQ(read_by(dma, kFirst), 0u);
  EXPECT_EQ(read_by(dma, kSecond), 22u);
  map(*first, kFrom, two);
  EXPECT_EQ(read_by(dma, kFirst), 22u);
  expect_no_reports();
  nic.group().detach_pasid(kFirst);
  nic.group().detach_pasid(kSecond);
}

// Spec scenario 22: 0x59, and what was cached goes with the entry.
TEST_P(PasidDmaTest, DetachedItIsBlocked) {
  Device& nic = system.probe(kNic);
  EngineDma dma(system, kNic, *nic.group().default_domain(), rings);
  auto first = make_domain(nic, one), second = make_domain(nic, two);
  system.fill(one, 11);
  system.fill(two, 22);
  for (int round = 0; round < 3; ++round) {
    Domain& domain = round % 2 == 0 ? *first : *second;
    must(nic.group().attach_pasid(domain, kFirst));
    EXPECT_EQ(read_by(dma, kFirst), round % 2 == 0 ? 11u : 22u);
    nic.group().detach_pasid(kFirst);
    expect_fault(dma, kFirst, "0x59");
  }
  expect_no_reports();
}

// Spec scenario 22: the other errors.
TEST_P(PasidDmaTest, APasidThatNobodyHasIsAFault) {
  Device& nic = system.probe(kNic);
  EngineDma dma(system, kNic, *nic.group().default_domain(), rings);
  expect_fault(dma, 0x9000, "0x46");  // beyond the table, which has 32768 whatever the device says
  expect_fault(dma, 0x1000, "0x51");
  expect_no_reports();
}
TEST_P(PasidDmaTest, APasidOfADeviceThatMayHaveNoneIsAFault) {
  DeviceInfo info = system.info(kNic);
  info.pasid_bits = 0;
  Device& nic = *must(system.core().probe_device(std::move(info)));
  EXPECT_EQ(nic.max_pasids(), 0u);
  EngineDma dma(system, kNic, *nic.group().default_domain(), rings);
  expect_fault(dma, kFirst, "0x45");
  auto domain = make_domain(nic, one);
  EXPECT_EQ(error_of(nic.group().attach_pasid(*domain, kFirst)), EINVAL);
  expect_no_reports();
}

// Spec scenario 28: in the middle of a replacement there is no entry.
TEST_P(PasidDmaTest, AReplacementIsOldThenNothingThenNew) {
  Device& nic = system.probe(kNic);
  EngineDma dma(system, kNic, *nic.group().default_domain(), rings);
  auto first = make_domain(nic, one), second = make_domain(nic, two);
  system.fill(one, 11);
  system.fill(two, 22);
  AttachHandle old, next;
  must(nic.group().attach_pasid(*first, kFirst, &old));
  EXPECT_EQ(read_by(dma, kFirst), 11u);
  unsigned looks = 0;
  if (has_points()) {
    must(point::on_hit("iommu.vtd.attach_pasid.id", [&]() -> Status {
      ++looks;
      expect_fault(dma, kFirst, "0x59");
      return {};
    }));
  }
  must(nic.group().replace_pasid(*second, kFirst, &next));
  point::disarm_all();
  EXPECT_EQ(looks, has_points() ? 1u : 0u);
  EXPECT_EQ(read_by(dma, kFirst), 22u);
  expect_no_reports();
  nic.group().detach_pasid(kFirst);
}

// Spec scenario 51, the driver's half.
TEST_P(PasidDmaTest, AReplacementThatFailsLeavesTheOldOne) {
  if (!has_points()) GTEST_SKIP();
  Device& nic = system.probe(kNic);
  EngineDma dma(system, kNic, *nic.group().default_domain(), rings);
  auto first = make_domain(nic, one), second = make_domain(nic, two);
  system.fill(one, 11);
  AttachHandle old, next;
  must(nic.group().attach_pasid(*first, kFirst, &old));
  for (const char* step : {"iommu.vtd.attach_pasid.id", "iommu.vtd.attach_pasid.entry"}) {
    bool failed = false;
    must(point::on_hit(step, [&]() -> Status {
      if (std::exchange(failed, true)) return {};
      return fail(ENOMEM, "made to fail");
    }));
    EXPECT_EQ(error_of(nic.group().replace_pasid(*second, kFirst, &next)), ENOMEM);
    point::disarm_all();
    EXPECT_TRUE(failed);
    EXPECT_EQ(read_by(dma, kFirst), 11u);
  }
  expect_no_reports();
  nic.group().detach_pasid(kFirst);
}

// Negative control.
TEST_P(PasidDmaTest, AMissingFlushIsNoticed) {
  system.vtd().set_faults({.skip_flush = !GetParam().ats,
                           .left_out = GetParam().ats ? 1u << hw::vtd::kDeviceTlb | 1u << hw::vtd::kPasidDeviceTlb : 0});
  Device& nic = system.probe(kNic);
  EngineDma dma(system, kNic, *nic.group().default_domain(), rings);
  auto first = make_domain(nic, one);
  must(nic.group().attach_pasid(*first, kFirst));
  system.fill(one, 11);
  system.fill(two, 22);
  EXPECT_EQ(read_by(dma, kFirst), 11u);
  unmap(*first, kFrom);
  map(*first, kFrom, two);
  EXPECT_EQ(read_by(dma, kFirst), 11u);
  EXPECT_GT(system.number("iommu0.stale_translation"), 0u);
  system.vtd().set_faults({});
  nic.group().detach_pasid(kFirst);
}

// Spec scenario 79, the other way round: who is handed over gets no address space any more, and its DMA goes on.
TEST_P(PasidDmaTest, OfADeviceThatIsHandedOverNoneIsAttached) {
  Device& nic = system.probe(kNic);
  Domain& own = *nic.group().default_domain();
  EngineDma dma(system, kNic, own, rings);
  map(own, kTo, to);
  auto first = make_domain(nic, one);
  must(nic.group().attach_pasid(*first, kFirst));
  must(system.live_update().preserve_domain(Carrier::kStanding, own));
  EXPECT_EQ(error_of(system.live_update().preserve_device(Carrier::kStanding, own, nic, 0)), EOPNOTSUPP);
  nic.group().detach_pasid(kFirst);
  must(system.live_update().preserve_device(Carrier::kStanding, own, nic, 0));
  EXPECT_EQ(error_of(nic.group().attach_pasid(*first, kFirst)), EBUSY);
  expect_fault(dma, kFirst, "0x59");
  system.commit();
  system.crash();
  System::bury(std::move(first));  // its kernel is gone, and gives nothing back
  // The next kernel: nobody has attached anything, and the table is the one handed over.
  EngineDma again(system, kNic, rings);
  EXPECT_TRUE(again.copy(kTo, kTo + 512, 64));
  expect_fault(again, kFirst, "0x59");
  Device& restored = system.probe(kNic);
  auto fresh = make_domain(restored, two);
  system.fill(two, 33);
  must(restored.group().attach_pasid(*fresh, kFirst));
  EXPECT_EQ(read_by(again, kFirst), 33u);
  EXPECT_TRUE(again.copy(kTo, kTo + 512, 64));
  restored.group().detach_pasid(kFirst);
  expect_no_reports();
}

INSTANTIATE_TEST_SUITE_P(Units, PasidDmaTest,
                         ::testing::Values(Kind{"first_stage", {.scalable = true}},
                                           Kind{"second_stage", {.scalable = true, .first_stage = false}},
                                           Kind{"first_stage_ats", {.scalable = true}, true},
                                           Kind{"second_stage_ats", {.scalable = true, .first_stage = false}, true},
                                           Kind{"caching", {.scalable = true, .caching_mode = true}}),
                         [](const auto& kind) { return kind.param.name; });

}  // namespace
}  // namespace causeway::iommu::vtd
