#include "memfd/client_memory.h"

#include <gtest/gtest.h>

#include <thread>
#include <vector>

#include "base/log.h"
#include "base/point.h"
#include "memfd/testing/system.h"

namespace causeway::memfd {
namespace {

using namespace testing;

class ClientMemoryTest : public ::testing::Test {
 protected:
  void TearDown() override { point::disarm_all(); }
  log::Capture quiet;
  System system;
};

TEST_F(ClientMemoryTest, AFileBecomesReservedFramesAndGoesWithTheLastReference) {
  UniqueFd fd = make_memfd(3 * kPageSize + 5);
  const uint64_t free = system.free_pages();
  auto adopted = must(system.memory().adopt(*open_file(fd)));
  EXPECT_EQ(adopted->size(), 4 * kPageSize);
  EXPECT_TRUE(adopted->base().is_aligned(MiB(2)));
  EXPECT_TRUE(adopted->writable());
  EXPECT_EQ(system.pages().state(adopted->frames().begin), mm::FrameState::kReserved);
  EXPECT_EQ(system.free_pages(), free);
  const Pfn first = adopted->frames().begin;
  adopted.reset();
  EXPECT_EQ(system.pages().state(first), mm::FrameState::kHole);
  EXPECT_EQ(system.machine_regions(), 0u);
  EXPECT_EQ(system.memory().regions(), 0u);
}

TEST_F(ClientMemoryTest, OneRegionPerInodeHoweverOftenAdopted) {
  UniqueFd fd = make_memfd(kPageSize);
  auto one = must(system.memory().adopt(*open_file(fd)));
  UniqueFd again(::open(("/proc/self/fd/" + std::to_string(fd.get())).c_str(), O_RDWR | O_CLOEXEC));
  auto two = must(system.memory().adopt(*open_file(again)));
  EXPECT_EQ(one->base(), two->base());
  EXPECT_EQ(system.machine_regions(), 1u);
  one.reset();
  EXPECT_EQ(system.machine_regions(), 1u);
  EXPECT_EQ(system.memory().find(two->base() + 77)->base(), two->base());
  EXPECT_EQ(system.memory().find(two->base() + kPageSize), nullptr);
  two.reset();
  EXPECT_EQ(system.machine_regions(), 0u);
}

TEST_F(ClientMemoryTest, AFileThatHasGrownGetsALargerRegion) {
  UniqueFd fd = make_memfd(kPageSize);
  auto small = must(system.memory().adopt(*open_file(fd)));
  ASSERT_EQ(::ftruncate(fd.get(), MiB(1)), 0);
  auto large = must(system.memory().adopt(*open_file(fd)));
  EXPECT_NE(small->base(), large->base());
  EXPECT_EQ(large->size(), MiB(1));
  small.reset();
  EXPECT_EQ(must(system.memory().adopt(*open_file(fd)))->base(), large->base());
}

TEST_F(ClientMemoryTest, TheDirectMapShowsTheFileOnceAskedFor) {
  UniqueFd fd = make_memfd(2 * kPageSize);
  fill(fd.get(), 1, 0, 2);
  auto adopted = must(system.memory().adopt(*open_file(fd)));
  must(adopted->map());
  must(adopted->map());
  EXPECT_EQ(*system.at<uint64_t>(adopted->base().value()), pattern(1, 0));
  *system.at<uint64_t>(adopted->base().value() + 16) = 42;
  uint64_t word = 0;
  ASSERT_EQ(::pread(fd.get(), &word, 8, 16), 8);
  EXPECT_EQ(word, 42u);
}

TEST_F(ClientMemoryTest, ReadOnlyDescriptorsLimitTheClientAndNotTheMemory) {
  UniqueFd fd = make_memfd(kPageSize);
  UniqueFd reading(::open(("/proc/self/fd/" + std::to_string(fd.get())).c_str(), O_RDONLY | O_CLOEXEC));
  EXPECT_TRUE(must(system.memory().adopt(*open_file(reading)))->writable());
}

TEST_F(ClientMemoryTest, SealedFilesBecomeReadOnlyMemory) {
  for (int seal : {F_SEAL_WRITE, F_SEAL_FUTURE_WRITE}) {
    UniqueFd fd = make_memfd(kPageSize);
    fill(fd.get(), 5, 0, 1);
    ASSERT_EQ(::fcntl(fd.get(), F_ADD_SEALS, seal), 0);
    auto adopted = must(system.memory().adopt(*open_file(fd)));
    EXPECT_FALSE(adopted->writable());
    must(adopted->map());
    EXPECT_EQ(*system.at<uint64_t>(adopted->base().value()), pattern(5, 0));
  }
  EXPECT_EQ(system.machine_regions(), 0u);
}

TEST_F(ClientMemoryTest, WhatCannotBeAdoptedIsAnError) {
  UniqueFd empty = make_memfd(0);
  EXPECT_EQ(error_of(system.memory().adopt(*open_file(empty))), EINVAL);
  UniqueFd zero(::open("/dev/zero", O_RDWR | O_CLOEXEC));
  EXPECT_EQ(error_of(system.memory().adopt(*open_file(zero))), EINVAL);
  UniqueFd huge = make_memfd(GiB(8192));
  EXPECT_EQ(error_of(system.memory().adopt(*open_file(huge))), ENOMEM);
  EXPECT_EQ(system.machine_regions(), 0u);
}

TEST_F(ClientMemoryTest, ADeadKernelLeavesRegionsAndTheNextDropsWhatNobodyPreserved) {
  UniqueFd fd = make_memfd(MiB(4));
  const uint64_t free = system.free_pages();
  auto adopted = must(system.memory().adopt(*open_file(fd)));
  system.memory().abandon();
  EXPECT_EQ(error_of(system.memory().adopt(*open_file(fd))), ENODEV);
  adopted.reset();
  EXPECT_EQ(system.machine_regions(), 1u);
  system.kexec_without_commit();
  EXPECT_EQ(system.machine_regions(), 1u);
  EXPECT_EQ(system.memory().regions(), 1u);
  system.commit();
  EXPECT_EQ(system.memory().drop_unused(), 1u);
  EXPECT_EQ(system.machine_regions(), 0u);
  EXPECT_LE(system.free_pages(), free);
}

TEST_F(ClientMemoryTest, AnInheritedRegionIsFoundAgainByItsFile) {
  UniqueFd fd = make_memfd(kPageSize);
  const PhysAddr base = must(system.memory().adopt(*open_file(fd)))->base();
  auto kept = must(system.memory().adopt(*open_file(fd)));
  system.memory().abandon();
  kept.reset();
  system.kexec_without_commit();
  auto again = must(system.memory().adopt(*open_file(fd)));
  EXPECT_EQ(again->base(), base);
  EXPECT_EQ(system.memory().drop_unused(), 0u);
  // Not before the commit: the old handover might name it.
  again.reset();
  EXPECT_EQ(system.machine_regions(), 1u);
  system.commit();
  EXPECT_EQ(system.machine_regions(), 0u);
}

TEST_F(ClientMemoryTest, AColdBootDropsEverything) {
  UniqueFd fd = make_memfd(kPageSize);
  luo::FileArgs args = preserve(system, fd);
  freeze(system, args);
  system.cold_boot();
  EXPECT_EQ(system.machine_regions(), 0u);
}

TEST_F(ClientMemoryTest, ClientMemoryIsNeverHandedOut) {
  UniqueFd fd = make_memfd(MiB(16));
  fill(fd.get(), 9, 0, 4096);
  luo::FileArgs args = preserve(system, fd);
  freeze(system, args);
  for (int generation = 0; generation < 2; ++generation) {
    system.kexec();
    std::vector<mm::Page*> taken;
    while (auto page = system.pages().alloc_pages(Order(5), mm::kGfpKernel | mm::kGfpZero)) taken.push_back(*page);
    for (mm::Page* page : taken) EXPECT_LT(system.map().phys(page), PhysAddr(GiB(4) + MiB(32)));
    EXPECT_TRUE(is_filled(fd.get(), 9, 0, 4096));
    for (mm::Page* page : taken) system.pages().free_pages(page, Order(5));
  }
}

TEST_F(ClientMemoryTest, AdoptAndReleaseFromManyThreads) {
  std::vector<UniqueFd> fds;
  for (int i = 0; i < 4; ++i) fds.push_back(make_memfd(kPageSize));
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 100; ++i) must(system.memory().adopt(*open_file(fds[static_cast<size_t>(t + i) % 4])));
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(system.machine_regions(), 0u);
  EXPECT_EQ(system.memory().regions(), 0u);
}

#if CW_POINTS
TEST_F(ClientMemoryTest, FailedStepsOfAdoptLeaveNothingBehind) {
  UniqueFd fd = make_memfd(kPageSize);
  for (const char* step : {"memfd.adopt.before_hot_add", "platform.hot_add.before_request", "machine.hot_add.map",
                           "mm.hot_add.begin"}) {
    must(point::arm(std::string(step) + "=fail"));
    EXPECT_EQ(error_of(system.memory().adopt(*open_file(fd))), ENOMEM) << step;
    EXPECT_EQ(system.machine_regions(), 0u) << step;
    point::disarm_all();
  }
  must(system.memory().adopt(*open_file(fd)));
}
#endif

}  // namespace
}  // namespace causeway::memfd
