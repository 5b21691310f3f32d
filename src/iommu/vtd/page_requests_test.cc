// Devices that ask for pages which are not there: what the domain's handler brings in is reached, and nobody waits for ever.
#include <gtest/gtest.h>

#include <atomic>
#include <cstring>
#include <thread>

#include "iommu/vtd/testing/dma.h"

namespace causeway::iommu::vtd {
namespace {

using machine::testing::eventually;
using testing::EngineDma;
using testing::System;
namespace regs = hw::dma_engine;
using regs::TransferStatus;

class PageRequestTest : public ::testing::TestWithParam<bool> {
 protected:
  static constexpr Bdf kNic{0, 1, 0};
  static constexpr Pasid kSpace = 5;
  static constexpr uint64_t kFrom = 0x100000;
  static constexpr uint64_t kTo = 0x200000;

  static machine::DeviceSpec device() {
    machine::DeviceSpec spec = testing::engine(1);
    spec.ats = true;
    spec.pasid_bits = 10;
    return spec;
  }
  Device& probe() {
    DeviceInfo info = system.info(kNic);
    info.page_requests = true;
    return *must(system.core().probe_device(std::move(info)));
  }
  // A domain in which every page but the rings is brought in when it is asked for.
  std::unique_ptr<Domain> lazy_domain(Device& nic) {
    auto domain = must(system.vtd().alloc_paging(nic, DomainType::kUnmanaged, kAllocPasid));
    domain->set_page_request_handler([this, to_map = domain.get()](const PageRequestGroup& group) {
      for (const PageRequest& page : group.pages) {
        asked.fetch_add(1);
        const PhysAddr phys = page.address == Iova(kFrom) ? from : to;
        if (page.address != Iova(kFrom) && page.address != Iova(kTo)) return PageResponse::kInvalid;
        EXPECT_EQ(page.write, page.address == Iova(kTo));
        if (!to_map->map(page.address, phys, kPageSize, kRead | kWrite)) return PageResponse::kFailure;
        to_map->sync_map(page.address, kPageSize);
      }
      return PageResponse::kSuccess;
    });
    return domain;
  }
  static regs::Descriptor asking_copy(uint64_t source, Pasid pasid = kNoPasid) {
    regs::Descriptor descriptor = machine::testing::copy(source, kTo, 64);
    descriptor.flags = regs::kAskForPages | (pasid != kNoPasid ? regs::kWithPasid : 0);
    descriptor.pasid = static_cast<uint16_t>(pasid);
    return descriptor;
  }
  static bool copies(EngineDma& dma, uint64_t source, Pasid pasid = kNoPasid) {
    return dma.driver().run(regs::kWorkQueue, asking_copy(source, pasid)).status == TransferStatus::kOk;
  }
  bool may_ask() { return system.unit().root().find(kNic)->scalable().page_requests; }
  bool has_fault(const char* reason) { return system.all_status().find(fmt::format("reason {}", reason)) != std::string::npos; }
  void expect_no_reports() { EXPECT_EQ(system.reports(), 0u) << system.all_status(); }

