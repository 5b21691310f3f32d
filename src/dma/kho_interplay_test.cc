// What preservation relies on KHO for (spec scenarios 83, 85), and kernels that die half way.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "dma/testing/in_flight.h"

namespace causeway::dma::testing {
namespace {

// 83
TEST(SplitPages, WithoutTheHelperASplitAfterPreservingIsNotSeen) {
  System system({.format = kho::Format::kTyped});
  mm::Page* page = must(system.pages().alloc_pages(Order{3}, kSleep));
  PhysAddr phys = system.map().phys(page);
  must(system.kho().preserve_page(page, Order{3}));
  must(system.pages().split_page(page, Order{3}));
  system.kexec({.format = kho::Format::kTyped});
  ASSERT_NE(system.kho().restore_pages(phys, 8), nullptr);
  EXPECT_EQ(system.map().page(Pfn::containing(phys) + 1)->count(), 0) << "still recorded as one block";
}

// 83
TEST(SplitPages, WithTheHelperEveryPageComesBackCounted) {
  System system({.format = kho::Format::kTyped});
  mm::Page* page = must(system.pages().alloc_pages(Order{3}, kSleep));
  PhysAddr phys = system.map().phys(page);
  must(system.kho().preserve_page(page, Order{3}));
  must(system.pages().split_page(page, Order{3}));
  must(system.kho().split_preserved_pages(page, 8));
  system.kexec({.format = kho::Format::kTyped});
  ASSERT_NE(system.kho().restore_pages(phys, 8), nullptr);
  for (uint64_t i = 0; i < 8; ++i) EXPECT_EQ(system.map().page(Pfn::containing(phys) + i)->count(), 1);
}

// 85
TEST(SplitPages, ARunIsRestoredInTheBlocksItWasRecordedIn) {
  System system;
  mm::Page* page = must(system.pages().alloc_pages(Order{4}, kSleep));
  must(system.pages().split_page(page, Order{4}));
  // Sixteen aligned pages could be one block; a seam in the middle made them three.
  must(system.kho().preserve_pages(page, 8));
  must(system.kho().preserve_pages(page + 8, 4));
  must(system.kho().preserve_pages(page + 12, 4));
  PhysAddr phys = system.map().phys(page);
  system.kexec();
  EXPECT_EQ(system.kho().preserved_order(phys), Order{3});
  ASSERT_NE(system.kho().restore_pages(phys, 16), nullptr);
  for (uint64_t i = 0; i < 16; ++i) EXPECT_EQ(system.map().page(Pfn::containing(phys) + i)->count(), 1);
}

// A kernel that dies at a named point, within one process.
struct Killed {};

// Runs `step` until the point; true if it was reached.
template <typename Step>
bool die_at(const char* name, Step step) {
  must(point::on_hit(name, []() -> Status { throw Killed{}; }));
  bool died = false;
  try {
    step();
  } catch (const Killed&) {
    died = true;
  }
  point::disarm_all();
  return died;
}

TEST(Death, InTheMiddleOfPreserveOthersAreRestoredAndTheBlockIsWhole) {
  if (!has_points()) GTEST_SKIP() << "built without named points";
  for (const char* name :
       {"dma.preserve.before_record", "dma.preserve.after_record", "dma.preserve.after_pages"}) {
    SCOPED_TRACE(name);
    System system;
    system.commit();
    InFlight other = send(system, KiB(20));
    Device device = system.device();
    Coherent memory = must(alloc_coherent(device, KiB(20), kSleep));
    ASSERT_TRUE(die_at(name, [&] { (void)preserve_allocation(device, memory, Attr::kNone); }));
    system.crash();
    Device again = system.device();
    Coherent back = must(restore_allocation(again, other.size, kSleep, Attr::kNone, other.token));
    EXPECT_TRUE(filled(back.cpu, other.size, 1));
    // Nobody has the token of the other one: preserved or not, it is one or the other as a whole.
    PhysAddr phys = PhysAddr(memory.handle.value());
    bool kept = system.state(phys) == mm::FrameState::kReserved;
    for (uint64_t i = 0; i < 8; ++i) EXPECT_EQ(system.state(phys, i) == mm::FrameState::kReserved, kept);
    must(free_coherent(again, back));
    EXPECT_EQ(system.pages().stats().bad_pages, 0u);
  }
}

TEST(Death, InTheMiddleOfUnpreserveTheTokenIsGoodOrRefused) {
  if (!has_points()) GTEST_SKIP() << "built without named points";
  for (auto [name, restorable] :
       {std::pair{"dma.unpreserve.before_pages", true}, std::pair{"dma.unpreserve.after_pages", false},
        std::pair{"dma.unpreserve.after_record", false}}) {
    SCOPED_TRACE(name);
    System system;
    system.commit();
    InFlight sent = send(system, KiB(20));
    Device device = system.device();
    ASSERT_TRUE(die_at(name, [&, token = sent.token] { (void)unpreserve_allocation(device, token); }));
    system.crash();
    Device again = system.device();
    auto back = restore_allocation(again, sent.size, kSleep, Attr::kNone, sent.token);
    EXPECT_EQ(back.has_value(), restorable);
    EXPECT_EQ(system.dma().stats().leaked_pages, 0u);
  }
}

TEST(Death, InTheMiddleOfRestoreTheNextKernelRestoresTheSame) {
  if (!has_points()) GTEST_SKIP() << "built without named points";
  for (const char* name : {"dma.restore.before_check", "dma.restore.after_check", "dma.restore.before_pages",
                           "dma.restore.after_pages", "dma.restore.after_record"}) {
    SCOPED_TRACE(name);
    System system;
    system.commit();
    InFlight sent = send(system, KiB(20));
    system.crash();
    Device device = system.device();
    ASSERT_TRUE(die_at(name, [&, token = sent.token] {
      (void)restore_allocation(device, KiB(20), kSleep, Attr::kNone, token);
    }));
    system.crash();
    Device again = system.device();
    Coherent back = must(restore_allocation(again, sent.size, kSleep, Attr::kNone, sent.token));
    EXPECT_EQ(back.handle, sent.handle);
    EXPECT_TRUE(filled(back.cpu, sent.size, 1));
    must(free_coherent(again, back));
    EXPECT_EQ(system.pages().stats().bad_pages, 0u);
  }
}

TEST(Death, AfterTheCommitTheNewTokenCounts) {
  System system;
  InFlight sent = send(system, KiB(20));
  system.kexec();
  Device device = system.device();
  Coherent back = must(restore_allocation(device, sent.size, kSleep, Attr::kNone, sent.token));
  Token token = must(preserve_allocation(device, back, Attr::kNone));
  system.commit();
  system.crash();
  Device again = system.device();
  EXPECT_TRUE(restore_allocation(again, sent.size, kSleep, Attr::kNone, token));
}

}  // namespace
}  // namespace causeway::dma::testing
