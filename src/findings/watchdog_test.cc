#include "findings/watchdog.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mman.h>

#include <filesystem>

#include "findings/testing/recorded.h"

namespace causeway::findings {
namespace {

using dept::Kind;
using dept::ObjectId;
using dept::ThreadId;
using ::testing::Contains;
using ::testing::HasSubstr;

constexpr uint64_t kSecond = 1'000'000'000;

// A process that is this one, with states written by hand.
class WatchdogTest : public ::testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/watchdog-XXXXXX";
    ASSERT_NE(::mkdtemp(name), nullptr);
    directory_ = name;
    recorded_ = std::make_unique<Recorded>(directory_ + "/1.dept");
    recordings_ = std::make_unique<Recordings>(directory_);
    ASSERT_TRUE(recordings_->look().has_value());
    main_ = recorded_->thread("prog", ::getpid());
    one_ = recorded_->thread("one", 901);
    two_ = recorded_->thread("two", 902);
    a_ = recorded_->object(Kind::kMutex, reinterpret_cast<uint64_t>(&private_[0]), 1, "a");
    b_ = recorded_->object(Kind::kMutex, reinterpret_cast<uint64_t>(&private_[1]), 2, "b");
    cond_ = recorded_->object(Kind::kCondVar, reinterpret_cast<uint64_t>(&private_[2]), 3, "ready");
  }
  void TearDown() override { std::filesystem::remove_all(directory_); }

  dept::ThreadState& state(ThreadId thread) {
    auto [place, is_new] = states_.try_emplace(thread);
    if (is_new) recorded_->arena.add<dept::ThreadState>(&place->second);
    auto& state = recorded_->arena.at<dept::ThreadState>(place->second);
    state.thread = index_of(thread);
    return state;
  }
  void holds(ThreadId thread, ObjectId object) {
    dept::ThreadState& now = state(thread);
    dept::Held& held = now.held_list[now.held()];
    held.object = object;
    held.stack = recorded_->stack({"a.cc:1 take"});
    now.set_held(now.held() + 1);
  }
  void waits(ThreadId thread, ObjectId object, uint32_t flags = 0) {
    dept::ThreadState& now = state(thread);
    now.waiting_sequence = now.waiting_sequence + 1;
    now.set_waiting(object);
    now.waiting_class = recorded_->arena.at<dept::Object>(object).classes[0].load();
    now.waiting_stack = index_of(recorded_->stack({"a.cc:2 then_take"}));
    now.waiting_flags = flags;
    now.waiting_sequence = now.waiting_sequence + 1;
  }
  // Twice a second, as time goes by.
  std::vector<Finding> look(double seconds = 6) {
    std::vector<Finding> all;
    for (const uint64_t until = now_ + static_cast<uint64_t>(seconds * 1e9); now_ < until; now_ += kSecond / 2)
      for (Finding& finding : watchdog().look(now_)) all.push_back(std::move(finding));
    return all;
  }
  Watchdog& watchdog() {
    if (!watchdog_) watchdog_ = std::make_unique<Watchdog>(*recordings_, 5 * kSecond, [this](int) { return tasks_; });
    return *watchdog_;
  }

  uint64_t now_ = kSecond;
  // The kernel's view: all sleep.
  Tasks tasks_{{::getpid(), {'S', 1}}, {901, {'S', 1}}, {902, {'S', 1}}};
  char private_[3] = {};
  std::string directory_;
  std::unique_ptr<Recorded> recorded_;
  std::unique_ptr<Recordings> recordings_;
  std::unique_ptr<Watchdog> watchdog_;
  std::map<ThreadId, dept::StateId> states_;
  ThreadId main_, one_, two_;
  ObjectId a_, b_, cond_;
};

TEST_F(WatchdogTest, ACircleOfOwnersIsCertain) {
  holds(one_, a_);
  waits(one_, b_);
  holds(two_, b_);
  waits(two_, a_);
  state(main_);
  const std::vector<Finding> found = look();
  ASSERT_EQ(found.size(), 1u);
  EXPECT_EQ(found[0].level, Level::kCertain);
  EXPECT_EQ(found[0].kind, "stuck");
  EXPECT_EQ(found[0].hops.size(), 2u);
  EXPECT_THAT(found[0].narrative, HasSubstr("holds mutex a, taken at a.cc:1, and waits at a.cc:2 for mutex b"));
  EXPECT_TRUE(look().empty()) << "each picture once";
}

TEST_F(WatchdogTest, NobodyIsStuckWhileAnOwnerRuns) {
  holds(one_, a_);
  waits(one_, b_);
  holds(two_, b_);
  EXPECT_TRUE(look().empty());
}

TEST_F(WatchdogTest, ShortAndLimitedWaitsAreNone) {
  holds(one_, a_);
  waits(one_, b_);
  holds(two_, b_);
  waits(two_, a_, dept::Witness::kTimed);
  EXPECT_TRUE(look().empty()) << "a time limit";
  waits(two_, a_);
  EXPECT_TRUE(look(4).empty()) << "4 seconds";
  EXPECT_EQ(look(2).size(), 1u);
}

TEST_F(WatchdogTest, AWaitBeginsWhenItIsFirstSeen) {
  holds(one_, a_);
  waits(one_, a_);
  EXPECT_TRUE(look(4).empty());
  waits(one_, a_);
  EXPECT_TRUE(look(4).empty()) << "another wait than the one seen before";
  EXPECT_EQ(look(2).size(), 1u);
}

