#include "iommu/vtd/domain_ids.h"

#include <gtest/gtest.h>

#include <set>
#include <thread>

#include "base/testing/results.h"

namespace causeway::iommu::vtd {
namespace {

// Scenario 24, the ids' part.
TEST(DomainIds, SixteenIdsAreFourteenDomains) {
  DomainIds ids(16);
  EXPECT_EQ(ids.capacity(), 14u);
  for (uint16_t want = 2; want < 16; ++want) EXPECT_EQ(must(ids.allocate()), DomainId{want});
  EXPECT_EQ(error_of(ids.allocate()), ENOSPC);
  ids.free(DomainId{7});
  EXPECT_EQ(must(ids.allocate()), DomainId{7});
  EXPECT_EQ(error_of(ids.allocate()), ENOSPC);
}

TEST(DomainIds, AllOf65536CanBeHadOnce) {
  DomainIds ids(65536);
  std::set<uint16_t> seen;
  for (uint32_t i = 0; i < ids.capacity(); ++i) seen.insert(static_cast<uint16_t>(must(ids.allocate())));
  EXPECT_EQ(seen.size(), 65534u);
  EXPECT_EQ(seen.count(0), 0u);
  EXPECT_EQ(seen.count(1), 0u);
  EXPECT_EQ(error_of(ids.allocate()), ENOSPC);
}

// Scenario 78, the ids' part.
TEST(DomainIds, AReservedIdIsNeverAllocated) {
  DomainIds ids(64);
  must(ids.reserve(DomainId{2}));
  must(ids.reserve(DomainId{40}));
  EXPECT_EQ(error_of(ids.reserve(DomainId{40})), EBUSY);
  for (unsigned i = 0; i < 60; ++i) {
    DomainId id = must(ids.allocate());
    EXPECT_NE(id, DomainId{2});
    EXPECT_NE(id, DomainId{40});
  }
  EXPECT_EQ(error_of(ids.allocate()), ENOSPC);
  EXPECT_EQ(ids.taken(), 62u);
  ids.free(DomainId{40});
  EXPECT_FALSE(ids.is_taken(DomainId{40}));
}

TEST(DomainIds, WhatTheUnitDoesNotHaveCannotBeReserved) {
  DomainIds ids(16);
  EXPECT_EQ(error_of(ids.reserve(DomainId{0})), EINVAL);
  EXPECT_EQ(error_of(ids.reserve(DomainId{1})), EINVAL);
  EXPECT_EQ(error_of(ids.reserve(DomainId{16})), EINVAL);
  EXPECT_FALSE(ids.is_taken(DomainId{16}));
  must(ids.reserve(DomainId{15}));
  EXPECT_EQ(ids.taken(), 1u);
}

TEST(DomainIds, TwoThreadsNeverGetTheSame) {
  DomainIds ids(4096);
  std::vector<DomainId> mine[2];
  auto take = [&](unsigned who) {
    for (unsigned i = 0; i < 2000; ++i) {
      mine[who].push_back(must(ids.allocate()));
      if (i % 3 == 0) {
        ids.free(mine[who].back());
        mine[who].pop_back();
      }
    }
  };
  std::thread other(take, 1);
  take(0);
  other.join();
  std::set<DomainId> all(mine[0].begin(), mine[0].end());
  all.insert(mine[1].begin(), mine[1].end());
  EXPECT_EQ(all.size(), mine[0].size() + mine[1].size());
  EXPECT_EQ(ids.taken(), all.size());
}

}  // namespace
}  // namespace causeway::iommu::vtd
