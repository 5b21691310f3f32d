#include "findings/suppressions.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "findings/testing/examples.h"

namespace causeway::findings {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using Verdict = Suppressions::Verdict;

constexpr unsigned kToday = 20270615;

Verdict verdict_of(const std::string& rule, Finding finding = examples::two_locks()) {
  Suppressions rules(kToday);
  std::string reason;
  EXPECT_TRUE(rules.parse("rules", rule, &reason).has_value()) << reason;
  return rules.apply(&finding);
}

std::string error_of(const std::string& text) {
  Suppressions rules(kToday);
  std::string reason;
  EXPECT_FALSE(rules.parse("rules", text, &reason).has_value()) << text;
  return reason;
}

TEST(Suppressions, MatchAnyHop) {
  EXPECT_EQ(verdict_of("match function then_take"), Verdict::kHidden);
  EXPECT_EQ(verdict_of("match function then_*"), Verdict::kHidden);
  EXPECT_EQ(verdict_of("match function nobody"), Verdict::kTold);
  EXPECT_EQ(verdict_of("match file a.cc"), Verdict::kHidden);
  EXPECT_EQ(verdict_of("match file src/a.cc"), Verdict::kHidden);
  EXPECT_EQ(verdict_of("match file other/a.cc"), Verdict::kTold);
  EXPECT_EQ(verdict_of("match module prog"), Verdict::kHidden);
  EXPECT_EQ(verdict_of("match object log.*"), Verdict::kHidden);
  EXPECT_EQ(verdict_of("id 00000000000000aa"), Verdict::kHidden);
  EXPECT_EQ(verdict_of("id 00000000000000ab"), Verdict::kTold);
}

TEST(Suppressions, AllConditionsOfARuleMustHold) {
  EXPECT_EQ(verdict_of("match function take object log.mu"), Verdict::kHidden);
  EXPECT_EQ(verdict_of("match function take object other"), Verdict::kTold);
}

TEST(Suppressions, ThreadSanitizersAndValgrindsOwn) {
  EXPECT_EQ(verdict_of("deadlock:then_"), Verdict::kHidden);
  EXPECT_EQ(verdict_of("deadlock:else_"), Verdict::kTold);
  EXPECT_EQ(verdict_of("{\n  name\n  Helgrind:LockOrder\n  fun:std::mutex::lock\n  fun:then_take\n  fun:main\n}"), Verdict::kHidden);
  EXPECT_EQ(verdict_of("{\n  name\n  Helgrind:LockOrder\n  ...\n  fun:main\n}"), Verdict::kHidden);
  EXPECT_EQ(verdict_of("{\n  name\n  Helgrind:LockOrder\n  fun:main\n}"), Verdict::kTold) << "main is not innermost";
}

TEST(Suppressions, ALevelLowersAndSaysSo) {
  Suppressions rules(kToday);
  std::string reason;
  ASSERT_TRUE(rules.parse("rules", "# why\nmatch function take level info  # because\n", &reason).has_value()) << reason;
  Finding finding = examples::two_locks();
  EXPECT_EQ(rules.apply(&finding), Verdict::kTold);
  EXPECT_EQ(finding.level, Level::kInfo);
  EXPECT_THAT(finding.refutations, ElementsAre(HasSubstr("rules:2")));
}

TEST(Suppressions, ExpireAndAreListedWhenUnused) {
  EXPECT_EQ(verdict_of("match function take until 2027-06-15"), Verdict::kHidden) << "its last day";
  EXPECT_EQ(verdict_of("match function take until 2027-06-14"), Verdict::kTold);
  Suppressions rules(kToday);
  std::string reason;
  ASSERT_TRUE(rules.parse("r", "match function take\nmatch function gone\nmatch file a.cc until 2020-01-01\n", &reason).has_value());
  Finding finding = examples::two_locks();
  rules.apply(&finding);
  EXPECT_THAT(rules.unused(), ElementsAre("r:2: match function gone", "r:3: match file a.cc until 2020-01-01 (expired)"));
}

TEST(Suppressions, WhatCannotBeUnderstoodIsAnError) {
  EXPECT_THAT(error_of("ok\n"), HasSubstr("rules:1"));
  EXPECT_THAT(error_of("\nmatch function"), HasSubstr("rules:2"));
  EXPECT_THAT(error_of("match colour red"), HasSubstr("colour"));
  EXPECT_THAT(error_of("match function f level high"), HasSubstr("high"));
  EXPECT_THAT(error_of("match function f until soon"), HasSubstr("soon"));
  EXPECT_THAT(error_of("match level info"), HasSubstr("everything"));
  EXPECT_THAT(error_of("{\n fun:f\n"), HasSubstr("never closed"));
}

TEST(Baseline, KnowsWhatWasWrittenUnlessItRose) {
  const std::string path = ::testing::TempDir() + "/baseline";
  std::ofstream(path) << Baseline::write({examples::two_locks(), examples::lock_and_condition()});
  Baseline baseline;
  ASSERT_TRUE(baseline.read(path).has_value());
  EXPECT_TRUE(baseline.knows(examples::two_locks()));
  EXPECT_FALSE(baseline.knows(examples::relock()));
  Finding raised = examples::lock_and_condition();
  raised.level = Level::kLikely;
  EXPECT_FALSE(baseline.knows(raised));
}

TEST(Runtime, OnlyIfEveryFrameIsOfIt) {
  Finding finding = examples::two_locks();
  EXPECT_FALSE(is_of_the_runtime(finding));
  auto move = [&](const char* module, size_t lines) {
    for (Hop& hop : finding.hops)
      for (Trace* trace : {&hop.start, &hop.wait})
        for (size_t i = 0; i < lines && i < trace->size(); ++i) (*trace)[i].module = module;
  };
  move("/lib/x86_64-linux-gnu/libstdc++.so.6", 2);
  EXPECT_FALSE(is_of_the_runtime(finding));
  move("/lib64/ld-linux-x86-64.so.2", 3);
  EXPECT_TRUE(is_of_the_runtime(finding));
  EXPECT_FALSE(is_of_the_runtime(examples::finished({})));
}

}  // namespace
}  // namespace causeway::findings
