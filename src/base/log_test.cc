#include "base/log.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thread>

namespace causeway::log {
namespace {

// Puts the level back, since it belongs to the whole program.
class LogTest : public ::testing::Test {
 protected:
  ~LogTest() override { set_level(Level::kInfo); }
};

TEST_F(LogTest, CaptureCollectsLevelRoomAndMessage) {
  Capture capture;
  info("kho", "restored {} of {} pages", 3, 4);
  warn("mm", "bad page {}", 7);
  EXPECT_EQ(capture.lines(),
            (std::vector<std::string>{"info kho: restored 3 of 4 pages", "warning mm: bad page 7"}));
  EXPECT_TRUE(capture.contains("bad page"));
  EXPECT_FALSE(capture.contains("good page"));
}

TEST_F(LogTest, LinesBelowTheLevelAreDropped) {
  Capture capture;
  debug("mm", "not seen");
  set_level(Level::kError);
  info("mm", "not seen");
  warn("mm", "not seen");
  error("mm", "seen");
  EXPECT_EQ(capture.lines(), (std::vector<std::string>{"error mm: seen"}));
}

TEST_F(LogTest, DebugLevelLetsEverythingThrough) {
  Capture capture;
  set_level(Level::kDebug);
  debug("mm", "seen");
  EXPECT_TRUE(capture.contains("debug mm: seen"));
}

TEST_F(LogTest, SinkGetsTheParts) {
  Level seen_level{};
  std::string room;
  std::string message;
  uint64_t time = 0;
  set_sink([&](const Record& record) {
    seen_level = record.level;
    room = record.room;
    message = record.message;
    time = record.monotonic_ns;
  });
  warn("dma", "slow");
  set_sink({});
  EXPECT_EQ(seen_level, Level::kWarn);
  EXPECT_EQ(room, "dma");
  EXPECT_EQ(message, "slow");
  EXPECT_GT(time, 0u);
}

TEST_F(LogTest, DefaultSinkWritesOneLineToStderr) {
  ::testing::internal::CaptureStderr();
  info("kho", "one");
  error("mm", "two");
  EXPECT_THAT(::testing::internal::GetCapturedStderr(),
              ::testing::MatchesRegex("\\[ *[0-9]+\\.[0-9]+\\] kho: one\n\\[ *[0-9]+\\.[0-9]+\\] mm: error: two\n"));
}

TEST_F(LogTest, BracesInAMessageArePrintedAsTheyAre) {
  Capture capture;
  write(Level::kInfo, "mm", "{} is no placeholder here");
  EXPECT_TRUE(capture.contains("{} is no placeholder"));
}

TEST_F(LogTest, ThreadsDoNotMixTheirLines) {
  Capture capture;
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([] {
      for (int n = 0; n < 50; ++n) info("test", "line {}", n);
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(capture.lines().size(), 200u);
}

}  // namespace
}  // namespace causeway::log
