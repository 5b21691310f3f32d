#include "mm/vmalloc.h"

#include <gtest/gtest.h>

#include <cstring>

#include "base/log.h"
#include "mm/testing/memory.h"

namespace causeway::mm {
namespace {

class VmallocTest : public testing::Test {
 protected:
  Result<PageBacking> backing(PhysAddr address) {
    ++lookups_;
    PageBacking found{.fd = ram_.fd()};
    if (!ram_.locate(address, &found.offset, &found.contiguous)) return fail(EINVAL, "no RAM there");
    return found;
  }
  TestMemory ram_{both_zones()};
  int lookups_ = 0;
  Vmalloc vmalloc_{ram_.allocator(), [this](PhysAddr address) { return backing(address); }};
};

TEST_F(VmallocTest, AreaIsZeroedWholePagesAndAnAliasOfTheDirectMap) {
  const VmArea* area = *vmalloc_.alloc(10'000, kGfpKernel);
  EXPECT_EQ(area->size, 3 * kPageSize);
  EXPECT_EQ(area->flags, kVmAlloc);
  EXPECT_EQ(area->pages.size(), 3u);
  for (uint64_t i = 0; i < area->size; ++i) ASSERT_EQ(area->address[i], std::byte{0});
  for (uint64_t i = 0; i < 3; ++i) {
    std::memset(area->address + i * kPageSize, static_cast<int>(i + 1), kPageSize);
    EXPECT_EQ(*ram_.map().address(area->pages[i]), static_cast<std::byte>(i + 1));
    EXPECT_EQ(*vmalloc_.to_phys(area->address + i * kPageSize + 5), ram_.map().phys(area->pages[i]) + 5);
  }
  vmalloc_.free(area->address);
  ram_.expect_all_free();
}

TEST_F(VmallocTest, ContiguousPagesAreOneMapping) {
  const VmArea* area = *vmalloc_.alloc(MiB(4), kGfpKernel);
  EXPECT_EQ(lookups_, 1);
  vmalloc_.free(area->address);
}

TEST_F(VmallocTest, ScatteredPagesAreMappedInTheirOrder) {
  std::vector<Page*> pages;
  for (int i = 0; i < 20; ++i) pages.push_back(*ram_->alloc_pages(kOrder0, kGfpKernel));
  std::swap(pages[3], pages[15]);
  std::swap(pages[0], pages[19]);
  for (size_t i = 0; i < pages.size(); ++i) *ram_.map().address_as<uint64_t>(pages[i]) = i;
  const VmArea* area = *vmalloc_.map(pages, kOrder0, kVmMap);
  for (size_t i = 0; i < pages.size(); ++i) {
    EXPECT_EQ(*reinterpret_cast<uint64_t*>(area->address + i * kPageSize), i);
  }
  vmalloc_.free(area->address);
  for (Page* page : pages) EXPECT_EQ(page->count(), 1);  // only unmapped
}

TEST_F(VmallocTest, HugeAreaHasBlocksOfOrder9WhosePagesAreTheirOwn) {
  const VmArea* area = *vmalloc_.alloc(MiB(5), kGfpKernel, true);
  EXPECT_EQ(area->flags, kVmAlloc | kVmAllowHuge);
  EXPECT_EQ(area->page_order, Order(9));
  EXPECT_EQ(area->size, MiB(6));
  ASSERT_EQ(area->pages.size(), 3u);
  EXPECT_EQ(area->pages[2][511].count(), 1);
  EXPECT_EQ(*vmalloc_.to_phys(area->address + MiB(4) + 77), ram_.map().phys(area->pages[2]) + 77);
  vmalloc_.free(area->address);
  ram_.expect_all_free();
}

TEST_F(VmallocTest, WithoutLargeBlocksAHugeAreaIsMadeOfSinglePages) {
  std::vector<Page*> singles;
  while (auto page = ram_->alloc_pages(kOrder0, kGfpKernel | Gfp::kNoWarn)) singles.push_back(*page);
  for (size_t i = 0; i < singles.size(); i += 2) ram_->put_page(singles[i]);
  const VmArea* area = *vmalloc_.alloc(MiB(2), kGfpKernel, true);
  EXPECT_EQ(area->page_order, kOrder0);
  EXPECT_EQ(area->pages.size(), 512u);
  vmalloc_.free(area->address);
}

TEST_F(VmallocTest, TooMuchIsEnomemAndNothingIsKept) {
  EXPECT_EQ(vmalloc_.alloc(0, kGfpKernel).error().code, Errno{EINVAL});
  log::Capture log;
  EXPECT_EQ(vmalloc_.alloc(MiB(200), kGfpKernel | Gfp::kNoWarn).error().code, Errno{ENOMEM});
  EXPECT_EQ(vmalloc_.alloc(~uint64_t{0}, kGfpKernel | Gfp::kNoWarn).error().code, Errno{ENOMEM});
  ram_.expect_all_free();
}

TEST_F(VmallocTest, AFailedMappingGivesThePagesBack) {
  Vmalloc blind(ram_.allocator(),
                [](PhysAddr) -> Result<PageBacking> { return fail(EINVAL, "no RAM there"); });
  EXPECT_EQ(blind.alloc(MiB(1), kGfpKernel).error().code, Errno{EINVAL});
  Vmalloc broken(ram_.allocator(), [](PhysAddr) -> Result<PageBacking> {
    return PageBacking{-1, 0, MiB(1)};
  });
  EXPECT_EQ(broken.alloc(MiB(1), kGfpKernel).error().code, Errno{EBADF});
  ram_.expect_all_free();
}

TEST_F(VmallocTest, MapRefusesNoPagesAndUnalignedBlocks) {
  EXPECT_EQ(vmalloc_.map({}, kOrder0, kVmMap).error().code, Errno{EINVAL});
  Page* block = *ram_->alloc_pages(Order(2), kGfpKernel);
  std::vector<Page*> pages = {block + 1};
  EXPECT_EQ(vmalloc_.map(pages, Order(1), kVmMap).error().code, Errno{EINVAL});
}

TEST_F(VmallocTest, RestoredPagesMappedAsAllocationAreFreedWithTheArea) {
  std::vector<Page*> pages = {*ram_->alloc_pages(Order(1), kGfpKernel),
                              *ram_->alloc_pages(Order(1), kGfpKernel)};
  for (Page* page : pages) ASSERT_TRUE(ram_->split_page(page, Order(1)));
  const VmArea* area = *vmalloc_.map(pages, Order(1), kVmAlloc);
  EXPECT_EQ(area->size, 4 * kPageSize);
  vmalloc_.free(area->address);
  ram_.expect_all_free();
}

TEST_F(VmallocTest, FindKnowsTheAreaOfEveryAddressAndNoOther) {
  const VmArea* first = *vmalloc_.alloc(8 * kPageSize, kGfpKernel);
  const VmArea* second = *vmalloc_.alloc(kPageSize, kGfpKernel);
  EXPECT_EQ(vmalloc_.find(first->address), first);
  EXPECT_EQ(vmalloc_.find(first->address + first->size - 1), first);
  EXPECT_EQ(vmalloc_.find(second->address + 7), second);
  EXPECT_EQ(vmalloc_.find(first->address + first->size), nullptr);  // the guard page
  EXPECT_EQ(vmalloc_.find(ram_.map().address(first->pages[0])), nullptr);
  EXPECT_EQ(vmalloc_.to_phys(this).error().code, Errno{EINVAL});
}

TEST_F(VmallocTest, FreeingWhatIsNotAnAreaIsReportedAndIgnored) {
  log::Capture log;
  const VmArea* area = *vmalloc_.alloc(2 * kPageSize, kGfpKernel);
  vmalloc_.free(area->address + kPageSize);
  vmalloc_.free(this);
  vmalloc_.free(nullptr);
  EXPECT_EQ(log.lines().size(), 2u);
  EXPECT_EQ(vmalloc_.find(area->address), area);
}

}  // namespace
}  // namespace causeway::mm