  log::Capture quiet;
  System system{{.iommus = {{.scalable = true, .first_stage = GetParam(), .page_requests = true}}, .devices = {device()}}};
  PhysAddr from = system.page(), to = system.page(), rings = system.page();
  std::atomic<unsigned> asked{0};
};

TEST_P(PageRequestTest, WhatIsAskedForIsReached) {
  Device& nic = probe();
  EXPECT_FALSE(may_ask());
  auto domain = lazy_domain(nic);
  EngineDma dma(system, kNic, *domain, rings);
  must(nic.group().attach(*domain));
  EXPECT_TRUE(may_ask());
  const uint64_t value = 0x4321;
  std::memcpy(system.at(from), &value, sizeof value);
  EXPECT_TRUE(copies(dma, kFrom));
  EXPECT_EQ(asked.load(), 2u) << "the source, and the destination";
  EXPECT_EQ(std::memcmp(system.at(to), &value, sizeof value), 0);
  EXPECT_TRUE(copies(dma, kFrom));
  EXPECT_EQ(asked.load(), 2u);
  EXPECT_FALSE(copies(dma, 0x900000)) << "what nobody can bring in is refused";
  EXPECT_EQ(asked.load(), 3u);
  nic.group().detach();
  EXPECT_FALSE(may_ask());
  expect_no_reports();
}

TEST_P(PageRequestTest, EachAddressSpaceHasItsOwnHandler) {
  Device& nic = probe();
  EngineDma dma(system, kNic, *nic.group().default_domain(), rings);
  auto domain = lazy_domain(nic);
  must(nic.group().attach_pasid(*domain, kSpace));
  EXPECT_TRUE(may_ask());
  EXPECT_TRUE(copies(dma, kFrom, kSpace));
  EXPECT_EQ(asked.load(), 2u);
  EXPECT_FALSE(copies(dma, kFrom)) << "the device's own has none";
  EXPECT_EQ(asked.load(), 2u);
  EXPECT_GT(system.unit().page_requests()->stats().refused, 0u);
  nic.group().detach_pasid(kSpace);
  EXPECT_FALSE(may_ask());
  EXPECT_FALSE(copies(dma, kFrom, kSpace));
  EXPECT_TRUE(has_fault("0x47")) << system.all_status();
  expect_no_reports();
}

// The detach waits for the answer that is under way, and what comes later is refused.
TEST_P(PageRequestTest, ADetachWaitsForRequestsUnderWay) {
  Device& nic = probe();
  EngineDma dma(system, kNic, *nic.group().default_domain(), rings);
  auto domain = must(system.vtd().alloc_paging(nic, DomainType::kUnmanaged, kAllocPasid));
  std::atomic<bool> entered{false}, go_on{false}, left{false}, detached{false};
  domain->set_page_request_handler([&](const PageRequestGroup&) {
    entered = true;
    while (!go_on) std::this_thread::yield();
    EXPECT_FALSE(detached.load());
    left = true;
    return PageResponse::kSuccess;
  });
  must(nic.group().attach_pasid(*domain, kSpace));
  dma.driver().post(regs::kWorkQueue, asking_copy(kFrom, kSpace));
  ASSERT_TRUE(eventually([&] { return entered.load(); }));
  std::thread detaching([&] {
    nic.group().detach_pasid(kSpace);
    EXPECT_TRUE(left.load());
    detached = true;
  });
  // Its entry goes first, so nothing new can come.
  EXPECT_TRUE(eventually([&] { return !VtdDevice::of(nic).pasids->present(kSpace); }));
  go_on = true;
  detaching.join();
  EXPECT_NE(dma.driver().wait(regs::kWorkQueue).status, TransferStatus::kOk);
  expect_no_reports();
}

// Spec scenario 80: the entry of a device that goes on does not let it ask while there is nobody to answer.
TEST_P(PageRequestTest, InTheWindowBetweenTwoKernelsARequestIsRejected) {
  Device& nic = probe();
  auto domain = lazy_domain(nic);
  EngineDma dma(system, kNic, *domain, rings);
  must(nic.group().attach(*domain));
  EXPECT_TRUE(copies(dma, kFrom));
  system.hand_over(nic, *domain);
  system.commit(hw::HandoverKind::kOrderly);
  must(system.vtd().shut_down());
  EXPECT_FALSE(may_ask());
  EXPECT_FALSE(copies(dma, 0x300000));
  EXPECT_TRUE(has_fault("0x47")) << system.all_status();
  EXPECT_TRUE(copies(dma, kFrom)) << "what is there is translated all the same";
  // The jump does not happen: it may ask again.
  must(system.vtd().undo_shut_down());
  EXPECT_TRUE(may_ask());
  const unsigned before = asked.load();
  EXPECT_FALSE(copies(dma, 0x300000));
  EXPECT_EQ(asked.load(), before + 1);
  must(system.vtd().shut_down());
  system.crash();
  EngineDma again(system, kNic, rings);
  EXPECT_FALSE(copies(again, 0x300000));
  EXPECT_TRUE(copies(again, kFrom));
  System::bury(std::move(domain));  // its kernel is gone, and gives nothing back
  (void)probe();
  EXPECT_FALSE(may_ask());
  EXPECT_TRUE(copies(again, kFrom));
  expect_no_reports();
}

// The same for a kernel that dies with a request in its queue.
TEST_P(PageRequestTest, ARequestThatItsKernelNeverSawIsRejectedByTheNext) {
  Device& nic = probe();
  auto domain = lazy_domain(nic);
  EngineDma dma(system, kNic, *domain, rings);
  must(nic.group().attach(*domain));
  EXPECT_TRUE(copies(dma, kFrom));
  system.hand_over(nic, *domain);
  system.commit();
  system.platform().interrupts().stop();
  dma.driver().post(regs::kWorkQueue, asking_copy(0x300000));
  ASSERT_TRUE(eventually([&] { return system.number("iommu0.page_requests") == 3; }));
  // Until the device has lost its right, the unit may write to the ring of the kernel that is gone: nobody else has it.
  const PhysAddr ring(system.unit().regs().read64(hw::vtd::kPageRequestAddress) & hw::vtd::kAddressMask);
  auto is_kept = [&] { return system.tables().check_preserved(ring, PageRequestQueue::kRingOrder).has_value(); };
  bool was_kept = !has_points();
  if (has_points())
    must(point::on_hit("iommu.vtd.unit.scrubbed", [&]() -> Status {
      was_kept = is_kept();
      return {};
    }));
  system.crash();
  point::disarm_all();
  EXPECT_TRUE(was_kept);
  EXPECT_FALSE(is_kept()) << "it was never given back";
  EngineDma again(system, kNic, rings);
  EXPECT_NE(again.driver().wait(regs::kWorkQueue).status, TransferStatus::kOk);
  EXPECT_TRUE(copies(again, kFrom));
  System::bury(std::move(domain));
  // And this kernel's queue works.
  Device& restored = probe();
  auto next = lazy_domain(restored);
  must(restored.group().attach_pasid(*next, kSpace));
  EXPECT_TRUE(copies(again, kFrom, kSpace));
  restored.group().detach_pasid(kSpace);
  expect_no_reports();
}

INSTANTIATE_TEST_SUITE_P(Stages, PageRequestTest, ::testing::Bool(),
                         [](const auto& first) { return first.param ? "first_stage" : "second_stage"; });

}  // namespace
}  // namespace causeway::iommu::vtd
