#include "base/point.h"

#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>
#include <functional>
#include <string>
#include <thread>

#include "base/log.h"

namespace causeway::point {
namespace {

Status step() {
  CW_FAIL_POINT("base.point_test.before");
  CW_POINT("base.point_test.after");
  return {};
}
Result<int> step_with_value() {
  CW_FAIL_POINT("base.point_test.value");
  return 5;
}
void never_called() { CW_POINT("base.point_test.never_hit"); }

class PointTest : public ::testing::Test {
 protected:
  ~PointTest() override { disarm_all(); }
};

#if CW_POINTS

// How a child process that runs `body` ended, as waitpid() tells it. It exits 0 if body returns.
int status_of_child(const std::function<void()>& body) {
  pid_t child = ::fork();
  if (child == 0) {
    log::set_level(log::Level::kError);
    body();
    ::_exit(0);
  }
  int status = -1;
  EXPECT_EQ(::waitpid(child, &status, 0), child);
  return status;
}

TEST_F(PointTest, PointsAreListedBeforeTheyAreHit) {
  bool found = false;
  const char* last = "";
  for (const Point* point : list()) {
    found |= std::strcmp(point->name, "base.point_test.never_hit") == 0;
    EXPECT_LT(std::strcmp(last, point->name), 0) << point->name;
    last = point->name;
  }
  EXPECT_TRUE(found);
  never_called();
}

TEST_F(PointTest, UnarmedPointDoesNothing) { EXPECT_TRUE(step()); }

TEST_F(PointTest, FailMakesTheStepFailOnce) {
  ASSERT_TRUE(arm("base.point_test.before=fail"));
  Status status = step();
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().code, Errno{ENOMEM});
  EXPECT_TRUE(step());
}

TEST_F(PointTest, FailWorksWhereAValueIsReturned) {
  ASSERT_TRUE(arm("base.point_test.value=fail"));
  EXPECT_EQ(step_with_value().error().code, Errno{ENOMEM});
  EXPECT_EQ(*step_with_value(), 5);
}

TEST_F(PointTest, FailAtTheThirdHit) {
  ASSERT_TRUE(arm("base.point_test.before=fail:3"));
  EXPECT_TRUE(step());
  EXPECT_TRUE(step());
  EXPECT_FALSE(step());
  EXPECT_TRUE(step());
}

TEST_F(PointTest, ArmingAgainStartsCountingAgain) {
  ASSERT_TRUE(arm("base.point_test.before=fail:2"));
  EXPECT_TRUE(step());
  ASSERT_TRUE(arm("base.point_test.before=fail:2"));
  EXPECT_TRUE(step());
  EXPECT_FALSE(step());
}

TEST_F(PointTest, CallbackRunsAtEveryHit) {
  int hits = 0;
  ASSERT_TRUE(on_hit("base.point_test.after", [&]() -> Status {
    ++hits;
    return {};
  }));
  EXPECT_TRUE(step());
  EXPECT_TRUE(step());
  EXPECT_EQ(hits, 2);
}

TEST_F(PointTest, CallbacksErrorIsTheStepsError) {
  ASSERT_TRUE(on_hit("base.point_test.before", []() -> Status { return fail(EIO, "made up"); }));
  EXPECT_EQ(step().error().code, Errno{EIO});
}

TEST_F(PointTest, CallbacksErrorIsIgnoredWhereTheStepCannotFail) {
  ASSERT_TRUE(on_hit("base.point_test.after", []() -> Status { return fail(EIO, "made up"); }));
  EXPECT_TRUE(step());
}

TEST_F(PointTest, CallbackMayArmOtherPoints) {
  ASSERT_TRUE(on_hit("base.point_test.before", [] { return arm("base.point_test.value=fail"); }));
  EXPECT_TRUE(step());
  EXPECT_FALSE(step_with_value());
}

TEST_F(PointTest, DisarmAllForgetsEverything) {
  ASSERT_TRUE(arm("base.point_test.before=fail"));
  disarm_all();
  EXPECT_TRUE(step());
}

TEST_F(PointTest, KillEndsTheProcessWithSigkill) {
  int status = status_of_child([] {
    if (!arm("base.point_test.after=kill")) ::_exit(1);
    (void)step();
  });
  ASSERT_TRUE(WIFSIGNALED(status));
  EXPECT_EQ(WTERMSIG(status), SIGKILL);
}

TEST_F(PointTest, KillWaitsForItsHit) {
  int status = status_of_child([] {
    if (!arm("base.point_test.after=kill:3")) ::_exit(1);
    if (!step() || !step()) ::_exit(2);
  });
  ASSERT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 0);
}

TEST_F(PointTest, PauseStaysUntilKilled) {
  int ready[2];
  ASSERT_EQ(::pipe(ready), 0);
  pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    if (!arm("base.point_test.after=pause")) ::_exit(1);
    log::set_sink([&](const log::Record& record) {
      // The pause is announced just before it begins.
      if (record.message == "paused at base.point_test.after") [[maybe_unused]]
        ssize_t written = ::write(ready[1], "p", 1);
    });
    (void)step();
    ::_exit(2);
  }
  ::close(ready[1]);
  char byte = 0;
  EXPECT_EQ(::read(ready[0], &byte, 1), 1);
  EXPECT_EQ(byte, 'p');
  ::close(ready[0]);
  int status = -1;
  std::this_thread::sleep_for(std::chrono::milliseconds(5));
  EXPECT_EQ(::waitpid(child, &status, WNOHANG), 0) << "went on after its pause";
  ASSERT_EQ(::kill(child, SIGKILL), 0);
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFSIGNALED(status));
}

TEST_F(PointTest, UnknownNameIsEnoent) {
  EXPECT_EQ(arm("base.point_test.no_such=kill").error().code, Errno{ENOENT});
  EXPECT_EQ(on_hit("", [] { return Status{}; }).error().code, Errno{ENOENT});
}

TEST_F(PointTest, ObservedPointCannotBeToldToFail) {
  EXPECT_EQ(arm("base.point_test.after=fail").error().code, Errno{EINVAL});
}

TEST_F(PointTest, MalformedSpecIsEinval) {
  for (const char* spec : {"", "base.point_test.before", "base.point_test.before=", "base.point_test.before=explode",
                           "base.point_test.before=fail:", "base.point_test.before=fail:0",
                           "base.point_test.before=fail:-1", "base.point_test.before=fail:2x",
                           "base.point_test.before=fail:99999999999999999999"}) {
    Status status = arm(spec);
    ASSERT_FALSE(status) << spec;
    EXPECT_EQ(status.error().code, Errno{EINVAL}) << spec;
  }
  EXPECT_TRUE(step());
}

TEST_F(PointTest, HitsOfSeveralThreadsAreCountedTogether) {
  ASSERT_TRUE(arm("base.point_test.before=fail:100"));
  std::atomic<int> failures{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      for (int n = 0; n < 50; ++n) {
        if (!step()) ++failures;
      }
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(failures, 1);
}

#else

TEST_F(PointTest, BuildWithoutPointsSaysSo) {
  EXPECT_EQ(arm("base.point_test.before=kill").error().code, Errno{EOPNOTSUPP});
  EXPECT_TRUE(list().empty());
  EXPECT_TRUE(step());
  EXPECT_TRUE(step_with_value());
  never_called();
}

#endif

}  // namespace
}  // namespace causeway::point
