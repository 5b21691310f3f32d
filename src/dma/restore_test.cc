// Restoring after a live update (spec scenarios 73, 78, 79, and negative controls of 72 and 73).
#include <gtest/gtest.h>

#include <thread>
#include <vector>

#include "base/log.h"
#include "dma/state.h"
#include "dma/testing/in_flight.h"

namespace causeway::dma::testing {
namespace {

// 73
TEST(Restore, BytesHandleAndOwnershipComeBack) {
  for (uint64_t size : {uint64_t{64}, KiB(4), KiB(4) + 1, KiB(20), KiB(64) + 1, MiB(4)}) {
    SCOPED_TRACE(size);
    System system;
    InFlight sent = send(system, size);
    system.kexec();
    Device device = system.device();
    Coherent back = must(restore_allocation(device, size, kSleep, Attr::kNone, sent.token));
    EXPECT_EQ(back.handle, sent.handle);
    EXPECT_EQ(back.size, size);
    EXPECT_TRUE(filled(back.cpu, size, 1));
    EXPECT_EQ(system.map().page(sent.phys)->count(), 1);
    for (uint64_t i = 1; i < block_pages(size); ++i)
      ASSERT_EQ(system.map().page(Pfn::containing(sent.phys) + i)->count(), 0) << "tail " << i;
    for (uint64_t i = 0; i < block_pages(size); ++i)
      ASSERT_EQ(system.state(sent.phys, i), mm::FrameState::kAllocated);

    uint64_t before = system.free_pages();
    must(free_coherent(device, back));
    EXPECT_EQ(system.free_pages(), before + block_pages(size));
    EXPECT_EQ(system.pages().stats().bad_pages, 0u);
    EXPECT_EQ(system.dma().stats().restored, 1u);
    EXPECT_EQ(system.dma().stats().leaked, 0u);
  }
}

TEST(Restore, WorksInTheTypedFormatToo) {
  System system({.format = kho::Format::kTyped});
  InFlight sent = send(system, KiB(20));
  system.kexec({.format = kho::Format::kTyped});
  Device device = system.device();
  Coherent back = must(restore_allocation(device, KiB(20), kSleep, Attr::kNone, sent.token));
  EXPECT_TRUE(filled(back.cpu, KiB(20), 1));
  must(free_coherent(device, back));
  EXPECT_EQ(system.pages().stats().bad_pages, 0u);
}

TEST(Restore, AllocationsSurviveOneKernelAfterAnother) {
  System system;
  InFlight sent = send(system, KiB(20));
  for (unsigned hop = 0; hop < 3; ++hop) {
    system.kexec();
    Device device = system.device();
    Coherent back = must(restore_allocation(device, sent.size, kSleep, Attr::kNone, sent.token));
    EXPECT_EQ(back.handle, sent.handle);
    EXPECT_TRUE(filled(back.cpu, sent.size, 1 + hop));
    fill(back.cpu, sent.size, 2 + hop);
    sent.token = must(preserve_allocation(device, back, Attr::kNone));
  }
}

TEST(Restore, TheRecordPageIsGivenBackWithTheLastRecord) {
  System system;
  std::vector<InFlight> sent;
  for (unsigned i = 0; i < 70; ++i) sent.push_back(send(system, KiB(4)));
  system.kexec();
  Device device = system.device();
  for (const InFlight& one : sent) must(restore_allocation(device, one.size, kSleep, Attr::kNone, one.token));
  EXPECT_TRUE(system.kho().unrestored().empty());
}

TEST(Restore, ThreadsOfOneDriverRestoreSideBySide) {
  System system;
  std::vector<InFlight> sent;
  for (unsigned i = 0; i < 128; ++i) sent.push_back(send(system, KiB(8)));
  system.kexec();
  std::vector<std::thread> threads;
  for (unsigned t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      Device device = system.device();
      for (size_t i = t; i < sent.size(); i += 4)
        EXPECT_TRUE(restore_allocation(device, KiB(8), kSleep, Attr::kNone, sent[i].token));
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(system.dma().stats().restored, 128u);
  EXPECT_TRUE(system.kho().unrestored().empty());
}

// 73, negative control: KHO that knows split pages only.
TEST(Restore, ASplitRestoreIsFoundAsABadPageAtTheFree) {
  System system;
  InFlight sent = send(system, KiB(20));
  system.kexec({.faults = {.restore_split = true}});
  Device device = system.device();
  Coherent back = must(restore_allocation(device, sent.size, kSleep, Attr::kNone, sent.token));
  log::Capture capture;
  uint64_t before = system.free_pages();
  must(free_coherent(device, back));
  EXPECT_GE(system.pages().stats().bad_pages, 1u);
  EXPECT_TRUE(system.pages().stats().tainted);
  EXPECT_EQ(system.free_pages(), before);
}

// 72 and 73, negative control: the posted page count.
TEST(Restore, AShortPreserveIsFoundByTheAllocatorOrByItsVictim) {
  System system({.faults = {.short_preserve = true}});
  InFlight sent = send(system, KiB(20));
  system.kexec({.faults = {.short_preserve = true}});
  Device device = system.device();
  Coherent back = must(restore_allocation(device, sent.size, kSleep, Attr::kNone, sent.token));
  EXPECT_EQ(system.state(sent.phys, 4), mm::FrameState::kAllocated);
  EXPECT_EQ(system.state(sent.phys, 5), mm::FrameState::kFree) << "a page of the block is up for grabs";
  log::Capture capture;
  must(free_coherent(device, back));
  EXPECT_GE(system.pages().stats().bad_pages, 1u);
}

TEST(Restore, AShortPreservedBlockIsRefused) {
  System system({.faults = {.short_preserve = true}});
  InFlight sent = send(system, KiB(20));
  system.kexec();
  Device device = system.device();
  log::Capture capture;
  EXPECT_EQ(error_of(restore_allocation(device, sent.size, kSleep, Attr::kNone, sent.token)), EIO);
  EXPECT_TRUE(capture.contains("only 5 of 8 pages were preserved"));
  for (uint64_t i = 0; i < 5; ++i) EXPECT_EQ(system.state(sent.phys, i), mm::FrameState::kReserved);
  EXPECT_EQ(system.dma().stats().leaked_pages, 5u);
}

// 76
TEST(Restore, WithoutBlockingIsFineWhereNothingHasToBeMapped) {
  System system;
  InFlight sent = send(system, KiB(20));
  system.kexec();
  Device device = system.device();
  must(restore_allocation(device, sent.size, mm::kGfpAtomic, Attr::kNone, sent.token));
}

TEST(Restore, AnIncoherentDeviceGetsAnUncachedAliasAgain) {
  System system;
  const DeviceTraits traits{.coherent = false};
  InFlight sent = send(system, KiB(20), traits);
  system.kexec();
  Device device = system.device(traits);
  PageAttributes& attributes = system.dma().state().attributes;
  Coherent back = must(restore_allocation(device, sent.size, kSleep, Attr::kNone, sent.token));
  EXPECT_NE(back.cpu, system.at(sent.phys));
  EXPECT_TRUE(filled(back.cpu, sent.size, 1));
  EXPECT_EQ(attributes.policy(Pfn::containing(sent.phys)), CachePolicy::kUncached);
  EXPECT_EQ(attributes.cleaned_pages(), 8u) << "lines of the linear mapping are dropped first";
  must(free_coherent(device, back));
  EXPECT_EQ(attributes.changed_pages(), 0u);
  EXPECT_EQ(system.pages().stats().bad_pages, 0u);
}

TEST(Restore, SharedMemoryIsSharedAgain) {
  System system;
  const DeviceTraits traits{.force_unencrypted = true};
  InFlight sent = send(system, KiB(20), traits);
  system.kexec();
  Device device = system.device(traits);
  PageAttributes& attributes = system.dma().state().attributes;
  Coherent back = must(restore_allocation(device, sent.size, kSleep, Attr::kNone, sent.token));
  EXPECT_EQ(attributes.changed_pages(), 8u);
  must(free_coherent(device, back));
  EXPECT_EQ(attributes.changed_pages(), 0u);
}

// 78
TEST(Restore, HintsMayDiffer) {
  System system;
  InFlight sent = send(system, KiB(20), {}, Attr::kNoWarn | Attr::kWriteCombine);
  system.kexec();
  Device device = system.device();
  Coherent back = must(restore_allocation(device, sent.size, kSleep, Attr::kWeakOrdering, sent.token));
  must(free_coherent(device, back));
}

// 79
TEST(Restore, BadTokensAreRefusedWithoutHarmToTheGoodOne) {
  System system;
  InFlight sent = send(system, KiB(20));
  system.kexec();
  Device device = system.device();
  Device other = system.device({}, "0000:00:02.0");
  const uint64_t token = static_cast<uint64_t>(sent.token);
  for (uint64_t bad : {uint64_t{0}, token + 8, token + 64, token - 64, sent.phys.value() + 64, ~uint64_t{0}})
    EXPECT_EQ(error_of(restore_allocation(device, sent.size, kSleep, Attr::kNone, Token{bad})), EINVAL)
        << bad;
  EXPECT_EQ(error_of(restore_allocation(other, sent.size, kSleep, Attr::kNone, sent.token)), EINVAL);
  EXPECT_EQ(system.dma().stats().leaked, 0u);

  must(restore_allocation(device, sent.size, kSleep, Attr::kNone, sent.token));
  EXPECT_EQ(error_of(restore_allocation(device, sent.size, kSleep, Attr::kNone, sent.token)), EINVAL)
      << "again";
  EXPECT_EQ(system.dma().stats().restored, 1u);
}

TEST(Restore, ATokenOfThisVeryKernelIsRefused) {
  System system;
  InFlight sent = send(system, KiB(20));
  Device device = system.device();
  EXPECT_EQ(error_of(restore_allocation(device, sent.size, kSleep, Attr::kNone, sent.token)), EINVAL);
}

TEST(Restore, ARecordWithADamagedMagicIsRefused) {
  System system;
  InFlight sent = send(system, KiB(20));
  system.kexec();
  system.at(PhysAddr(static_cast<uint64_t>(sent.token)))[0] ^= std::byte{1};
  Device device = system.device();
  EXPECT_EQ(error_of(restore_allocation(device, sent.size, kSleep, Attr::kNone, sent.token)), EINVAL);
  for (uint64_t i = 0; i < 8; ++i) EXPECT_EQ(system.state(sent.phys, i), mm::FrameState::kReserved);
}

TEST(Restore, IsNotForDevicesThatLeftTheDirectPath) {
  for (DeviceTraits traits : {DeviceTraits{.iommu = true}, DeviceTraits{.coherent_memory = true},
                              DeviceTraits{.restricted_pool = true}}) {
    System system;
    InFlight sent = send(system, KiB(20));
    system.kexec();
    Device moved = system.device(traits);
    EXPECT_EQ(error_of(restore_allocation(moved, sent.size, kSleep, Attr::kNone, sent.token)), EOPNOTSUPP);
    EXPECT_EQ(system.state(sent.phys), mm::FrameState::kReserved);
  }
}

TEST(Restore, WithoutKhoThereIsNothing) {
  System system;
  InFlight sent = send(system, KiB(20));
  system.kexec({.kho = false});
  Device device = system.device();
  EXPECT_EQ(error_of(restore_allocation(device, sent.size, kSleep, Attr::kNone, sent.token)), EOPNOTSUPP);
}

}  // namespace
}  // namespace causeway::dma::testing
