// A boot with and without a handover: what is accepted, reserved, stamped, published and freed.
#include <gtest/gtest.h>

#include "base/log.h"
#include "kho/testing/test_machine.h"

namespace causeway::kho {
namespace {

class Boot : public ::testing::Test {
 protected:
  void SetUp() override { log::set_level(log::Level::kWarn); }
  void TearDown() override { log::set_level(log::Level::kInfo); }
  TestMachine machine_;
};

TEST_F(Boot, ColdBootReservesScratchAndPublishesAtCommit) {
  Generation cold(machine_);
  EXPECT_FALSE(cold.adopted_handover);
  EXPECT_TRUE(cold.kho->is_enabled());
  EXPECT_FALSE(cold.kho->is_kho_boot());
  ASSERT_EQ(cold.kho->scratch().size(), 2u);
  EXPECT_FALSE(cold.mailbox.current().has_value());
  cold.commit();
  auto handover = cold.mailbox.current();
  ASSERT_TRUE(handover.has_value());
  EXPECT_EQ(handover->kind, hw::HandoverKind::kStanding);
  EXPECT_EQ(handover->fdt_size, kPageSize);
  EXPECT_EQ(handover->scratch_size, 32u);
  EXPECT_EQ(handover->release, "7.3.4-test");
  EXPECT_TRUE(cold.kho->scratch_overlap(handover->scratch_addr, handover->scratch_size));
  EXPECT_FALSE(cold.kho->scratch_overlap(handover->fdt_addr, kPageSize));
}

TEST_F(Boot, TheNextBootAcceptsAnEmptyHandover) {
  std::vector<mm::MemRange> scratch;
  {
    Generation cold(machine_);
    scratch = cold.kho->scratch();
    cold.commit();
  }
  KhoParams other = test_params();
  other.scratch = {.absolute = true, .low = MiB(8), .global = MiB(8)};
  Generation warm(machine_, other);
  EXPECT_TRUE(warm.adopted_handover);
  EXPECT_TRUE(warm.kho->is_kho_boot());
  // kho_scratch= is ignored: the areas are the first kernel's.
  EXPECT_EQ(warm.kho->scratch(), scratch);
  EXPECT_EQ(warm.kho->stats().kexec_count, 1u);
  EXPECT_EQ(warm.kho->stats().previous_release, "7.3.4-test");
}

TEST_F(Boot, KexecCountGrowsWithEveryHop) {
  for (uint32_t hop = 0; hop < 4; ++hop) {
    Generation generation(machine_);
    EXPECT_EQ(generation.kho->stats().kexec_count, hop);
    generation.commit();
  }
}

TEST_F(Boot, PreservedMemoryIsReservedStampedAndIntact) {
  PhysAddr phys;
  {
    Generation cold(machine_);
    mm::Page* block = cold.alloc(Order(3));
    phys = cold.map.phys(block);
    fill(machine_, phys, 8, 1);
    ASSERT_TRUE(cold.kho->preserve_page(block, Order(3)).has_value());
    cold.commit();
  }
  Generation warm(machine_);
  for (uint64_t i = 0; i < 8; ++i) EXPECT_EQ(warm.state(phys + i * kPageSize), mm::FrameState::kReserved);
  EXPECT_EQ(warm.page(phys)->private_data, abi::page_stamp(Order(3)));
  EXPECT_EQ(warm.kho->preserved_order(phys), Order(3));
  EXPECT_EQ(warm.kho->preserved_order(phys + kPageSize), std::nullopt);
  EXPECT_TRUE(is_filled(machine_, phys, 8, 1));
  EXPECT_EQ(warm.kho->unrestored(), (std::vector<Block>{{Pfn::containing(phys), Order(3)}}));
  EXPECT_EQ(warm.kho->stats().unrestored_by_design, 2u);
  EXPECT_EQ(warm.kho->stats().unrestored_pages, 10u);
}

TEST_F(Boot, UnrestoredMemoryIsFreeMemoryOneKernelLater) {
  PhysAddr phys;
  {
    Generation first(machine_);
    mm::Page* block = first.alloc(Order(3));
    phys = first.map.phys(block);
    ASSERT_TRUE(first.kho->preserve_page(block, Order(3)).has_value());
    first.commit();
  }
  {
    Generation second(machine_);
    EXPECT_EQ(second.state(phys), mm::FrameState::kReserved);
    second.commit();
    EXPECT_EQ(second.state(phys), mm::FrameState::kReserved);
  }
  Generation third(machine_);
  EXPECT_EQ(third.state(phys), mm::FrameState::kFree);
}

TEST_F(Boot, IncomingTreeIsKeptUntilCommitAndThenFreed) {
  std::vector<PhysAddr> nodes;
  platform::Handover old;
  {
    Generation first(machine_);
    ASSERT_TRUE(first.kho->preserve_page(first.alloc(kOrder0), kOrder0).has_value());
    first.commit();
    old = *first.mailbox.current();
  }
  Generation second(machine_);
  // Everything the old handover consists of is out of the allocator's reach.
  EXPECT_EQ(second.state(old.fdt_addr), mm::FrameState::kReserved);
  EXPECT_NE(second.state(old.scratch_addr), mm::FrameState::kFree);
  const uint64_t managed = second.managed_pages();
  second.commit();
  EXPECT_GE(second.managed_pages(), managed + 6);
  EXPECT_EQ(second.state(old.fdt_addr), mm::FrameState::kReserved);
  EXPECT_EQ(second.state(old.scratch_addr), mm::FrameState::kFree);
  const platform::Handover current = *second.mailbox.current();
  EXPECT_NE(current.scratch_addr, old.scratch_addr);
  EXPECT_NE(second.state(current.scratch_addr), mm::FrameState::kFree);
  second.expect_sound();
}

TEST_F(Boot, ScratchIsCmaAndNeverHoldsWhatCannotMove) {
  Generation cold(machine_);
  cold.commit();
  const platform::Handover handover = *cold.mailbox.current();
  const uint64_t cma =
      cold.allocator->stats().zone[0].free_cma_pages + cold.allocator->stats().zone[1].free_cma_pages;
  EXPECT_EQ(cma, MiB(8) / kPageSize - 1);
  // All unmovable memory there is: none of it lies in scratch.
  while (auto page = cold.allocator->alloc_pages(kOrder0, mm::kGfpKernel | mm::Gfp::kNoWarn))
    ASSERT_FALSE(cold.kho->scratch_overlap(cold.map.phys(*page), kPageSize));
  // All movable memory: all of scratch, but not the published array.
  uint64_t in_scratch = 0;
  while (auto page =
             cold.allocator->alloc_pages(kOrder0, mm::kGfpKernel | mm::Gfp::kMovable | mm::Gfp::kNoWarn)) {
    const PhysAddr phys = cold.map.phys(*page);
    ASSERT_NE(phys, handover.scratch_addr.aligned_down(kPageSize));
    in_scratch += cold.kho->scratch_overlap(phys, kPageSize);
  }
  EXPECT_EQ(in_scratch, cma);
}

TEST_F(Boot, CommitMayBeRepeatedAndNamesTheKind) {
  { Generation(machine_).commit(); }
  Generation warm(machine_);
  warm.commit();
  const uint64_t managed = warm.managed_pages();
  warm.commit(hw::HandoverKind::kOrderly);
  EXPECT_EQ(warm.managed_pages(), managed);
  EXPECT_EQ(warm.mailbox.current()->kind, hw::HandoverKind::kOrderly);
  warm.expect_sound();
}

TEST_F(Boot, ADamagedHandoverIsAnOrdinaryBootWithAReason) {
  {
    Generation cold(machine_);
    ASSERT_TRUE(cold.kho->preserve_page(cold.alloc(Order(3)), Order(3)).has_value());
    cold.commit();
  }
  platform::Mailbox mailbox = machine_.mailbox();
  machine_.at<uint32_t>(mailbox.current()->fdt_addr)[0] ^= 1;
  log::Capture capture;
  Generation next(machine_);
  EXPECT_FALSE(next.adopted_handover);
  EXPECT_FALSE(next.kho->is_kho_boot());
  EXPECT_TRUE(next.kho->is_enabled());
  EXPECT_TRUE(capture.contains("fdt: damaged"));
  EXPECT_TRUE(capture.contains("disabling KHO revival"));
  EXPECT_EQ(next.kho->retrieve_subtree("kexec-metadata").error().code, Errno{ENOENT});
  EXPECT_EQ(next.kho->restore_folio(PhysAddr(MiB(1))), nullptr);
  next.commit();
  EXPECT_TRUE(next.mailbox.current().has_value());
}

TEST_F(Boot, AHandoverThatHoldsWhatThisBootHasTakenIsRefused) {
  PhysAddr phys;
  {
    Generation cold(machine_);
    mm::Page* page = cold.alloc(Order(3));
    phys = cold.map.phys(page);
    ASSERT_TRUE(cold.kho->preserve_page(page, Order(3)).has_value());
    cold.commit();
  }
  log::Capture capture;
  mm::MemMap map = *mm::MemMap::create(machine_.direct_map());
  auto kho = *Kho::create(map, test_params());
  mm::BootMemory boot;
  for (const mm::MemRange& range : machine_.ram()) ASSERT_TRUE(boot.add(range).has_value());
  ASSERT_TRUE(boot.reserve({phys + 2 * kPageSize, 100}).has_value());
  EXPECT_FALSE(*kho->early_init(boot, machine_.mailbox().current()));
  EXPECT_TRUE(capture.contains("is taken by this boot already"));
  EXPECT_FALSE(boot.restricted());
}

TEST_F(Boot, WithKhoOffMemoryStaysReservedButNothingCanClaimIt) {
  PhysAddr phys;
  {
    Generation cold(machine_);
    mm::Page* page = cold.alloc(Order(3));
    phys = cold.map.phys(page);
    fill(machine_, phys, 8, 2);
    ASSERT_TRUE(cold.kho->preserve_page(page, Order(3)).has_value());
    cold.commit();
  }
  KhoParams off = test_params();
  off.enabled = false;
  {
    log::Capture capture;
    Generation second(machine_, off);
    EXPECT_FALSE(second.kho->is_enabled());
    EXPECT_EQ(second.state(phys), mm::FrameState::kReserved);
    EXPECT_EQ(second.kho->restore_page(phys), nullptr);
    EXPECT_EQ(second.kho->retrieve_subtree("kexec-metadata").error().code, Errno{ENOENT});
    EXPECT_EQ(second.kho->preserve_pages(second.alloc(kOrder0), 1).error().code, Errno{EINVAL});
    EXPECT_EQ(second.kho->add_subtree("x", machine_.at<void>(phys), 8).error().code, Errno{EINVAL});
    EXPECT_EQ(second.kho->commit(second.mailbox, hw::HandoverKind::kStanding, 2).error().code, Errno{ENODEV});
  }
  // The old handover was never replaced: the kernel after next still finds it.
  Generation third(machine_);
  EXPECT_TRUE(third.adopted_handover);
  EXPECT_NE(third.kho->restore_page(phys), nullptr);
  EXPECT_TRUE(is_filled(machine_, phys, 8, 2));
}

TEST_F(Boot, AFailedScratchReservationTurnsKhoOff) {
  log::Capture capture;
  KhoParams params = test_params();
  params.scratch.low = MiB(64);
  Generation cold(machine_, params);
  EXPECT_FALSE(cold.kho->is_enabled());
  EXPECT_TRUE(cold.initialised.has_value());
  EXPECT_TRUE(capture.contains("KHO is off for this boot"));
}

TEST_F(Boot, BadKexecMetadataIsIgnoredWithAWarning) {
  for (int damage = 0; damage < 2; ++damage) {
    machine_.mailbox().erase();
    PhysAddr blob;
    {
      Generation cold(machine_);
      cold.commit();
      // A boot of the same memory, to learn where the metadata lies.
      Generation peek(machine_);
      blob = peek.kho->retrieve_subtree("kexec-metadata")->phys;
    }
    auto* metadata = machine_.at<abi::KexecMetadata>(blob);
    EXPECT_EQ(metadata->version, 1u);
    if (damage == 0) metadata->version = 2;
    if (damage == 1) std::memset(metadata->previous_release, 'x', sizeof metadata->previous_release);
    log::Capture capture;
    Generation warm(machine_);
    EXPECT_TRUE(warm.adopted_handover);
    EXPECT_EQ(capture.contains("kexec-metadata ignored"), damage == 0);
    EXPECT_EQ(warm.kho->stats().kexec_count, damage == 0 ? 0u : 1u);
    EXPECT_EQ(warm.kho->stats().previous_release.size(), damage == 0 ? 0u : 65u);
  }
}

TEST_F(Boot, EitherFormatIsAcceptedWhateverTheOutgoingOneIs) {
  { Generation(machine_, test_params(Format::kTyped)).commit(); }
  {
    Generation second(machine_, test_params(Format::kV4));
    EXPECT_TRUE(second.adopted_handover);
    EXPECT_EQ(second.kho->incoming_format(), Format::kTyped);
    second.commit();
  }
  Generation third(machine_, test_params(Format::kTyped));
  EXPECT_EQ(third.kho->incoming_format(), Format::kV4);
}

TEST_F(Boot, GenerationsDoNotAccumulateWhatIsLeftByDesign) {
  { Generation(machine_).commit(); }
  std::vector<uint64_t> managed;
  for (int i = 0; i < 5; ++i) {
    Generation warm(machine_);
    warm.commit();
    EXPECT_EQ(warm.kho->stats().unrestored_pages, 2u);
    managed.push_back(warm.managed_pages());
  }
  EXPECT_EQ(managed.front(), managed.back());
}

}  // namespace
}  // namespace causeway::kho
