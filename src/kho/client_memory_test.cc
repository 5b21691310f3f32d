// Blocks in memory that is a client's.
#include <gtest/gtest.h>

#include "base/log.h"
#include "kho/testing/test_machine.h"

namespace causeway::kho {
namespace {

constexpr PhysAddr kClient{GiB(5)};

class ClientBlocks : public ::testing::Test {
 protected:
  ClientBlocks() { machine.give_to_client(kClient); }
  // Preserves a block of the client's, and what else `more` does, and boots the next kernel.
  template <typename More>
  std::unique_ptr<Generation> next(Block block, More more) {
    Generation first(machine);
    require(first.kho->preserve_blocks(std::span(&block, 1)).has_value(), "preserve client memory");
    more(first);
    first.commit();
    return std::make_unique<Generation>(machine);
  }
  std::unique_ptr<Generation> next(Block block) {
    return next(block, [](Generation&) {});
  }
  log::Capture quiet;
  TestMachine machine{{{PhysAddr(0), MiB(32)}, {PhysAddr(GiB(4)), MiB(32)}, {kClient, MiB(8)}}};
};

TEST_F(ClientBlocks, AreClaimedOnceAndStayReserved) {
  const Block block{Pfn::containing(kClient), Order(9)};
  auto now = next(block);
  ASSERT_TRUE(now->adopted_handover);
  EXPECT_EQ(now->kho->client_order(kClient), Order(9));
  EXPECT_TRUE(now->kho->has_unrestored({block.pfn + 511, block.pfn + 600}));
  EXPECT_FALSE(now->kho->has_unrestored({block.pfn + 512, block.pfn + 600}));
  EXPECT_EQ(now->kho->unrestored().size(), 1u);
  const uint64_t managed = now->managed_pages();
  EXPECT_TRUE(now->kho->claim(kClient));
  EXPECT_FALSE(now->kho->claim(kClient));
  EXPECT_FALSE(now->kho->claim(kClient + kPageSize));
  EXPECT_EQ(now->kho->client_order(kClient), std::nullopt);
  EXPECT_TRUE(now->kho->unrestored().empty());
  EXPECT_EQ(now->kho->stats().restored_pages, 512u);
  EXPECT_EQ(now->managed_pages(), managed);
  EXPECT_EQ(now->state(kClient), mm::FrameState::kReserved);
  EXPECT_EQ(now->state(kClient + MiB(4)), mm::FrameState::kReserved);
}

TEST_F(ClientBlocks, AreRestoredByNobody) {
  auto now = next({Pfn::containing(kClient), kOrder0});
  EXPECT_EQ(now->kho->preserved_order(kClient), std::nullopt);
  EXPECT_EQ(now->kho->restore_folio(kClient), nullptr);
  EXPECT_EQ(now->kho->restore_page(kClient), nullptr);
  EXPECT_EQ(now->kho->restore_pages(kClient, 1), nullptr);
  EXPECT_TRUE(now->kho->claim(kClient));
}

TEST_F(ClientBlocks, ABlobThereIsRefused) {
  auto now = next({Pfn::containing(kClient), kOrder0}, [&](Generation& first) {
    require(first.kho->add_subtree("blob", machine.at<std::byte>(kClient), 8).has_value(), "add a subtree");
  });
  ASSERT_TRUE(now->adopted_handover);
  EXPECT_EQ(now->kho->retrieve_subtree("blob").error().code, Errno{EINVAL});
}

TEST_F(ClientBlocks, ClaimRefusesBootRamAndNonsense) {
  PhysAddr page;
  auto now = next({Pfn::containing(kClient), kOrder0}, [&](Generation& first) {
    page = first.map.phys(first.alloc(kOrder0));
    require(first.kho->preserve_folio(first.page(page)).has_value(), "preserve a page");
  });
  for (PhysAddr at : {page, PhysAddr(0), kClient + 1, kClient + kPageSize, PhysAddr(~uint64_t{0})})
    EXPECT_FALSE(now->kho->claim(at)) << at.value();
  EXPECT_EQ(now->kho->preserved_order(page), kOrder0);
}

TEST_F(ClientBlocks, PreservedIsKnownByRange) {
  Generation first(machine);
  const Pfn pfn = Pfn::containing(kClient);
  EXPECT_FALSE(first.kho->is_preserved({pfn, pfn + 2048}));
  require(first.kho->preserve_page(first.page(kClient + MiB(2)), Order(3)).has_value(), "preserve");
  EXPECT_TRUE(first.kho->is_preserved({pfn, pfn + 2048}));
  EXPECT_TRUE(first.kho->is_preserved({pfn + 519, pfn + 520}));
  EXPECT_FALSE(first.kho->is_preserved({pfn + 520, pfn + 2048}));
}

TEST_F(ClientBlocks, AnImageWithScratchInClientMemoryIsRefused) {
  {
    Generation first(machine);
    first.commit();
  }
  // What was boot RAM is a client's now: scratch lies in it.
  machine.give_to_client(PhysAddr(GiB(4)));
  Generation second(machine);
  EXPECT_FALSE(second.adopted_handover);
}

}  // namespace
}  // namespace causeway::kho
