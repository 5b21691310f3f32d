#include "drivers/nvme/nvme.h"

#include <gtest/gtest.h>

#include <cstring>
#include <vector>

#include "base/log.h"
#include "dma/iommu/iommu_dma.h"
#include "drivers/nvme/block_content.h"
#include "drivers/nvme/testing/nvme_system.h"
#include "hw/nvme.h"
#include "iommu/testing/domain_translation.h"

namespace causeway::drivers::nvme {
namespace {

using testing::NvmeSystem;

class NvmeTest : public ::testing::Test {
 protected:
  void fill(NvmeSystem& system, const PhysSegment& segment, uint64_t seed) {
    block_content(seed, 0, {system.at(segment.phys), segment.length});
  }
  bool holds(NvmeSystem& system, const PhysSegment& segment, uint64_t seed) {
    return !find_difference(seed, 0, {system.at(segment.phys), segment.length});
  }
  void write_and_read_back(NvmeSystem& system, uint64_t size, uint64_t seed) {
    PhysSegment out = system.memory(size);
    PhysSegment in = system.memory(size);
    fill(system, out, seed);
    must(system.driver().write(16, std::span(&out, 1)));
    must(system.driver().read(16, std::span(&in, 1)));
    EXPECT_TRUE(holds(system, in, seed)) << size << " bytes";
  }
  log::Capture quiet_;
};

TEST_F(NvmeTest, WhatWasWrittenIsReadBack) {
  NvmeSystem system;
  must(system.start({}));
  uint64_t seed = 0;
  for (uint64_t size : {uint64_t{512}, KiB(4), KiB(8), KiB(12), KiB(64), KiB(256)})
    write_and_read_back(system, size, ++seed);
  must(system.driver().flush());
  NvmeStats stats = system.driver().stats();
  EXPECT_EQ(stats.writes, 6u);
  EXPECT_EQ(stats.reads, 6u);
  EXPECT_EQ(stats.flushes, 1u);
  EXPECT_EQ(stats.lost + stats.duplicated + stats.refused, 0u);
}

TEST_F(NvmeTest, PollingNeedsNoInterrupt) {
  NvmeSystem system;
  must(system.start({.poll = true}));
  write_and_read_back(system, KiB(16), 3);
}

// A gap inside a page: an SGL can describe it, PRP entries cannot.
TEST_F(NvmeTest, GapsNeedAnSgl) {
  for (bool sgl : {true, false}) {
    NvmeSystem system;
    must(system.start({.sgl = sgl}));
    PhysSegment memory = system.memory(KiB(64));
    fill(system, memory, 5);
    std::vector<PhysSegment> gaps;  // the second KiB of every other page
    for (uint64_t page = 0; page < 16; page += 2) gaps.push_back({memory.phys + page * kPageSize + 1024, 1024});
    Status written = system.driver().write(0, gaps);
    if (!sgl) {
      EXPECT_EQ(error_of(written), EINVAL);
      continue;
    }
    must(written);
    PhysSegment in = system.memory(KiB(8));
    must(system.driver().read(0, std::span(&in, 1)));
    for (size_t i = 0; i < gaps.size(); ++i)
      EXPECT_EQ(std::memcmp(system.at(in.phys + i * 1024), system.at(gaps[i].phys), 1024), 0) << i;
  }
}

TEST_F(NvmeTest, ScatteredPagesGoThroughAPrpList) {
  NvmeSystem system;
  must(system.start({.sgl = false}));
  PhysSegment memory = system.memory(KiB(256));
  fill(system, memory, 6);
  std::vector<PhysSegment> pages;
  for (uint64_t page = 0; page < 64; page += 2) pages.push_back({memory.phys + page * kPageSize, kPageSize});
  must(system.driver().write(0, pages));
  PhysSegment in = system.memory(KiB(128));
  must(system.driver().read(0, std::span(&in, 1)));
  for (size_t i = 0; i < pages.size(); ++i)
    EXPECT_EQ(std::memcmp(system.at(in.phys + i * kPageSize), system.at(pages[i].phys), kPageSize), 0) << i;
}

TEST_F(NvmeTest, BouncedDataIsRightAndCannotBeHandedOver) {
  dma::testing::BootOptions boot;
  boot.dma.swiotlb_force = true;
  NvmeSystem system({.size = MiB(16)}, boot);
  EXPECT_EQ(error_of(system.start({.io_size = KiB(8), .file_bytes = KiB(256)})), EOPNOTSUPP);
  EXPECT_FALSE(system.driver().stats().handed_over);
  ASSERT_TRUE(system.wait_until([&] { return system.driver().stats().passes >= 1; }));
  NvmeStats stats = system.driver().stats();
  EXPECT_EQ(stats.corrupted + stats.lost + stats.duplicated + stats.refused, 0u);
  // Nothing survives, so nothing is left under way.
  system.driver().freeze();
  EXPECT_EQ(system.driver().stats().in_flight, 0u);
  EXPECT_FALSE(system.function().bus_master());
  system.driver().thaw();
  EXPECT_TRUE(system.advances(10));
}

TEST_F(NvmeTest, DataBehindAnIommuThatIsNotPreservedIsRightAndCannotBeHandedOver) {
  for (iommu::DomainType type : {iommu::DomainType::kDma, iommu::DomainType::kDmaFq}) {
    iommu::MapDomain domain({.type = type});
    iommu::testing::DomainTranslation translation(domain);
    NvmeSystem system({.size = MiB(16)}, {}, &translation, &domain);
    system.domain_preserved = false;
    EXPECT_EQ(error_of(system.start({.io_size = KiB(8), .file_bytes = KiB(256)})), EOPNOTSUPP);
    ASSERT_TRUE(system.wait_until([&] { return system.driver().stats().passes >= 1; }));
    NvmeStats stats = system.driver().stats();
    EXPECT_EQ(stats.corrupted + stats.lost + stats.duplicated + stats.refused, 0u);
    EXPECT_GT(domain.counts().maps, 64u);
    system.driver().shutdown();
    system.iommu().drain();
    EXPECT_EQ(domain.counts().mapped_bytes, 0u);
    system.stop();
  }
}

TEST_F(NvmeTest, DataOfTheControllersOwnMemoryGoesPeerToPeer) {
  NvmeSystem system({.size = MiB(16), .cmb = MiB(1)});
  must(system.start({}));
  PhysSegment window = must(system.driver().memory_buffer());
  platform::MmioWindow cmb = system.system().platform().mmio().window(window.phys, window.length);
  for (uint32_t at = 0; at < 4096; at += 8) cmb.write64(at, content_word(9, at / 8));
  PhysSegment out{window.phys, 4096};
  must(system.driver().write(0, std::span(&out, 1)));
  PhysSegment in = system.memory(4096);
  must(system.driver().read(0, std::span(&in, 1)));
  EXPECT_TRUE(holds(system, in, 9));
}

TEST_F(NvmeTest, WhatCannotBeDoneIsAnErrorWithAReason) {
  NvmeSystem system;
  must(system.start({}));
  Nvme& disk = system.driver();
  PhysSegment memory = system.memory(KiB(4));
  EXPECT_EQ(error_of(disk.read(disk.info().blocks - 7, std::span(&memory, 1))), ERANGE);
  EXPECT_EQ(error_of(disk.read(~uint64_t{0}, std::span(&memory, 1))), ERANGE);
  PhysSegment odd{memory.phys, 100};
  EXPECT_EQ(error_of(disk.read(0, std::span(&odd, 1))), EINVAL);
  PhysSegment wraps{PhysAddr(~uint64_t{0} - 511), 1024};
  EXPECT_EQ(error_of(disk.read(0, std::span(&wraps, 1))), EINVAL);
  EXPECT_EQ(error_of(disk.read(0, {})), 0) << "nothing to read is a command without data";
  mm::Page* unpreserved = must(system.system().pages().alloc_pages(kOrder0, mm::kGfpKernel));
  PhysSegment loose{system.system().map().phys(unpreserved), KiB(4)};
  EXPECT_EQ(error_of(disk.write(0, std::span(&loose, 1))), EPERM);
  EXPECT_EQ(disk.stats().refused, 0u);
}

TEST_F(NvmeTest, OptionsOutOfRangeAreRefused) {
  NvmeSystem system;
  EXPECT_EQ(error_of(system.probe({.queues = 9})), EINVAL);
  EXPECT_EQ(error_of(system.probe({.queue_depth = 129})), EINVAL);
  EXPECT_EQ(error_of(system.probe({.io_size = 1000})), EINVAL);
}

TEST_F(NvmeTest, TheWorkloadEndsWithTheImageThatWasPromised) {
  NvmeSystem system({.size = MiB(16), .queues = 2, .shuffle = true});
  must(system.start({.queues = 2, .queue_depth = 8, .io_size = KiB(8), .file_bytes = KiB(256)}));
  ASSERT_TRUE(system.advances(100));
  system.driver().finish_workload();
  ASSERT_TRUE(system.wait_until([&] { return system.driver().workload_done(); }));
  PhysSegment image = system.memory(KiB(256));
  must(system.driver().read(0, std::span(&image, 1)));
  EXPECT_TRUE(holds(system, image, system.driver().final_seed()));
  EXPECT_FALSE(holds(system, image, system.driver().final_seed() + 1));
  EXPECT_EQ(system.driver().stats().corrupted, 0u);
}

// What a driver leaves behind fails its test.
TEST_F(NvmeTest, ALeakOfTheDriverIsReportedWhenItsDeviceGoes) {
  NvmeSystem system;
  must(system.start({.file_bytes = KiB(256)}));
  dma::Device leaky(system.system().dma(), fmt::format("{}", system.function().bdf()));
  must(leaky.set_mask_and_coherent(dma::bit_mask(64)));
  PhysSegment forgotten = system.memory(KiB(4));
  DmaAddr mapped = dma::map_phys(leaky, forgotten.phys, KiB(4), dma::Direction::kToDevice, dma::Attr::kNone);
  must(dma::mapping_error(leaky, mapped));
  system.driver().shutdown();
  EXPECT_EQ(system.system().dma().debug()->errors(dma::DebugError::kPendingAllocations), 1u);
  system.expected_misuse = 1;
}

TEST_F(NvmeTest, ShutdownFreesEverything) {
  NvmeSystem system;
  must(system.start({.file_bytes = KiB(256)}));
  ASSERT_TRUE(system.advances(20));
  system.driver().shutdown();
  EXPECT_FALSE(system.function().bus_master());
  EXPECT_EQ(system.system().dma().stats().allocations, 0u);
}

}  // namespace
}  // namespace causeway::drivers::nvme
