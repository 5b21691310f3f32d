// Restores that fail and keep the memory (spec scenarios 76 to 81).
#include <gtest/gtest.h>

#include <cstring>
#include <functional>

#include "base/log.h"
#include "dma/state.h"
#include "dma/testing/in_flight.h"

namespace causeway::dma::testing {
namespace {

// 76
TEST(RestoreLeaks, WithoutBlockingOnADeviceThatNeedsAMapping) {
  for (DeviceTraits traits : {DeviceTraits{.coherent = false}, DeviceTraits{.force_unencrypted = true}}) {
    System system;
    InFlight sent = send(system, KiB(20), traits);
    system.kexec();
    Device device = system.device(traits);
    EXPECT_EQ(error_of(restore_allocation(device, sent.size, mm::kGfpAtomic, Attr::kNone, sent.token)),
              EAGAIN);
    // Every page that can be had is taken: none of them is the one the device writes to.
    while (mm::Page* page = system.pages().alloc_pages(kOrder0, kSleep | mm::Gfp::kNoWarn).value_or(nullptr))
      ASSERT_FALSE(system.map().phys(page) >= sent.phys && system.map().phys(page) < sent.phys + KiB(32));
    expect_leaked(system, sent);
    EXPECT_EQ(error_of(restore_allocation(device, sent.size, kSleep, Attr::kNone, sent.token)), EINVAL)
        << "a leak is for good";
  }
}

// 77
TEST(RestoreLeaks, WhenMappingDecryptingOrSwitchingFails) {
  if (!has_points()) GTEST_SKIP() << "built without named points";
  struct Case {
    const char* step;
    DeviceTraits traits;
  };
  for (auto [step, traits] :
       {Case{"dma.direct.remap", {.coherent = false}},
        Case{"dma.attributes.decrypt", {.force_unencrypted = true}},
        Case{"dma.direct.remap", {.coherent = false, .force_unencrypted = true}},
        Case{"dma.attributes.uncached", {.coherent = false, .can_remap = false, .can_set_uncached = true}}}) {
    SCOPED_TRACE(step);
    System system;
    InFlight sent = send(system, KiB(20), traits);
    system.kexec();
    Device device = system.device(traits);
    FailingStep failing(step, ENOMEM);
    EXPECT_EQ(error_of(restore_allocation(device, sent.size, kSleep, Attr::kNone, sent.token)), ENOMEM);
    expect_leaked(system, sent);
  }
}

// 78
TEST(RestoreLeaks, WhenAttributesThatMatterDiffer) {
  struct Case {
    const char* what;
    DeviceTraits before, after;
    Attr recorded, now;
  };
  const DeviceTraits coherent{}, incoherent{.coherent = false};
  for (auto [what, before, after, recorded, now] :
       {Case{"write-combine gone", incoherent, incoherent, Attr::kWriteCombine, Attr::kNone},
        Case{"no kernel mapping", coherent, coherent, Attr::kNone, Attr::kNoKernelMapping},
        Case{"privileged", coherent, coherent, Attr::kNone, Attr::kPrivileged},
        Case{"contiguous", coherent, coherent, Attr::kForceContiguous, Attr::kNone},
        Case{"coherent became incoherent", coherent, incoherent, Attr::kNone, Attr::kNone},
        Case{"incoherent became coherent", incoherent, coherent, Attr::kNone, Attr::kNone}}) {
    SCOPED_TRACE(what);
    System system;
    InFlight sent = send(system, KiB(20), before, recorded);
    system.kexec();
    Device device = system.device(after);
    log::Capture capture;
    EXPECT_EQ(error_of(restore_allocation(device, sent.size, kSleep, now, sent.token)), EINVAL);
    EXPECT_TRUE(capture.contains("stay reserved"));
    expect_leaked(system, sent);
  }
}

// 79
TEST(RestoreLeaks, WhenTheSizeDiffers) {
  for (uint64_t size : {uint64_t{0}, KiB(16), KiB(20) - 1, KiB(32), ~uint64_t{0}}) {
    System system;
    InFlight sent = send(system, KiB(20));
    system.kexec();
    Device device = system.device();
    EXPECT_EQ(error_of(restore_allocation(device, size, kSleep, Attr::kNone, sent.token)), EINVAL);
    expect_leaked(system, sent);
  }
}

// A record that is whole, but describes what cannot be: written by a kernel with another idea of memory.
TEST(RestoreLeaks, WhenAValidRecordDescribesTheImpossible) {
  struct Case {
    const char* what;
    std::function<void(abi::AllocRecord&)> change;
  };
  const Case cases[] = {
      {"order too large", [](auto& r) { r.order = 40; }},
      {"order that does not fit the size", [](auto& r) { r.order = 2; }},
      {"misaligned block", [](auto& r) { r.page_phys += kPageSize; }},
      {"block outside RAM", [](auto& r) { r.page_phys = uint64_t{1} << 50; }},
      {"block that wraps", [](auto& r) { r.page_phys = ~uint64_t{0} & ~(KiB(32) - 1); }},
      {"unknown flags", [](auto& r) { r.flags |= 0x8000; }},
      {"reserved field", [](auto& r) { r.reserved = 1; }},
      {"unknown attributes", [](auto& r) { r.attrs = uint64_t{1} << 40; }},
      {"block nobody preserved", [](auto& r) { r.page_phys = r.dma_handle = MiB(24); }},
  };
  for (const Case& one : cases) {
    SCOPED_TRACE(one.what);
    System system;
    Token token{};
    {
      RecordStore store(system.kho());
      InFlight sent = send(system, KiB(20));
      abi::AllocRecord record;
      std::memcpy(&record, system.at(PhysAddr(static_cast<uint64_t>(sent.token))), sizeof(record));
      one.change(record);
      token = Token{must(store.add(record, nullptr)).value()};
    }
    system.kexec();
    Device device = system.device();
    EXPECT_FALSE(restore_allocation(device, KiB(20), kSleep, Attr::kNone, token));
    EXPECT_EQ(system.dma().stats().leaked, 1u);
    EXPECT_EQ(system.dma().stats().allocations, 0u);
  }
}

// 80
TEST(RestoreLeaks, WhenEncryptionDiffersInEitherDirection) {
  for (bool before : {false, true}) {
    System system;
    InFlight sent = send(system, KiB(20), {.force_unencrypted = before});
    system.kexec();
    Device device = system.device({.force_unencrypted = !before});
    log::Capture capture;
    EXPECT_EQ(error_of(restore_allocation(device, sent.size, kSleep, Attr::kNone, sent.token)), EPERM);
    EXPECT_TRUE(capture.contains("encryption"));
    expect_leaked(system, sent);
  }
}

// 81
TEST(RestoreLeaks, WhenTheBusAddressIsAnother) {
  System system;
  InFlight sent = send(system, KiB(20));
  system.kexec();
  Device device = system.device();
  must(device.set_bus_windows({{PhysAddr{0}, DmaAddr{GiB(16)}, GiB(8)}}));
  EXPECT_EQ(error_of(restore_allocation(device, sent.size, kSleep, Attr::kNone, sent.token)), ERANGE);
  expect_leaked(system, sent);
}

TEST(RestoreLeaks, WhenTheDeviceCannotReachItsMemoryAnyMore) {
  System system;
  InFlight sent = send(system, KiB(20));
  system.kexec();
  Device device = system.device();
  device.set_bus_limit(sent.handle.value() - 1);
  EXPECT_EQ(error_of(restore_allocation(device, sent.size, kSleep, Attr::kNone, sent.token)), ERANGE);
  expect_leaked(system, sent);
}

// Killed in the middle of unpreserve: the pages are gone from the tree, the record is not.
TEST(RestoreLeaks, WhenTheOldKernelDiedHalfWayThroughUnpreserve) {
  System system;
  InFlight sent = send(system, KiB(20));
  system.kho().unpreserve_page(system.map().page(sent.phys), Order::covering(sent.size));
  system.kexec();
  Device device = system.device();
  EXPECT_EQ(error_of(restore_allocation(device, sent.size, kSleep, Attr::kNone, sent.token)), EIO);
  EXPECT_EQ(system.dma().stats().leaked, 1u);
  EXPECT_EQ(system.dma().stats().leaked_pages, 0u);
}

}  // namespace
}  // namespace causeway::dma::testing
