#include <gtest/gtest.h>
#include <libfdt.h>

#include "base/log.h"
#include "base/point.h"
#include "kho/testing/test_machine.h"

namespace causeway::kho {
namespace {

class Subtrees : public ::testing::Test {
 protected:
  void SetUp() override {
    log::set_level(log::Level::kWarn);
    now_ = std::make_unique<Generation>(machine_);
    blob_ = *now_->kho->alloc_preserve(kPageSize);
  }
  void TearDown() override { log::set_level(log::Level::kInfo); }
  void kexec() {
    now_->commit();
    now_ = std::make_unique<Generation>(machine_);
  }
  const void* published_fdt() { return machine_.at<void>(machine_.mailbox().current()->fdt_addr); }

  TestMachine machine_;
  std::unique_ptr<Generation> now_;
  void* blob_ = nullptr;
};

TEST_F(Subtrees, AreFoundByNameInTheNextKernel) {
  ASSERT_TRUE(now_->kho->add_subtree("LUO", blob_, 32).has_value());
  const PhysAddr phys = now_->phys(blob_);
  kexec();
  auto found = now_->kho->retrieve_subtree("LUO");
  ASSERT_TRUE(found.has_value());
  EXPECT_EQ(found->phys, phys);
  EXPECT_EQ(found->size, 32u);
  // Retrieving restores nothing, and may be repeated.
  EXPECT_TRUE(now_->kho->retrieve_subtree("LUO").has_value());
  EXPECT_EQ(now_->kho->preserved_order(phys), kOrder0);
  EXPECT_EQ(now_->kho->retrieve_subtree("memblock").error().code, Errno{ENOENT});
}

TEST_F(Subtrees, Errors) {
  ASSERT_TRUE(now_->kho->add_subtree("LUO", blob_, 32).has_value());
  EXPECT_EQ(now_->kho->add_subtree("LUO", blob_, 32).error().code, Errno{EEXIST});
  EXPECT_EQ(now_->kho->add_subtree("kexec-metadata", blob_, 32).error().code, Errno{EEXIST});
  int elsewhere = 0;
  EXPECT_EQ(now_->kho->add_subtree("x", &elsewhere, 4).error().code, Errno{EINVAL});
  EXPECT_EQ(now_->kho->add_subtree("x", blob_, 0).error().code, Errno{EINVAL});
  EXPECT_EQ(now_->kho->retrieve_subtree("LUO").error().code, Errno{ENOENT});  // not a KHO boot
}

TEST_F(Subtrees, ABlobThatWasNotPreservedIsEinvalInTheNextKernel) {
  void* loose = now_->map.address(now_->alloc(kOrder0));
  ASSERT_TRUE(now_->kho->add_subtree("loose", loose, 32).has_value());
  kexec();
  log::Capture capture;
  EXPECT_EQ(now_->kho->retrieve_subtree("loose").error().code, Errno{EINVAL});
  EXPECT_TRUE(capture.contains("not wholly preserved"));
}

TEST_F(Subtrees, TheFdtPageFillsUpAtomically) {
  int count = 0;
  Status last;
  while ((last = now_->kho->add_subtree("subtree" + std::to_string(count), blob_, 8)).has_value()) ++count;
  EXPECT_EQ(last.error().code, Errno{ENOMEM});
  kexec();
  EXPECT_TRUE(now_->kho->retrieve_subtree("subtree" + std::to_string(count - 1)).has_value());
  EXPECT_EQ(now_->kho->retrieve_subtree("subtree" + std::to_string(count)).error().code, Errno{ENOENT});
}

TEST_F(Subtrees, RemovedOnesAreGone) {
  ASSERT_TRUE(now_->kho->add_subtree("a", blob_, 8).has_value());
  now_->kho->remove_subtree(blob_);
  now_->kho->remove_subtree(blob_);
  now_->kho->remove_subtree(nullptr);
  kexec();
  EXPECT_EQ(now_->kho->retrieve_subtree("a").error().code, Errno{ENOENT});
}

TEST_F(Subtrees, ChangesAfterCommitReachTheNextKernel) {
  now_->commit();
  const KhoStats before = now_->kho->stats();
  ASSERT_TRUE(now_->kho->add_subtree("late", blob_, 8).has_value());
  ASSERT_TRUE(now_->kho->add_subtree("later", static_cast<char*>(blob_) + 8, 8).has_value());
  now_->kho->remove_subtree(blob_);
  // One FDT page is preserved, not one per change.
  EXPECT_EQ(now_->kho->stats().preserved_blocks, before.preserved_blocks);
  now_ = std::make_unique<Generation>(machine_);
  EXPECT_EQ(now_->kho->retrieve_subtree("late").error().code, Errno{ENOENT});
  EXPECT_TRUE(now_->kho->retrieve_subtree("later").has_value());
  EXPECT_EQ(now_->kho->stats().unrestored_by_design, 2u);
}

TEST_F(Subtrees, ThePublishedPageIsNeverWrittenTo) {
  now_->commit();
  for (int i = 0; i < 5; ++i) {
    const PhysAddr page = machine_.mailbox().current()->fdt_addr;
    std::vector<std::byte> before(machine_.at<std::byte>(page), machine_.at<std::byte>(page) + kPageSize);
    ASSERT_TRUE(now_->kho->add_subtree("s" + std::to_string(i), blob_, 8).has_value());
    EXPECT_NE(machine_.mailbox().current()->fdt_addr, page);
    EXPECT_EQ(std::memcmp(before.data(), machine_.at<std::byte>(page), kPageSize), 0);
    EXPECT_EQ(fdt_check_full(published_fdt(), kPageSize), 0);
  }
}

#if CW_POINTS
TEST_F(Subtrees, WithoutMemoryForTheSecondPageNothingChanges) {
  now_->commit();
  const PhysAddr page = machine_.mailbox().current()->fdt_addr;
  ASSERT_TRUE(point::arm("kho.subtree.alloc_spare=fail").has_value());
  EXPECT_EQ(now_->kho->add_subtree("late", blob_, 8).error().code, Errno{ENOMEM});
  point::disarm_all();
  EXPECT_EQ(machine_.mailbox().current()->fdt_addr, page);
  EXPECT_TRUE(now_->kho->add_subtree("late", blob_, 8).has_value());
}

TEST_F(Subtrees, AFailedInitTurnsKhoOffAndFreesScratch) {
  TestMachine machine;
  for (const char* point_name : {"kho.radix.alloc_node", "mm.alloc_pages.begin"}) {
    log::Capture capture;
    ASSERT_TRUE(point::arm(std::string(point_name) + "=fail:2").has_value());
    Generation cold(machine);
    point::disarm_all();
    EXPECT_FALSE(cold.initialised.has_value());
    EXPECT_FALSE(cold.kho->is_enabled());
    EXPECT_TRUE(capture.contains("KHO is off for this boot"));
    EXPECT_EQ(cold.kho->preserve_pages(cold.alloc(kOrder0), 1).error().code, Errno{EINVAL});
    EXPECT_EQ(cold.state(cold.kho->scratch()[0].base + MiB(1)), mm::FrameState::kFree);
    EXPECT_FALSE(cold.mailbox.current().has_value());
  }
}
#endif

}  // namespace
}  // namespace causeway::kho
