// Random operations against a reference: which frames belong to whom. Whatever happens, no frame has two
// owners, the books balance, every frame is in exactly one state, and in the end all is one again.
#include <gtest/gtest.h>

#include <map>
#include <random>

#include "mm/testing/memory.h"

namespace causeway::mm {
namespace {

struct Owned {
  enum Kind { kBlock, kCompound, kSingles } kind;
  uint64_t pages;
};

class Model {
 public:
  explicit Model(uint32_t seed)
      : random_(seed), ram_(layout(), true, [](BootMemory& boot) {
          EXPECT_TRUE(boot.reserve({PhysAddr(MiB(20)), MiB(8)}));
          EXPECT_TRUE(boot.reserve({PhysAddr(MiB(29) + 0x3000), KiB(20)}, Reservation::kNoInit));
        }) {
    ram_->release_reserved({Pfn(MiB(20) >> kPageShift), Pfn(MiB(28) >> kPageShift)}, MigrateType::kCma);
  }

  void step() {
    switch (random_() % 10) {
      case 0:
      case 1:
      case 2:
        return alloc(random_() % 11, false);
      case 3:
        return alloc(random_() % 11, true);
      case 4:
        return alloc_contig();
      case 5:
        return split();
      case 6:
        return drain();
      default:
        return release();
    }
  }

  void check() {
    uint64_t owned = 0;
    for (auto& [pfn, block] : owned_) owned += block.pages;
    EXPECT_EQ(ram_.free_pages() + owned, ram_.managed_pages());
    EXPECT_EQ(ram_->stats().bad_pages, 0u);
  }
  void check_every_frame() {
    check();
    EXPECT_EQ(ram_.count(FrameState::kFree), ram_.free_pages());
    EXPECT_EQ(ram_.count(FrameState::kAllocated), ram_.managed_pages() - ram_.free_pages());
    EXPECT_EQ(ram_.count(FrameState::kReserved), 6u);
  }
  void finish() {
    while (!owned_.empty()) release();
    ram_.expect_all_free();
    // The pageblocks are whole again, with nothing but frame 0 and the five reserved ones missing.
    uint64_t blocks = 0;
    while (ram_->alloc_pages(kMaxPageOrder, kGfpKernel | Gfp::kMovable | Gfp::kNoWarn)) ++blocks;
    EXPECT_EQ(blocks, MiB(52) / MiB(4) - 2);
  }

 private:
  static std::vector<MemRange> layout() { return {{PhysAddr(0), MiB(32)}, {kDma32Limit, MiB(20)}}; }

  Gfp random_gfp() {
    Gfp gfp = kGfpKernel | Gfp::kNoWarn;
    if (random_() % 3 == 0) gfp = gfp | Gfp::kMovable;
    if (random_() % 5 == 0) gfp = gfp | Gfp::kDma32;
    return gfp;
  }
  void own(Page* page, Owned block, Gfp gfp) {
    Pfn pfn = ram_.map().pfn(page);
    PfnRange range{pfn, pfn + block.pages};
    auto next = owned_.lower_bound(pfn.value());
    if (next != owned_.end()) {
      ASSERT_LE(range.end.value(), next->first);
    }
    if (next != owned_.begin()) {
      auto before = std::prev(next);
      ASSERT_LE(before->first + before->second.pages, pfn.value());
    }
    if (has(gfp, Gfp::kDma32)) {
      ASSERT_LE(range.end, kNormalStart);
    }
    PfnRange cma{Pfn(MiB(20) >> kPageShift), Pfn(MiB(28) >> kPageShift)};
    if (!has(gfp, Gfp::kMovable)) {
      ASSERT_FALSE(range.overlaps(cma));
    }
    owned_[pfn.value()] = block;
  }
  void alloc(unsigned order, bool compound) {
    Gfp gfp = random_gfp();
    if (compound) gfp = gfp | Gfp::kComp;
    auto page = random_() % 8 == 0 ? ram_->alloc_pages_below(Order(order), gfp, PhysAddr(random_() % MiB(40)))
                                   : ram_->alloc_pages(Order(order), gfp);
    if (!page) return;
    EXPECT_EQ((*page)->count(), 1);
    own(*page, {compound && order > 0 ? Owned::kCompound : Owned::kBlock, uint64_t{1} << order}, gfp);
  }
  void alloc_contig() {
    Gfp gfp = random_gfp();
    uint64_t pages = 1 + random_() % 3000;
    auto page = ram_->alloc_contig(pages, uint64_t{1} << random_() % 11, gfp);
    if (page) own(*page, {Owned::kSingles, pages}, gfp);
  }
  std::map<uint64_t, Owned>::iterator pick() {
    auto it = owned_.lower_bound(random_() % 2 != 0 ? random_() % (MiB(32) >> kPageShift)
                                                    : kNormalStart.value() + random_() % 5120);
    return it == owned_.end() ? owned_.begin() : it;
  }
  void split() {
    if (owned_.empty()) return;
    auto it = pick();
    if (it->second.kind != Owned::kBlock) return;
    ASSERT_TRUE(ram_->split_page(ram_.page(it->first), Order::covering(it->second.pages * kPageSize)));
    it->second.kind = Owned::kSingles;
  }
  void drain() {
    if (random_() % 10 == 0) ram_->drain_per_cpu_lists();
  }
  void release() {
    if (owned_.empty()) return;
    auto it = pick();
    auto [pfn, block] = *it;
    owned_.erase(it);
    Page* page = ram_.page(pfn);
    switch (block.kind) {
      case Owned::kCompound:
        return ram_->put_page(page + random_() % block.pages);
      case Owned::kBlock:
        return ram_->free_pages(page, Order::covering(block.pages * kPageSize));
      case Owned::kSingles: {
        // Some one by one, the rest as a range.
        uint64_t loose = random_() % 3 == 0 ? block.pages : random_() % 4 % block.pages;
        for (uint64_t i = 0; i < loose; ++i) ram_->put_page(page + i);
        return ram_->free_contig(page + loose, block.pages - loose);
      }
    }
  }

  std::mt19937 random_;
  TestMemory ram_;
  std::map<uint64_t, Owned> owned_;
};

TEST(Model, TenThousandRandomOperationsKeepTheBooks) {
  for (uint32_t seed = 1; seed <= 4; ++seed) {
    SCOPED_TRACE(seed);
    Model model(seed);
    for (int i = 0; i < 2500; ++i) {
      model.step();
      if (testing::Test::HasFatalFailure()) return;
      if (i % 50 == 0) model.check();
      if (i % 1000 == 999) model.check_every_frame();
    }
    model.finish();
  }
}

}  // namespace
}  // namespace causeway::mm
