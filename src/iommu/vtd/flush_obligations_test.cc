// What the driver must have the hardware forget (spec 2.5), each with its negative control: the same without the invalidation,
// which the device or the model notices.
#include <gtest/gtest.h>

#include <cstring>

#include "iommu/vtd/testing/dma.h"

namespace causeway::iommu::vtd {
namespace {

using testing::EngineDma;
using testing::System;
using testing::map;

constexpr uint32_t left_out(std::initializer_list<unsigned> types) {
  uint32_t mask = 0;
  for (unsigned type : types) mask |= 1u << type;
  return mask;
}
constexpr uint32_t kEntries = left_out({hw::vtd::kContextCache, hw::vtd::kPasidCache});
constexpr uint32_t kTranslations = left_out({hw::vtd::kIotlb, hw::vtd::kPasidIotlb});
constexpr uint32_t kDeviceTlbs = left_out({hw::vtd::kDeviceTlb, hw::vtd::kPasidDeviceTlb});

struct Kind {
  const char* name;
  machine::IommuSpec spec;
};
void PrintTo(const Kind& kind, std::ostream* out) { *out << kind.name; }

class FlushObligations : public ::testing::TestWithParam<Kind> {
 protected:
  static constexpr Bdf kNic{0, 1, 0};
  static constexpr uint64_t kData = 0x100000;

  void start(bool ats = false) {
    system.reset();
    machine::DeviceSpec nic = testing::engine(1);
    nic.ats = ats;
    system = std::make_unique<System>(System::Options{.iommus = {GetParam().spec}, .devices = {nic, testing::engine(2)}});
    page = system->page();
    other = system->page();
    rings = system->page();
  }
  // The device writes a number to kData: has it come to `where`, and without a word of the model? A device that is not
  // translated halts, and never answers.
  bool reaches(EngineDma& dma, PhysAddr where, uint64_t value) {
    dma.driver().post(testing::regs::kWorkQueue, machine::testing::fill(value, kData, 64));
    std::optional<testing::regs::Completion> done;
    (void)machine::testing::eventually([&] {
      done = dma.driver().poll(testing::regs::kWorkQueue);
      return done || system->faults() != faults;
    });
    return done && done->status == testing::regs::TransferStatus::kOk && system->word(where) == value;
  }
  // The device moves to a second domain, which has other memory at the same address.
  bool reaches_the_second_domain(uint32_t mask) {
    start();
    Device& nic = system->probe(kNic);
    map(*nic.group().default_domain(), kData, page);
    EngineDma dma(*system, kNic, *nic.group().default_domain(), rings);
    EXPECT_TRUE(reaches(dma, page, 1));
    auto second = must(system->vtd().alloc_paging(nic, DomainType::kUnmanaged, 0));
    map(*second, EngineDma::kRings, rings);
    map(*second, kData, other);
    system->vtd().set_faults({.left_out = mask});
    must(nic.group().replace(*second));
    bool reached = true;
    for (uint64_t value = 2; value < 5; ++value) reached = reaches(dma, other, value) && reached;
    // The graveyard is its place as long as the device is on it.
    System::bury(std::move(second));
    return reached && system->reports() == 0;
  }
  // The kernel dies and has handed nothing over; the next one makes tables of its own.
  bool reaches_under_a_new_root(uint32_t mask) {
    start();
    Device& nic = system->probe(kNic);
    map(*nic.group().default_domain(), kData, page);
    EngineDma old(*system, kNic, *nic.group().default_domain(), rings);
    EXPECT_TRUE(reaches(old, page, 1));
    system->function(kNic).set_bus_master(false);
    system->crash({.left_out = mask});
    faults = system->faults();
    other = system->page();
    rings = system->page();
    Device& again = system->probe(kNic);
    map(*again.group().default_domain(), kData, other);
    EngineDma dma(*system, kNic, *again.group().default_domain(), rings);
    bool reached = true;
    for (uint64_t value = 2; value < 5 && reached; ++value) reached = reaches(dma, other, value);
    return reached && system->reports() == 0;
  }

