#include "findings/recordings.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "base/testing/results.h"
#include "findings/testing/recorded.h"

namespace causeway::findings {
namespace {

class RecordingsTest : public ::testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/recordings-XXXXXX";
    ASSERT_NE(::mkdtemp(name), nullptr);
    directory_ = name;
  }
  void TearDown() override { std::filesystem::remove_all(directory_); }
  std::string directory_;
};

TEST_F(RecordingsTest, AFindingIsNewsOnceHoweverManyProcessesMadeIt) {
  Recordings recordings(directory_);
  EXPECT_FALSE(recordings.look().has_value());
  Recorded first(directory_ + "/1.dept"), second(directory_ + "/2.dept");
  ASSERT_TRUE(recordings.look().has_value());
  EXPECT_TRUE(recordings.news().empty());
  first.two_locks();
  EXPECT_EQ(recordings.news().size(), 1u);
  EXPECT_TRUE(recordings.news().empty());
  second.two_locks();
  EXPECT_TRUE(recordings.news().empty()) << "the same finding of another process";
}

TEST_F(RecordingsTest, ARaisedOneIsToldAgain) {
  Recorded recorded(directory_ + "/1.dept");
  Recordings recordings(directory_);
  ASSERT_TRUE(recordings.look().has_value());
  const auto first = recorded.thread("x", 1), second = recorded.thread("y", 2);
  const auto a = recorded.object(dept::Kind::kMutex, 1, 1, "a"), b = recorded.object(dept::Kind::kMutex, 2, 2, "b");
  recorded.depends(first, a, b, dept::StackId::kNone, dept::StackId::kNone);
  recorded.depends(first, b, a, dept::StackId::kNone, dept::StackId::kNone);
  std::vector<Finding> news = recordings.news();
  ASSERT_EQ(news.size(), 1u);
  EXPECT_EQ(news[0].level, Level::kInfo);
  EXPECT_FALSE(news[0].raised);
  EXPECT_FALSE(news[0].refutations.empty());
  recorded.depends(second, b, a, dept::StackId::kNone, dept::StackId::kNone);
  news = recordings.news();
  ASSERT_EQ(news.size(), 1u);
  EXPECT_EQ(news[0].level, Level::kLikely);
  EXPECT_TRUE(news[0].raised);
}

TEST_F(RecordingsTest, FilesThatAreNoneAreLeftAlone) {
  std::ofstream(directory_ + "/1.dept") << std::string(100000, 'x');
  std::ofstream(directory_ + "/2.dept");
  EXPECT_EQ(error_of(Recordings(directory_).look()), EINVAL) << "of another version, it may be";
  EXPECT_EQ(error_of(Recordings(directory_ + "/1.dept").look()), EINVAL);
  EXPECT_EQ(error_of(Recordings(directory_ + "/none").look()), ENOENT);
  Recorded recorded(directory_ + "/3.dept");
  Recordings recordings(directory_);
  EXPECT_TRUE(recordings.look().has_value());
  EXPECT_EQ(recordings.all().size(), 1u);
  Outcome outcome;
  recordings.fill(&outcome);
  ASSERT_EQ(outcome.processes.size(), 1u);
  EXPECT_EQ(outcome.processes[0].program, "prog");
  EXPECT_LT(outcome.processes[0].memory, 2u << 20);
}

}  // namespace
}  // namespace causeway::findings
