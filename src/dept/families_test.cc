// The first families of lockdep's self-test (spec 3.1) as shapes of a graph, in the columns exclusive lock, recursive reader, queued reader.
#include <gtest/gtest.h>

#include "dept/graph_fixture.h"

namespace causeway::dept {
namespace {

constexpr Judge kKernel{.threads = false, .gates = false, .order = false, .objects = false, .timeouts = true};

enum class How { kMutex, kWriter, kReader, kQueued };

void take(Play& play, How how, const std::string& name) {
  switch (how) {
    case How::kMutex: play.l(1, name); break;
    case How::kWriter: play.w(1, name); break;
    case How::kReader: play.r(1, name); break;
    case How::kQueued: play.q(1, name); break;
  }
}

// "AB BC CA": each word a chain of one-letter locks, taken and let go.
bool reports(How how, const std::string& chains) {
  Play play(kKernel, Class::kStrictNesting);
  for (const char c : chains) {
    if (c == ' ') {
      play.unlock_all(1);
    } else {
      take(play, how, std::string(1, c));
    }
  }
  return !play.silent();
}

TEST(Families, ReportExceptForRecursiveReaders) {
  for (const char* chains : {"AB BA", "AB BC CA", "AB CA BC", "AB BC CD DA", "AB CD BD DA", "AB CD BC DA"}) {
    for (const How how : {How::kMutex, How::kWriter, How::kQueued}) EXPECT_TRUE(reports(how, chains)) << chains;
    EXPECT_FALSE(reports(How::kReader, chains)) << chains;
  }
  for (const char* chains : {"AB AC BC", "AB AB", "ABC AC BC CD"}) {
    for (const How how : {How::kMutex, How::kWriter, How::kQueued, How::kReader}) EXPECT_FALSE(reports(how, chains)) << chains;
  }
}

TEST(Families, TwoOfOneClass) {
  const struct {
    How first, second;
    bool reports;
  } rows[] = {
      {How::kMutex, How::kMutex, true},    {How::kReader, How::kReader, false}, {How::kQueued, How::kQueued, true},
      {How::kReader, How::kWriter, true},  {How::kWriter, How::kReader, true},  {How::kQueued, How::kWriter, true},
      {How::kWriter, How::kQueued, true},
  };
  for (const char* second : {"x.1", "x.2"}) {
    for (const auto& row : rows) {
      Play play(kKernel, Class::kStrictNesting);
      take(play, row.first, "x.1");
      take(play, row.second, second);
      EXPECT_EQ(!play.silent(), row.reports) << second;
    }
  }
}

TEST(Families, ReadersAndLocksCrossed) {
  const struct {
    How first, second;
    bool reports;
  } rows[] = {
      {How::kReader, How::kWriter, true}, {How::kReader, How::kReader, false}, {How::kQueued, How::kQueued, true},
      {How::kWriter, How::kWriter, true}, {How::kWriter, How::kReader, true},
  };
  for (const auto& row : rows) {
    Play play(kKernel);
    take(play, row.first, "x");
    play.l(1, "y");
    play.unlock_all(1);
    play.l(1, "y");
    take(play, row.second, "x");
    EXPECT_EQ(!play.silent(), row.reports);
  }
}

TEST(Families, ThreeLocksReadAndWritten) {
  const struct {
    const char* steps[3][2];
    bool reports;
  } rows[] = {
      {{{"W1", "R2"}, {"W2", "R3"}, {"W3", "R1"}}, true},
      {{{"W1", "W2"}, {"R2", "R3"}, {"W3", "R1"}}, true},
      {{{"W1", "W2"}, {"R2", "R3"}, {"R3", "W1"}}, false},
      {{{"W1", "R2"}, {"R2", "R3"}, {"W3", "W1"}}, false},
  };
  const int orders[6][3] = {{0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}};
  for (const auto& row : rows) {
    for (const auto& order : orders) {
      Play play(kKernel);
      for (const int chain : order) {
        for (const char* step : row.steps[chain]) take(play, step[0] == 'W' ? How::kWriter : How::kReader, step + 1);
        play.unlock_all(1);
      }
      EXPECT_EQ(!play.silent(), row.reports) << row.steps[0][1] << row.steps[2][0];
    }
  }
}

// A chain that was harmless must not hide a later write.
TEST(Families, HarmlessThenNot) {
  Play play(kKernel);
  play.r(1, "x"); play.l(1, "y"); play.unlock_all(1);
  play.l(1, "y"); play.r(1, "x"); play.unlock_all(1);
  EXPECT_TRUE(play.silent());
  play.l(1, "y"); play.w(1, "x");
  EXPECT_FALSE(play.silent());
}

}  // namespace
}  // namespace causeway::dept