// A machine that is busy elsewhere: woken already, but without a processor; or it ran in between.
TEST_F(WatchdogTest, WhoWouldRunOrDidRunIsNotStuck) {
  holds(one_, a_);
  waits(one_, a_);
  tasks_[901].state = 'R';
  EXPECT_TRUE(look(20).empty());
  tasks_[901].state = 'S';
  for (int i = 0; i < 10; ++i) {
    ++tasks_[901].ticks;
    EXPECT_TRUE(look(2).empty());
  }
  EXPECT_EQ(look(6).size(), 1u);
}

TEST_F(WatchdogTest, TwoLooksAreNotEnough) {
  holds(one_, a_);
  waits(one_, a_);
  EXPECT_TRUE(watchdog().look(kSecond).empty());
  EXPECT_TRUE(watchdog().look(100 * kSecond).empty());
  EXPECT_TRUE(watchdog().look(101 * kSecond).empty());
  EXPECT_EQ(watchdog().look(102 * kSecond).size(), 1u);
}

TEST_F(WatchdogTest, WhatWentOnIsTakenBack) {
  holds(one_, a_);
  waits(one_, a_);
  const std::vector<Finding> found = look();
  ASSERT_EQ(found.size(), 1u);
  EXPECT_TRUE(watchdog().taken_back().empty());
  state(one_).set_waiting(ObjectId::kNone);
  EXPECT_EQ(watchdog().taken_back(), std::vector<std::string>{found[0].id});
  EXPECT_TRUE(watchdog().taken_back().empty()) << "once";
}

TEST_F(WatchdogTest, ACircleStaysWhenTheProgramEndsAroundIt) {
  holds(one_, a_);
  waits(one_, b_);
  holds(two_, b_);
  waits(two_, a_);
  ASSERT_EQ(look().size(), 1u);
  recorded_->arena.header().ended_ns = 1;
  EXPECT_TRUE(watchdog().taken_back().empty());
}

// `two_` is the one who used to wake `one_`, and waits for it.
TEST_F(WatchdogTest, AHabitIsLikelyAndGoesWithTheProgram) {
  const dept::StackId here = recorded_->stack({"a.cc:3 wake"});
  recorded_->depends(two_, cond_, a_, here, here, dept::Witness::kWindow);
  holds(one_, a_);
  waits(one_, cond_);
  waits(two_, a_);
  std::vector<Finding> found = look();
  ASSERT_EQ(found.size(), 1u);
  EXPECT_EQ(found[0].level, Level::kLikely);
  recorded_->arena.header().ended_ns = 1;
  EXPECT_EQ(watchdog().taken_back().size(), 1u);
}

TEST_F(WatchdogTest, AHabitIsPossibleWhileOthersRun) {
  const dept::StackId here = recorded_->stack({"a.cc:3 wake"});
  recorded_->depends(two_, cond_, a_, here, here, dept::Witness::kWindow);
  holds(one_, a_);
  waits(one_, cond_);
  waits(two_, a_);
  tasks_[::getpid()].state = 'R';
  std::vector<Finding> found = look();
  ASSERT_EQ(found.size(), 1u);
  EXPECT_EQ(found[0].level, Level::kPossible);
}

TEST_F(WatchdogTest, OneThatTakesItsOwnLock) {
  holds(one_, a_);
  waits(one_, a_);
  const std::vector<Finding> found = look();
  ASSERT_EQ(found.size(), 1u);
  EXPECT_EQ(found[0].hops.size(), 1u);
}

TEST_F(WatchdogTest, WhoWaitsBehindIsNamed) {
  holds(one_, a_);
  waits(one_, b_);
  holds(two_, b_);
  waits(two_, a_);
  waits(main_, a_);
  const std::vector<Finding> found = look();
  ASSERT_EQ(found.size(), 1u);
  EXPECT_THAT(found[0].behind, Contains(HasSubstr("'main'")));
}

TEST_F(WatchdogTest, AnEventThatAnotherThreadCouldMakeIsNotCertain) {
  // `main_` has said nothing: it may run.
  holds(one_, a_);
  waits(one_, cond_);
  waits(two_, a_);
  EXPECT_TRUE(look().empty());
}

TEST_F(WatchdogTest, AllWaitAndNobodyIsLeft) {
  waits(main_, cond_);
  tasks_ = {{::getpid(), {'S', 1}}};
  const std::vector<Finding> found = look();
  ASSERT_EQ(found.size(), 1u);
  EXPECT_THAT(found[0].title, HasSubstr("nobody is left"));
}

TEST_F(WatchdogTest, MemoryThatIsSharedMayBeWokenFromElsewhere) {
  void* shared = ::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  tasks_ = {{::getpid(), {'S', 1}}};
  waits(main_, recorded_->object(Kind::kSemaphore, reinterpret_cast<uint64_t>(shared), 9, "shared"));
  EXPECT_TRUE(look().empty());
  ::munmap(shared, 4096);
}

TEST_F(WatchdogTest, ThePictureHasEverything) {
  holds(one_, a_);
  waits(one_, cond_);
  state(two_);
  watchdog().picture(kSecond);
  const std::string text = watchdog().picture(10 * kSecond);
  EXPECT_THAT(text, HasSubstr("holds     mutex a"));
  EXPECT_THAT(text, HasSubstr("waits for condition variable ready"));
  EXPECT_THAT(text, HasSubstr("9.0 s"));
  EXPECT_THAT(text, HasSubstr("runs"));
}

}  // namespace
}  // namespace causeway::findings
