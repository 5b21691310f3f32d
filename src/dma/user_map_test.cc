// DMA memory in user mappings and as scatter lists (spec section 1.4, scenario 27).
#include "dma/user_map.h"

#include <gtest/gtest.h>
#include <sys/mman.h>

#include <cstring>

#include "dma/state.h"
#include "dma/testing/boot.h"

namespace causeway::dma::testing {
namespace {

// 27
TEST(UserMap, WindowsBeyondTheEndAreEnxioAndNeverWrap) {
  System system;
  Device device = system.device();
  Coherent memory = must(alloc_coherent(device, KiB(20), kSleep));
  DmaPages pages = must(alloc_pages(device, KiB(20), Direction::kToDevice, kSleep));
  Noncontiguous scattered =
      must(alloc_noncontiguous(device, KiB(20), Direction::kToDevice, kSleep, Attr::kNone));
  constexpr uint64_t kHuge = ~uint64_t{0};
  struct Window {
    uint64_t pgoff, count;
    int error;
  };
  for (Window w : {Window{0, 5, 0}, Window{4, 1, 0}, Window{5, 1, ENXIO}, Window{5, 0, ENXIO}, Window{0, 6, ENXIO},
                   Window{4, 2, ENXIO}, Window{kHuge, 2, ENXIO}, Window{kHuge - 1, 4, ENXIO}, Window{1, kHuge, ENXIO},
                   Window{kHuge >> kPageShift, 2, ENXIO}}) {
    EXPECT_EQ(error_of(mmap_attrs(device, memory, Attr::kNone, w.pgoff, w.count)), w.error) << w.pgoff;
    EXPECT_EQ(error_of(mmap_pages(device, pages, w.pgoff, w.count)), w.error) << w.pgoff;
    EXPECT_EQ(error_of(mmap_noncontiguous(device, scattered, w.pgoff, w.count)), w.error) << w.pgoff;
  }
}

TEST(UserMap, TheBackingIsTheMemoryItself) {
  System system;
  Device device = system.device();
  Coherent memory = must(alloc_coherent(device, KiB(20), kSleep));
  std::memset(memory.as<char>() + KiB(8), 0x5a, KiB(4));
  UserMapping mapping = must(mmap_attrs(device, memory, Attr::kNone, 2, 1));
  ASSERT_EQ(mapping.pieces.size(), 1u);
  EXPECT_EQ(mapping.policy, CachePolicy::kCached);
  EXPECT_FALSE(mapping.decrypted);
  const UserMapping::Piece& piece = mapping.pieces[0];
  void* user = ::mmap(nullptr, piece.size, PROT_READ | PROT_WRITE, MAP_SHARED, piece.fd,
                      static_cast<off_t>(piece.offset));
  ASSERT_NE(user, MAP_FAILED);
  EXPECT_EQ(std::memcmp(user, memory.as<char>() + KiB(8), KiB(4)), 0);
  static_cast<char*>(user)[7] = 'x';
  EXPECT_EQ(memory.as<char>()[KiB(8) + 7], 'x');
  ::munmap(user, piece.size);
  must(free_coherent(device, memory));
}

TEST(UserMap, CachingAndEncryptionFollowTheDevice) {
  System system({.dma = {.noncoherent_mmap = true}});
  Device incoherent = system.device({.coherent = false, .force_unencrypted = true}, "a");
  Coherent combined = must(alloc_attrs(incoherent, KiB(4), kSleep, Attr::kWriteCombine));
  UserMapping mapping = must(mmap_attrs(incoherent, combined, Attr::kWriteCombine, 0, 1));
  EXPECT_EQ(mapping.policy, CachePolicy::kWriteCombine);
  EXPECT_TRUE(mapping.decrypted);
  Coherent plain = must(alloc_coherent(incoherent, KiB(4), kSleep));
  EXPECT_EQ(must(mmap_attrs(incoherent, plain, Attr::kNone, 0, 1)).policy, CachePolicy::kUncached);
  EXPECT_EQ(error_of(mmap_attrs(incoherent, plain, Attr::kWriteCombine, 0, 1)), EINVAL) << "not as it was allocated";
}

TEST(UserMap, WhatCannotBeMappedIsEnxio) {
  System system;
  Device incoherent = system.device({.coherent = false}, "a");
  Coherent memory = must(alloc_coherent(incoherent, KiB(4), kSleep));
  EXPECT_FALSE(can_mmap(incoherent));
  EXPECT_EQ(error_of(mmap_attrs(incoherent, memory, Attr::kNone, 0, 1)), ENXIO);
  EXPECT_TRUE(can_mmap(system.device()));
  EXPECT_FALSE(can_mmap(system.device({.iommu = true})));
  EXPECT_EQ(error_of(get_sgtable_attrs(incoherent, Coherent{}, Attr::kNone)), EINVAL);
  Device foreign = system.device({.iommu = true}, "foreign");
  EXPECT_EQ(error_of(get_sgtable_attrs(foreign, memory, Attr::kNone)), ENXIO);
}

TEST(UserMap, AScatterListHasOneEntryOfWholePages) {
  System system;
  Device device = system.device();
  Coherent memory = must(alloc_coherent(device, KiB(17), kSleep));
  ScatterTable table = must(get_sgtable_attrs(device, memory, Attr::kNone));
  ASSERT_EQ(table.entries.size(), 1u);
  EXPECT_EQ(table.entries[0].phys, *device.to_phys(memory.handle));
  EXPECT_EQ(table.entries[0].length, KiB(20));
  EXPECT_EQ(table.mapped, 0u) << "not to be mapped again";
  must(free_coherent(device, memory));
}

}  // namespace
}  // namespace causeway::dma::testing
