#include "machine/dma_engine/pace.h"

#include <gtest/gtest.h>

namespace causeway::machine {
namespace {

constexpr uint64_t kSecond = 1'000'000'000;

TEST(Pace, RecordIIsDueAtStartPlusIOverRate) {
  Pace pace;
  pace.start(5000, 3);
  for (uint64_t i = 0; i < 10; ++i) {
    EXPECT_EQ(pace.due(), 5000 + i / 3 * kSecond + i % 3 * kSecond / 3) << i;
    pace.advance(1);
  }
}

TEST(Pace, CountIncludesTheNextRecord) {
  Pace pace;
  pace.start(0, 1000);
  EXPECT_EQ(pace.count_due(0), 1u);
  EXPECT_EQ(pace.count_due(999'999), 1u);
  EXPECT_EQ(pace.count_due(1'000'000), 2u);
  pace.advance(2);
  EXPECT_EQ(pace.count_due(1'999'999), 0u);
  EXPECT_EQ(pace.count_due(2'000'000), 1u);
}

TEST(Pace, AdvancingByTheCountLeavesNothingDue) {
  for (uint32_t rate : {1u, 7u, 999u, 1'000'000u, 3'000'000'000u, ~0u}) {
    Pace pace;
    pace.start(123, rate);
    for (uint64_t now : {uint64_t{123}, uint64_t{777}, kSecond, 3600 * kSecond + 17}) {
      pace.advance(pace.count_due(now));
      // Rates beyond one per nanosecond round down to the nanosecond.
      EXPECT_LE(pace.count_due(now), rate > kSecond ? rate / kSecond + 1 : 0) << rate << " at " << now;
    }
  }
}

TEST(Pace, LongRunDoesNotDrift) {
  Pace pace;
  pace.start(0, 7);
  pace.advance(uint64_t{7} * 1'000'000);
  EXPECT_EQ(pace.due(), 1'000'000 * kSecond);
}

TEST(Pace, DelayShiftsTheRest) {
  Pace pace;
  pace.start(0, 1000);
  pace.delay(500);
  EXPECT_EQ(pace.due(), 500u);
  pace.advance(1);
  EXPECT_EQ(pace.due(), 1'000'500u);
}

TEST(Pace, BacklogIsLimitedHoweverLong) {
  for (uint32_t rate : {10u, 1'000'000u, ~0u}) {
    Pace pace;
    pace.start(0, rate);
    uint64_t now = 100 * kSecond;
    pace.limit_backlog(now, 16);
    EXPECT_LE(pace.count_due(now), 16u + rate / kSecond + 1) << rate;
    EXPECT_GE(pace.count_due(now), 15u) << rate;
  }
}

}  // namespace
}  // namespace causeway::machine