  log::Capture quiet;
  std::unique_ptr<System> system;
  PhysAddr page, other, rings;
  uint64_t faults = 0;
};

// Contexts in legacy mode, PASID entries in scalable mode.
TEST_P(FlushObligations, AnEntryThatIsTakenAwayIsForgotten) {
  EXPECT_TRUE(reaches_the_second_domain(0)) << system->all_status();
  EXPECT_FALSE(reaches_the_second_domain(kEntries));
}

// The second domain gets the id of the first one, which has become free.
TEST_P(FlushObligations, AnIdIsGivenAwayOnlyAfterItsTranslationsAreForgotten) {
  EXPECT_FALSE(reaches_the_second_domain(kTranslations));
  EXPECT_GT(system->number("iommu0.domain_id_shared"), 0u) << system->all_status();
}

TEST_P(FlushObligations, UnderANewRootNothingOfTheOldOneIsLeft) {
  EXPECT_TRUE(reaches_under_a_new_root(0)) << system->all_status();
  EXPECT_FALSE(reaches_under_a_new_root(left_out({hw::vtd::kContextCache})));
  if (GetParam().spec.scalable) {
    EXPECT_FALSE(reaches_under_a_new_root(left_out({hw::vtd::kPasidCache})));
  }
  EXPECT_FALSE(reaches_under_a_new_root(kTranslations));
}

// What a blocked device was refused is cached with caching mode, and not without.
TEST_P(FlushObligations, AnEntryThatWasNotPresentIsForgottenInCachingMode) {
  for (uint32_t mask : {0u, kEntries}) {
    start();
    Device& nic = system->probe(kNic);
    Domain& domain = *nic.group().default_domain();
    map(domain, kData, page);
    EngineDma dma(*system, kNic, domain, rings);
    ASSERT_TRUE(reaches(dma, page, 1));
    must(nic.group().replace(system->vtd().blocked_domain()));
    EXPECT_FALSE(reaches(dma, page, 2));
    system->vtd().set_faults({.left_out = mask});
    must(nic.group().replace(domain));
    faults = system->faults();
    // It has halted.
    dma.driver().reset();
    dma.driver().set_up(testing::regs::kWorkQueue, PhysAddr(EngineDma::kRings), 5);
    EXPECT_EQ(reaches(dma, page, 3), mask == 0 || !GetParam().spec.caching_mode) << mask << system->all_status();
    faults = 0;
  }
}

TEST_P(FlushObligations, WhatADeviceKeepsItselfIsForgotten) {
  if (!GetParam().spec.ats) GTEST_SKIP();
  for (uint32_t mask : {0u, kDeviceTlbs}) {
    start(/*ats=*/true);
    Domain& domain = *system->probe(kNic).group().default_domain();
    map(domain, kData, page);
    EngineDma dma(*system, kNic, domain, rings);
    ASSERT_TRUE(reaches(dma, page, 1));
    system->vtd().set_faults({.left_out = mask});
    Gather gather;
    ASSERT_EQ(domain.unmap(Iova(kData), kPageSize, gather), kPageSize);
    domain.sync(gather);
    map(domain, kData, other);
    EXPECT_EQ(reaches(dma, other, 2), mask == 0);
    EXPECT_EQ(system->reports() != 0, mask != 0) << system->all_status();
  }
}

// What was cached before it was tracked is written to without a trace.
TEST_P(FlushObligations, WhatIsTrackedFromNowOnIsForgotten) {
  if (!GetParam().spec.scalable) GTEST_SKIP() << "legacy tables have no dirty bits";
  struct Count final : DirtyBitmap {
    void record(Iova, uint64_t size) override { bytes += size; }
    uint64_t bytes = 0;
  };
  for (uint32_t mask : {0u, left_out({hw::vtd::kPasidCache}), kTranslations}) {
    start();
    Device& nic = system->probe(kNic);
    auto domain = must(system->vtd().alloc_paging(nic, DomainType::kUnmanaged, kDirtyTracking));
    must(nic.group().attach(*domain));
    map(*domain, kData, page);
    EngineDma dma(*system, kNic, *domain, rings);
    ASSERT_TRUE(reaches(dma, page, 1));
    system->vtd().set_faults({.left_out = mask});
    must(domain->set_dirty_tracking(true));
    ASSERT_TRUE(reaches(dma, page, 2));
    Count count;
    Gather gather;
    must(domain->read_and_clear_dirty(Iova(kData), kPageSize, DirtyClear::kYes, &count, gather));
    domain->sync(gather);
    EXPECT_EQ(count.bytes, mask == 0 ? kPageSize : 0u) << mask;
    system->function(kNic).set_bus_master(false);
    nic.group().detach();
  }
}

INSTANTIATE_TEST_SUITE_P(Units, FlushObligations,
                         ::testing::Values(Kind{"legacy", {.scalable = false}},
                                           Kind{"legacy_caching", {.scalable = false, .caching_mode = true}},
                                           Kind{"first_stage", {.scalable = true}},
                                           Kind{"second_stage", {.scalable = true, .first_stage = false}},
                                           Kind{"caching", {.scalable = true, .caching_mode = true}},
                                           Kind{"second_stage_caching",
                                                {.scalable = true, .first_stage = false, .caching_mode = true}}),
                         [](const auto& kind) { return kind.param.name; });

}  // namespace
}  // namespace causeway::iommu::vtd
