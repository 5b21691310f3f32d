// Spec scenario 65 with DMA that never pauses: a stream of records goes on while kernels are updated, die, and are taken over, and
// after every step the invariants of spec 7.4 hold.
#include <gtest/gtest.h>

#include <cstring>

#include "iommu/vtd/testing/dma.h"

namespace causeway::iommu::vtd {
namespace {

using testing::System;

class Stream : public ::testing::TestWithParam<machine::IommuSpec> {
 protected:
  static constexpr Bdf kNic{0, 1, 0};
  static constexpr uint64_t kRings = 0x7000'0000, kBuffers = 0x100000;
  static constexpr unsigned kLog2 = 5, kEntries = 1u << kLog2;
  static constexpr uint32_t kRecord = 256;

  // The registers and the ring, as this kernel has them.
  struct Consumer {
    Consumer(System& system, PhysAddr rings) : registers(system, kNic), driver(registers) {
      registers.map(kRings, rings, kPageSize);
    }
    testing::EngineRegisters registers;
    machine::testing::MiniDriver driver;
  };
  void post(Consumer& consumer) {
    const unsigned slot = consumer.driver.tail(testing::regs::kStreamQueue) % kEntries;
    consumer.driver.post(testing::regs::kStreamQueue, machine::testing::buffer(kBuffers + slot * kPageSize, kPageSize));
  }
  // Takes `count` records, in order and each in the page that its address meant from the beginning, and gives the buffers back.
  void consume(Consumer& consumer, unsigned count) {
    for (unsigned i = 0; i < count; ++i) {
      const testing::regs::Completion done = consumer.driver.wait(testing::regs::kStreamQueue);
      ASSERT_EQ(done.status, testing::regs::TransferStatus::kOk);
      ASSERT_EQ(done.sequence, next);
      testing::regs::RecordHeader header;
      std::memcpy(&header, system.at(pages[done.descriptor % kEntries]), sizeof header);
      ASSERT_EQ(header.magic, testing::regs::kRecordMagic);
      ASSERT_EQ(header.sequence, next) << "went elsewhere";
      ++next;
      post(consumer);
    }
  }
  void expect_invariants() {
    EXPECT_EQ(system.status("iommu0.enabled"), "1");
    EXPECT_EQ(system.number("iommu0.te_off_transitions"), 0u);
    EXPECT_EQ(system.faults(), 0u) << system.all_status();
    EXPECT_EQ(system.reports(), 0u) << system.all_status();
    for (const std::string& text : system.live_update().damage()) ADD_FAILURE() << text;
    if (Device* nic = system.core().find(0, kNic)) {
      Domain& domain = *nic->group().default_domain();
      for (unsigned i = 0; i < kEntries; ++i)
        EXPECT_EQ(domain.iova_to_phys(Iova(kBuffers + i * kPageSize)), pages[i]) << i;
      EXPECT_EQ(domain.iova_to_phys(Iova(kRings)), rings);
      EXPECT_EQ(VtdDevice::of(*nic).id, id);
    }
    EXPECT_TRUE(system.unit().ids().is_taken(id));
  }

  log::Capture quiet;
  System system{{.iommus = {GetParam()}}};
  PhysAddr rings = system.page();
  std::vector<PhysAddr> pages;
  DomainId id{0};
  uint64_t next = 0;
};

TEST_P(Stream, GoesOnOverUpdatesAndDeathsWithoutARecordOutOfPlace) {
  for (unsigned i = 0; i < kEntries; ++i) pages.push_back(system.page());
  {
    Device& nic = system.probe(kNic);
    Domain& domain = *nic.group().default_domain();
    auto map = [&](uint64_t iova, PhysAddr phys) {
      must(domain.map(Iova(iova), phys, kPageSize, kRead | kWrite));
      domain.sync_map(Iova(iova), kPageSize);
    };
    map(kRings, rings);
    for (unsigned i = 0; i < kEntries; ++i) map(kBuffers + i * kPageSize, pages[i]);
    id = VtdDevice::of(nic).id;
    Consumer first(system, rings);
    first.driver.reset();
    first.driver.set_up_stream(PhysAddr(kRings), kLog2, 5000, kRecord,
                               static_cast<uint32_t>(testing::regs::OverrunHold::make(1)));
    for (unsigned i = 0; i < kEntries; ++i) post(first);
    consume(first, 40);
    system.hand_over(nic, domain);
    system.commit();
    expect_invariants();
  }
  bool handed_over = true;  // by the kernel that ends now
  for (unsigned round = 0; round < 24; ++round) {
    SCOPED_TRACE(round);
    if (handed_over && round % 2 == 0) {
      system.commit(hw::HandoverKind::kOrderly);
      must(system.vtd().shut_down());
      expect_invariants();
    }
    system.crash();
    handed_over = false;
    Consumer consumer(system, rings);
    consumer.driver.adopt(testing::regs::kStreamQueue, PhysAddr(kRings), kLog2);
    expect_invariants();
    ASSERT_NO_FATAL_FAILURE(consume(consumer, 7 + round));
    if (round % 3 == 1) continue;  // it dies before it has probed anything
    Device& nic = system.probe(kNic);
    expect_invariants();
    ASSERT_NO_FATAL_FAILURE(consume(consumer, 9));
    if (round % 3 == 2) continue;  // and this one before it has handed anything over
    Domain& domain = *nic.group().default_domain();
    system.hand_over(nic, domain);
    system.commit();
    handed_over = true;
    system.live_update().release(Carrier::kStanding);
    // Others of the same domain come and go meanwhile.
    const PhysAddr scratch = pages[0];
    must(domain.map(Iova(0x4000'0000 + round * MiB(2)), scratch, kPageSize, kRead));
    Gather gather;
    EXPECT_EQ(domain.unmap(Iova(0x4000'0000 + round * MiB(2)), kPageSize, gather), kPageSize);
    domain.sync(gather);
    ASSERT_NO_FATAL_FAILURE(consume(consumer, 20));
    expect_invariants();
  }
  EXPECT_GT(next, 500u);
}

INSTANTIATE_TEST_SUITE_P(Units, Stream,
                         ::testing::Values(machine::IommuSpec{.scalable = false}, machine::IommuSpec{.scalable = true},
                                           machine::IommuSpec{.scalable = true, .first_stage = false},
                                           machine::IommuSpec{.scalable = false, .caching_mode = true}),
                         [](const auto& unit) {
                           return unit.param.caching_mode ? "caching"
                                  : !unit.param.scalable  ? "legacy"
                                  : unit.param.first_stage ? "first_stage"
                                                           : "second_stage";
                         });

}  // namespace
}  // namespace causeway::iommu::vtd
