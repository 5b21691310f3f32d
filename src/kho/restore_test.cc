#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "base/log.h"
#include "kho/testing/test_machine.h"

namespace causeway::kho {
namespace {

// An old generation that preserves, and a new one that restores.
class Restore : public ::testing::TestWithParam<Format> {
 protected:
  void SetUp() override {
    log::set_level(log::Level::kWarn);
    old_ = std::make_unique<Generation>(machine_, test_params(format()));
  }
  void TearDown() override {
    if (new_ != nullptr) new_->expect_sound();
    log::set_level(log::Level::kInfo);
  }
  virtual Format format() const { return GetParam(); }

  void kexec() {
    old_->commit();
    old_.reset();
    new_ = std::make_unique<Generation>(machine_);
    ASSERT_TRUE(new_->adopted_handover);
  }
  PhysAddr preserve_unsplit(unsigned order) {
    mm::Page* page = old_->alloc(Order(order));
    EXPECT_TRUE(old_->kho->preserve_page(page, Order(order)).has_value());
    fill(machine_, old_->map.phys(page), uint64_t{1} << order, order);
    return old_->map.phys(page);
  }
  std::vector<int> counts(PhysAddr phys, uint64_t pages) {
    std::vector<int> result;
    for (uint64_t i = 0; i < pages; ++i) result.push_back(new_->page(phys)[i].count());
    return result;
  }
  Kho& kho() { return *new_->kho; }

