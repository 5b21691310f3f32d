#include "dept/hash.h"

#include <gtest/gtest.h>

#include <set>

namespace causeway::dept {
namespace {

TEST(Hash, NeighboursDiffer) {
  std::set<uint64_t> seen;
  for (uint64_t a = 0; a < 64; ++a) {
    for (uint64_t b = 0; b < 64; ++b) seen.insert(mix(kSeed + (a << 3), b));
  }
  EXPECT_EQ(seen.size(), 64u * 64u);
  EXPECT_NE(mix(1, 2), mix(2, 1));
  EXPECT_NE(hash_of("mm.zone"), hash_of("mm.zonf"));
}

}  // namespace
}  // namespace causeway::dept
