// For tests: RAM in a memfd at given physical addresses, with a direct map, a memory map and an allocator.
//
//   TestMemory ram({{PhysAddr(0), MiB(64)}, {PhysAddr(GiB(4)), MiB(64)}});
//   Page* page = *ram->alloc_pages(kOrder0, kGfpKernel);
//   ram.expect_all_free();                  // every frame is free again, in as few blocks as at first
#pragma once

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <functional>
#include <memory>
#include <vector>

#include "base/unique_fd.h"
#include "mm/page_allocator.h"
#include "platform/direct_map.h"

namespace causeway::mm {

inline constexpr Pfn kNormalStart = Pfn::containing(kDma32Limit);

class TestMemory {
 public:
  // `prepare` may reserve parts before the allocator takes over. Nothing is mapped beyond `ranges`, but
  // `limit` bytes of physical address space have struct pages.
  explicit TestMemory(std::vector<MemRange> ranges, bool check_pages = true,
                      std::function<void(BootMemory&)> prepare = {}, uint64_t limit = GiB(8))
      : ranges_(std::move(ranges)) {
    direct_map_ = std::make_unique<platform::DirectMap>(platform::DirectMap::create(limit).value());
    fd_ = UniqueFd(::memfd_create("test ram", MFD_CLOEXEC));
    uint64_t offset = 0;
    for (const MemRange& range : ranges_) {
      EXPECT_EQ(0, ::ftruncate(fd_.get(), static_cast<off_t>(offset + range.size)));
      EXPECT_TRUE(direct_map_->map(range.base, range.size, fd_.get(), offset));
      EXPECT_TRUE(boot_.add(range));
      offset += range.size;
    }
    if (prepare) prepare(boot_);
    map_ = std::make_unique<MemMap>(MemMap::create(*direct_map_).value());
    allocator_ = PageAllocator::create(*map_, check_pages).value();
    allocator_->take_over(boot_);
  }

  PageAllocator* operator->() { return allocator_.get(); }
  PageAllocator& allocator() { return *allocator_; }
  MemMap& map() { return *map_; }
  platform::DirectMap& direct_map() { return *direct_map_; }
  BootMemory& boot() { return boot_; }
  Page* page(uint64_t pfn) { return map_->page(Pfn(pfn)); }
  int fd() const { return fd_.get(); }
  // Where a physical address lies in fd(), and how far the range goes on; false for no RAM.
  bool locate(PhysAddr address, uint64_t* offset, uint64_t* left) const {
    uint64_t start = 0;
    for (const MemRange& range : ranges_) {
      if (range.base <= address && address < range.end()) {
        *offset = start + (address - range.base);
        *left = range.end() - address;
        return true;
      }
      start += range.size;
    }
    return false;
  }

  uint64_t free_pages() {
    PageStats stats = allocator_->stats();
    return stats.zone[0].free_pages + stats.zone[1].free_pages;
  }
  uint64_t managed_pages() {
    PageStats stats = allocator_->stats();
    return stats.zone[0].managed_pages + stats.zone[1].managed_pages;
  }
  // Frames of RAM that are in this state, one by one.
  uint64_t count(FrameState state) {
    uint64_t found = 0;
    for (const MemRange& range : ranges_) {
      for (Pfn pfn = Pfn::containing(range.base); pfn < Pfn::containing(range.end()); ++pfn) {
        found += allocator_->state(pfn) == state;
      }
    }
    return found;
  }
  void expect_all_free() {
    allocator_->drain_per_cpu_lists();
    EXPECT_EQ(managed_pages(), free_pages());
    EXPECT_EQ(count(FrameState::kFree), free_pages());
    EXPECT_EQ(0u, allocator_->stats().bad_pages);
  }

 private:
  std::vector<MemRange> ranges_;
  UniqueFd fd_;
  std::unique_ptr<platform::DirectMap> direct_map_;
  BootMemory boot_;
  std::unique_ptr<MemMap> map_;
  std::unique_ptr<PageAllocator> allocator_;
};

// 64 MiB below and 64 MiB above 4 GiB.
inline std::vector<MemRange> both_zones() {
  return {{PhysAddr(0), MiB(64)}, {kDma32Limit, MiB(64)}};
}
inline std::vector<MemRange> low_only(uint64_t size = MiB(64)) {
  return {{PhysAddr(0), size}};
}

}  // namespace causeway::mm