  TestMachine machine_;
  std::unique_ptr<Generation> old_, new_;
};

TEST_P(Restore, APageIsCountedOnItsHeadOnly) {
  const PhysAddr phys = preserve_unsplit(2);
  kexec();
  const uint64_t managed = new_->managed_pages();
  mm::Page* page = kho().restore_page(phys);
  ASSERT_NE(page, nullptr);
  EXPECT_EQ(counts(phys, 4), (std::vector{1, 0, 0, 0}));
  EXPECT_FALSE(page->has(mm::kPageHead));
  EXPECT_EQ(page->private_data, 0u);
  EXPECT_EQ(new_->managed_pages(), managed + 4);
  EXPECT_TRUE(is_filled(machine_, phys, 4, 2));
  new_->allocator->free_pages(page, Order(2));
  EXPECT_EQ(new_->state(phys + 3 * kPageSize), mm::FrameState::kFree);
}

TEST_P(Restore, AFolioIsCompound) {
  const PhysAddr phys = preserve_unsplit(2);
  kexec();
  mm::Page* folio = kho().restore_folio(phys);
  ASSERT_NE(folio, nullptr);
  EXPECT_EQ(counts(phys, 4), (std::vector{1, 0, 0, 0}));
  EXPECT_TRUE(folio->has(mm::kPageHead));
  EXPECT_EQ(new_->map.head(folio + 3), folio);
  new_->allocator->put_page(folio + 2);
  EXPECT_EQ(new_->state(phys), mm::FrameState::kFree);
}

TEST_P(Restore, AFolioOfOrder0HasNoCompoundMetadata) {
  const PhysAddr phys = preserve_unsplit(0);
  kexec();
  mm::Page* folio = kho().restore_folio(phys);
  ASSERT_NE(folio, nullptr);
  EXPECT_FALSE(folio->has(mm::kPageHead));
  new_->allocator->put_page(folio);
  EXPECT_EQ(new_->state(phys), mm::FrameState::kFree);
}

TEST_P(Restore, IsOneShotAndWarnsOncePerBoot) {
  const PhysAddr phys = preserve_unsplit(1);
  kexec();
  ASSERT_NE(kho().restore_page(phys), nullptr);
  log::Capture capture;
  EXPECT_EQ(kho().restore_page(phys), nullptr);
  EXPECT_EQ(kho().restore_folio(phys), nullptr);
  EXPECT_EQ(kho().restore_pages(phys, 2), nullptr);
  EXPECT_EQ(capture.lines().size(), 1u);
  EXPECT_EQ(kho().stats().failed_restores, 3u);
}

TEST_P(Restore, OnlyHeadsOfPreservedBlocksRestore) {
  const PhysAddr phys = preserve_unsplit(2);
  kexec();
  log::Capture quiet;
  const PhysAddr bad[] = {phys + kPageSize,
                          phys + 8,
                          PhysAddr(0),
                          PhysAddr(GiB(3)),
                          PhysAddr(GiB(8)),
                          PhysAddr(GiB(900)),
                          PhysAddr(~uint64_t{0}),
                          PhysAddr(~uint64_t{0} & kPageMask)};
  for (PhysAddr each : bad) {
    EXPECT_EQ(kho().restore_page(each), nullptr) << each.value();
    EXPECT_EQ(kho().restore_folio(each), nullptr);
    EXPECT_EQ(kho().restore_pages(each, 1), nullptr);
    EXPECT_EQ(kho().preserved_order(each), std::nullopt);
  }
  EXPECT_NE(kho().restore_page(phys), nullptr);
}

// A page allocated in this boot whose private word an owner has set.
TEST_P(Restore, AForgedStampIsNotBelieved) {
  kexec();
  mm::Page* mine = new_->alloc(Order(1));
  log::Capture quiet;
  for (uint64_t order : {uint64_t{1}, uint64_t{52}, uint64_t{63}, uint64_t{0x7fffffff}}) {
    mine[1].private_data = abi::kPageMagic << 32 | order;
    EXPECT_EQ(kho().restore_folio(new_->map.phys(mine + 1)), nullptr) << order;
  }
  mine[1].private_data = 0;
}

TEST_P(Restore, RestoringFewerPagesRestoresTheWholeRecordedBlock) {
  const PhysAddr phys = preserve_unsplit(3);
  kexec();
  mm::Page* page = kho().restore_pages(phys, 4);
  ASSERT_NE(page, nullptr);
  if (format() == Format::kV4) {
    EXPECT_EQ(counts(phys, 8), std::vector(8, 1));
  } else {
    EXPECT_EQ(counts(phys, 8), (std::vector{1, 0, 0, 0, 0, 0, 0, 0}));
  }
  EXPECT_EQ(kho().stats().restored_pages, 8u);
}

TEST_P(Restore, LinuxDefectNotReproducedARunIsRestoredWhollyOrNotAtAll) {
  mm::Page* run = *old_->allocator->alloc_contig(12, 8, mm::kGfpKernel);
  ASSERT_TRUE(old_->kho->preserve_pages(run, 12).has_value());
  const PhysAddr phys = old_->map.phys(run);
  kexec();
  log::Capture quiet;
  EXPECT_EQ(kho().restore_pages(phys, 13), nullptr);
  EXPECT_EQ(kho().restore_pages(phys, ~uint64_t{0}), nullptr);
  EXPECT_EQ(kho().restore_pages(phys, 0), nullptr);
  EXPECT_EQ(kho().stats().restored_pages, 0u);
  EXPECT_EQ(counts(phys, 12), std::vector(12, 0));
  ASSERT_NE(kho().restore_pages(phys, 12), nullptr);
  EXPECT_EQ(counts(phys, 12), std::vector(12, 1));
  new_->allocator->free_contig(new_->page(phys), 12);
}

// Preserved in other pieces than this kernel would cut: as at the seam of two NUMA nodes.
TEST_P(Restore, LinuxDefectNotReproducedARunStepsByTheRecordedOrders) {
  mm::Page* run = *old_->allocator->alloc_contig(16, 16, mm::kGfpKernel);
  ASSERT_TRUE(old_->kho->preserve_pages(run, 3).has_value());
  ASSERT_TRUE(old_->kho->preserve_pages(run + 3, 13).has_value());
  const PhysAddr phys = old_->map.phys(run);
  kexec();
  ASSERT_NE(kho().restore_pages(phys, 16), nullptr);
  EXPECT_EQ(counts(phys, 16), std::vector(16, 1));
}

TEST_P(Restore, RestoreFreeGivesBackAtCommitNotBefore) {
  void* memory = *old_->kho->alloc_preserve(3 * kPageSize);
  const PhysAddr phys = old_->phys(memory);
  fill(machine_, phys, 4, 9);
  kexec();
  kho().restore_free(machine_.at<void>(phys));
  EXPECT_EQ(new_->state(phys), mm::FrameState::kAllocated);
  EXPECT_TRUE(is_filled(machine_, phys, 4, 9));
  new_->commit();
  EXPECT_EQ(new_->state(phys), mm::FrameState::kFree);
}

TEST_P(Restore, RestoreFreeAfterCommitIsAtOnce) {
  void* memory = *old_->kho->alloc_preserve(kPageSize);
  const PhysAddr phys = old_->phys(memory);
  kexec();
  new_->commit();
  kho().restore_free(machine_.at<void>(phys));
  EXPECT_EQ(new_->state(phys), mm::FrameState::kFree);
}

TEST_P(Restore, RestoreFreeOfWhatIsNotRestorableWarns) {
  kexec();
  log::Capture capture;
  kho().restore_free(nullptr);
  EXPECT_TRUE(capture.lines().empty());
  int elsewhere = 0;
  kho().restore_free(&elsewhere);
  kho().restore_free(machine_.at<void>(PhysAddr(MiB(1))));
  EXPECT_EQ(capture.lines().size(), 1u);
  EXPECT_EQ(kho().stats().failed_restores, 2u);
}

TEST_P(Restore, ActionsAfterCommitRunOnceInOrder) {
  kexec();
  std::vector<int> order;
  kho().after_commit([&] { order.push_back(1); });
  kho().after_commit([&] { order.push_back(2); });
  EXPECT_TRUE(order.empty());
  new_->commit();
  kho().after_commit([&] { order.push_back(3); });
  new_->commit();
  EXPECT_EQ(order, (std::vector{1, 2, 3}));
}

TEST_P(Restore, ADroppedRestoreIsRestorableByTheNextKernel) {
  const PhysAddr phys = preserve_unsplit(2);
  kexec();
  ASSERT_NE(kho().restore_page(phys), nullptr);
  new_.reset();  // dies before commit
  new_ = std::make_unique<Generation>(machine_);
  EXPECT_NE(kho().restore_page(phys), nullptr);
}

TEST_P(Restore, MemoryOutlivesManyGenerationsWhenPreservedAgain) {
  const PhysAddr phys = preserve_unsplit(3);
  kexec();
  for (int i = 0; i < 5; ++i) {
    mm::Page* page = kho().restore_page(phys);
    ASSERT_NE(page, nullptr);
    ASSERT_TRUE(kho().preserve_page(page, Order(3)).has_value());
    new_->commit();
    new_.reset();
    new_ = std::make_unique<Generation>(machine_);
  }
  EXPECT_TRUE(is_filled(machine_, phys, 8, 3));
  EXPECT_EQ(kho().preserved_order(phys), Order(3));
}

TEST_P(Restore, ConcurrentRestoresOfOneAddressHaveOneWinner) {
  std::vector<PhysAddr> all;
  for (int i = 0; i < 200; ++i) all.push_back(preserve_unsplit(0));
  kexec();
  log::Capture quiet;
  std::atomic<int> winners{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (PhysAddr phys : all) winners += kho().restore_page(phys) != nullptr;
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(winners, 200);
  EXPECT_EQ(kho().stats().restored_pages, 200u);
}

INSTANTIATE_TEST_SUITE_P(Formats, Restore, ::testing::Values(Format::kV4, Format::kTyped),
                         [](const auto& format) { return format.param == Format::kV4 ? "v4" : "typed"; });

class RestoreTyped : public Restore {
 protected:
  Format format() const override { return Format::kTyped; }
};

TEST_F(RestoreTyped, RestorePagesAppliesTheRecordedTypeOfEachBlock) {
  mm::Page* run = *old_->allocator->alloc_contig(8, 8, mm::kGfpKernel);  // every page counted
  const PhysAddr phys = old_->map.phys(run);
  run[1].set_count(0);
  run[2].set_count(0);
  run[3].set_count(0);  // the first half as an unsplit block
  ASSERT_TRUE(old_->kho->preserve_pages(run, 4).has_value());
  ASSERT_TRUE(old_->kho->preserve_pages(run + 4, 4).has_value());
  kexec();
  ASSERT_NE(kho().restore_pages(phys, 8), nullptr);
  EXPECT_EQ(counts(phys, 8), (std::vector{1, 0, 0, 0, 1, 1, 1, 1}));
  new_->allocator->free_pages(new_->page(phys), Order(2));
  new_->allocator->free_contig(new_->page(phys) + 4, 4);
}

TEST_F(RestoreTyped, TheRfcsPointAnUnsplitBlockIsFreedWholeWithoutABadPage) {
  const PhysAddr phys = preserve_unsplit(3);
  kexec();
  mm::Page* page = kho().restore_pages(phys, 8);
  ASSERT_NE(page, nullptr);
  new_->allocator->free_pages(page, Order(3));
  EXPECT_EQ(new_->state(phys), mm::FrameState::kFree);
}

class RestoreV4 : public Restore {
 protected:
  Format format() const override { return Format::kV4; }
  void TearDown() override { log::set_level(log::Level::kInfo); }
};

// The negative control: what the RFC and the explicit trio are about.
TEST_F(RestoreV4, RestoringAnUnsplitBlockAsSplitPagesTaintsWhenFreedWhole) {
  const PhysAddr phys = preserve_unsplit(3);
  kexec();
  mm::Page* page = kho().restore_pages(phys, 8);
  ASSERT_NE(page, nullptr);
  log::Capture quiet;
  new_->allocator->free_pages(page, Order(3));
  EXPECT_TRUE(new_->allocator->stats().tainted);
  EXPECT_NE(new_->state(phys), mm::FrameState::kFree);
}

}  // namespace
}  // namespace causeway::kho
