// Real VT-d second-stage tables through LiveUpdate, over three kernels.
#include <gtest/gtest.h>

#include <map>
#include <random>

#include "iommu/liveupdate/testing/system.h"

namespace causeway::iommu::testing {
namespace {

BootOptions with_vtdss() {
  BootOptions options;
  options.make_table = [](IommuPages& pages) { return make_vtdss({.pages = pages, .max_vasz_lg2 = 48}); };
  return options;
}

class RealTables : public ::testing::Test {
 protected:
  // What the hardware would see: every leaf.
  static std::map<uint64_t, std::pair<uint64_t, uint64_t>> leaves(Domain& domain) {
    std::map<uint64_t, std::pair<uint64_t, uint64_t>> all;
    domain.page_table()->for_each_leaf([&](const IoPageTable::Leaf& leaf) {
      return all.emplace(leaf.iova.value(), std::pair(leaf.phys.value(), leaf.size)), true;
    });
    return all;
  }
  System system{with_vtdss()};
};

TEST_F(RealTables, AreTheSameInEveryKernel) {
  Device& disk = system->device(1);
  Domain& domain = system->domain_of(disk);
  std::mt19937_64 random(1);
  for (unsigned i = 0; i < 200; ++i) {
    const uint64_t iova = (random() & ((uint64_t{1} << 46) - 1)) & ~(MiB(2) - 1);
    const uint64_t size = i % 3 == 0 ? MiB(2) : kPageSize * (1 + i % 7);
    must(domain.map(Iova(iova), PhysAddr(MiB(2) * (i + 1)), size, kRead | kWrite));
  }
  const auto before = leaves(domain);
  ASSERT_GT(before.size(), 300u);
  const IoPageTable::Root root = domain.page_table()->root();
  const uint64_t tables = system->pages.pages() - 4;
  must(system->hand_over_again(disk));
  EXPECT_GE(system->preserved(), tables);
  for (int generation = 0; generation < 3; ++generation) {
    SCOPED_TRACE(generation);
    system.kexec(with_vtdss());
    Device& again = system->device(1);
    Domain& restored = system->domain_of(again);
    EXPECT_EQ(leaves(restored), before);
    EXPECT_EQ(restored.page_table()->root().top, root.top);
    EXPECT_EQ(restored.page_table()->root().level, root.level);
    must(system->hand_over_again(again));
    // A new table would not be in the handover that counts.
    EXPECT_EQ(error_of(restored.map(Iova(uint64_t{1} << 47), PhysAddr(0x1000), kPageSize, kRead)), EBUSY);
    system->live_update.release(Carrier::kStanding);
    system->commit();
    EXPECT_EQ(system->pages.pages(), tables + 4);
    EXPECT_EQ(system->generation.kho->unrestored().size(), 0u);
  }
  // Now it may: and the kernel that finds what stands after a crash finds this too.
  Domain& last = system->domain_of(system->device(1));
  must(last.map(Iova(uint64_t{1} << 47), PhysAddr(0x1000), kPageSize, kRead));
  Gather gather;
  const auto gone = before.begin();
  EXPECT_EQ(last.unmap(Iova(gone->first), gone->second.second, gather), gone->second.second);
  last.sync(gather);
  auto after = before;
  after.erase(gone->first);
  after[uint64_t{1} << 47] = {0x1000, kPageSize};
  system.crash(with_vtdss());
  EXPECT_EQ(leaves(system->domain_of(system->device(1))), after);
  EXPECT_TRUE(system->live_update.damage().empty());
}

TEST_F(RealTables, AnotherGeometryIsRefused) {
  must(system->hand_over(system->device(1), 0x10'0000));
  BootOptions narrow;
  narrow.make_table = [](IommuPages& pages) { return make_vtdss({.pages = pages, .max_vasz_lg2 = 39}); };
  system.kexec(narrow);
  EXPECT_EQ(error_of(system->core.probe_device({.bdf = Bdf(0, 1, 0), .name = "disk"})), EIO);
  EXPECT_FALSE(system->live_update.damage().empty());
}

}  // namespace
}  // namespace causeway::iommu::testing
