#include "mm/boot_memory.h"

#include <gtest/gtest.h>

#include <random>

#include "base/log.h"

namespace causeway::mm {
namespace {

using Direction = BootMemory::Direction;

BootMemory with_ram(uint64_t size = MiB(128)) {
  BootMemory boot;
  EXPECT_TRUE(boot.add({PhysAddr(0), size}));
  return boot;
}

TEST(BootMemory, WhatIsNotReservedIsFree) {
  BootMemory boot = with_ram(MiB(1));
  ASSERT_TRUE(boot.reserve({PhysAddr(0x3000), 0x2000}));
  ASSERT_TRUE(boot.reserve({PhysAddr(0x9000), 0x1000}, Reservation::kNoInit));
  EXPECT_EQ(boot.free(),
            (std::vector<MemRange>{
                {PhysAddr(0), 0x3000}, {PhysAddr(0x5000), 0x4000}, {PhysAddr(0xa000), MiB(1) - 0xa000}}));
  EXPECT_EQ(boot.reserved(Reservation::kNoInit), (std::vector<MemRange>{{PhysAddr(0x9000), 0x1000}}));
}

TEST(BootMemory, APartlyReservedPageIsNotFree) {
  BootMemory boot = with_ram(0x4000);
  ASSERT_TRUE(boot.reserve({PhysAddr(0x1010), 8}));
  EXPECT_EQ(boot.free(), (std::vector<MemRange>{{PhysAddr(0), 0x1000}, {PhysAddr(0x2000), 0x2000}}));
}

TEST(BootMemory, ReservationsOfBothKindsThatOverlapAreNotFreeTwice) {
  BootMemory boot = with_ram(0x10000);
  ASSERT_TRUE(boot.reserve({PhysAddr(0x2000), 0x6000}, Reservation::kNormal));
  ASSERT_TRUE(boot.reserve({PhysAddr(0x4000), 0x8000}, Reservation::kNoInit));
  EXPECT_EQ(boot.free(), (std::vector<MemRange>{{PhysAddr(0), 0x2000}, {PhysAddr(0xc000), 0x4000}}));
}

TEST(BootMemory, AReservationOutsideMemoryFreesNothing) {
  BootMemory boot;
  ASSERT_TRUE(boot.add({PhysAddr(0x10000), 0x4000}));
  ASSERT_TRUE(boot.add({PhysAddr(0x20000), 0x4000}));
  ASSERT_TRUE(boot.reserve({PhysAddr(0x12000), 0x10000}));
  EXPECT_EQ(boot.free(), (std::vector<MemRange>{{PhysAddr(0x10000), 0x2000}, {PhysAddr(0x22000), 0x2000}}));
}

TEST(BootMemory, RangeThatWrapsIsEinvalAndNothingOfTheBatchIsReserved) {
  BootMemory boot = with_ram();
  std::vector<MemRange> batch = {{PhysAddr(0x1000), 0x1000}, {PhysAddr(~uint64_t{0}), 2}};
  EXPECT_EQ(boot.reserve_all(batch, Reservation::kNoInit).error().code, Errno{EINVAL});
  EXPECT_EQ(boot.add({PhysAddr(2), ~uint64_t{0}}).error().code, Errno{EINVAL});
  EXPECT_FALSE(boot.is_reserved(PhysAddr(0x1000), 1));
}

TEST(BootMemory, AllocationsAreAlignedReservedAndDisjoint) {
  BootMemory boot = with_ram();
  PhysAddr first = *boot.allocate(0x1800, 0x1000);
  PhysAddr second = *boot.allocate(0x1800, 0x1000);
  EXPECT_TRUE(first.is_aligned(0x1000));
  EXPECT_GE(first - second, 0x1800u);  // top down
  EXPECT_TRUE(boot.is_reserved(first, 0x1800));
  EXPECT_EQ(boot.reserved_bytes(), 0x3000u);
  EXPECT_EQ(boot.reserved_bytes(second + 0x100), 0x100u);
}

TEST(BootMemory, BottomUpNeverReturnsAddressZero) {
  BootMemory boot = with_ram();
  EXPECT_EQ(*boot.allocate(64, 64, Direction::kBottomUp), PhysAddr(kPageSize));
  EXPECT_EQ(*boot.allocate(64, 64, Direction::kBottomUp), PhysAddr(kPageSize + 64));
}

TEST(BootMemory, AllocationEndsAtOrBelowTheLimit) {
  BootMemory boot = with_ram();
  PhysAddr address = *boot.allocate(KiB(64), KiB(4), Direction::kTopDown, PhysAddr(MiB(16)));
  EXPECT_EQ(address, PhysAddr(MiB(16) - KiB(64)));
  EXPECT_FALSE(boot.allocate(MiB(20), KiB(4), Direction::kTopDown, PhysAddr(MiB(16))));
}

TEST(BootMemory, AllocationSkipsBothKindsOfReservations) {
  BootMemory boot = with_ram(0x10000);
  ASSERT_TRUE(boot.reserve({PhysAddr(0xe000), 0x1000}, Reservation::kNoInit));
  ASSERT_TRUE(boot.reserve({PhysAddr(0xc000), 0x1000}));
  EXPECT_EQ(*boot.allocate(0x2000, 0x1000), PhysAddr(0xa000));
}

TEST(BootMemory, BadSizeOrAlignmentIsEinvalAndFullIsEnomem) {
  BootMemory boot = with_ram(0x4000);
  EXPECT_EQ(boot.allocate(0, 8).error().code, Errno{EINVAL});
  EXPECT_EQ(boot.allocate(8, 24).error().code, Errno{EINVAL});
  EXPECT_EQ(boot.allocate(8, 0).error().code, Errno{EINVAL});
  EXPECT_EQ(boot.allocate(0x4000, 8).error().code, Errno{ENOMEM});
  EXPECT_EQ(boot.allocate(8, uint64_t{1} << 63).error().code, Errno{ENOMEM});
}

TEST(BootMemory, UnderRestrictionOnlyTheGivenRangesServe) {
  BootMemory boot = with_ram();
  boot.restrict_to({{PhysAddr(MiB(32)), 0x2000}, {PhysAddr(MiB(64)), 0x3000}});
  EXPECT_TRUE(boot.restricted());
  EXPECT_EQ(*boot.allocate(0x3000, 0x1000), PhysAddr(MiB(64)));
  EXPECT_EQ(*boot.allocate(0x1000, 0x1000), PhysAddr(MiB(32) + 0x1000));
  EXPECT_EQ(boot.allocate(0x2000, 0x1000).error().code, Errno{ENOMEM});
  boot.lift_restriction();
  EXPECT_TRUE(boot.allocate(0x2000, 0x1000));
}

TEST(BootMemory, ARestrictionToWhatIsNotMemoryServesNothing) {
  BootMemory boot = with_ram(MiB(1));
  boot.restrict_to({{PhysAddr(GiB(1)), MiB(1)}, {PhysAddr(~uint64_t{0}), 16}});
  EXPECT_EQ(boot.allocate(8, 8).error().code, Errno{ENOMEM});
}

TEST(BootMemory, ReleaseTakesAPartOfAReservationBack) {
  BootMemory boot = with_ram(0x10000);
  ASSERT_TRUE(boot.reserve({PhysAddr(0x2000), 0x4000}, Reservation::kNoInit));
  ASSERT_TRUE(boot.release({PhysAddr(0x3000), 0x1000}));
  EXPECT_FALSE(boot.is_reserved(PhysAddr(0x3000), 0x1000));
  EXPECT_TRUE(boot.is_reserved(PhysAddr(0x2fff), 1));
  EXPECT_TRUE(boot.is_reserved(PhysAddr(0x4000), 1));
}

TEST(BootMemory, IsMemoryNeedsEveryByte) {
  BootMemory boot;
  ASSERT_TRUE(boot.add({PhysAddr(0x1000), 0x1000}));
  ASSERT_TRUE(boot.add({PhysAddr(0x2000), 0x1000}));
  EXPECT_TRUE(boot.is_memory(PhysAddr(0x1800), 0x1000));
  EXPECT_FALSE(boot.is_memory(PhysAddr(0x1800), 0x2000));
  EXPECT_FALSE(boot.is_memory(PhysAddr(0x1800), ~uint64_t{0}));
}

// The batch a handover brings: as many ranges as there are blocks, in runs by order.
TEST(BootMemory, TwoHundredThousandReservationsInRunsAreMergedAndComplete) {
  BootMemory boot = with_ram(GiB(2));
  std::vector<MemRange> batch;
  for (uint64_t order : {3, 0}) {
    for (uint64_t i = 0; i < 100'000; ++i) {
      batch.push_back({PhysAddr((order == 3 ? GiB(1) : 0) + i * 2 * kPageSize), kPageSize});
    }
  }
  ASSERT_TRUE(boot.reserve_all(batch, Reservation::kNoInit));
  EXPECT_EQ(boot.reserved(Reservation::kNoInit).size(), 200'000u);
  EXPECT_EQ(boot.free().size(), 200'000u);
  EXPECT_EQ(boot.reserved_bytes(), 0u);
}

TEST(BootMemory, AClientsMemoryIsRamThatNobodyGets) {
  BootMemory boot;
  ASSERT_TRUE(boot.add({PhysAddr(0), MiB(1)}));
  ASSERT_TRUE(boot.add_client({PhysAddr(MiB(1)), MiB(1)}));
  EXPECT_FALSE(boot.add_client({PhysAddr(~uint64_t{0}), MiB(1)}));
  EXPECT_TRUE(boot.is_memory(PhysAddr(0), MiB(2)));
  EXPECT_EQ(boot.client(), (std::vector<MemRange>{{PhysAddr(MiB(1)), MiB(1)}}));
  EXPECT_EQ(boot.free(), (std::vector<MemRange>{{PhysAddr(0), MiB(1)}}));
  EXPECT_LT(*boot.allocate(KiB(64), kPageSize), PhysAddr(MiB(1)));
  EXPECT_EQ(boot.reserved_bytes(), KiB(64)) << "a client's memory says nothing about the size of scratch";
}

}  // namespace
}  // namespace causeway::mm
