#include <gtest/gtest.h>

#include "interpose/testing/tracked_run.h"

namespace causeway::interpose {

const char* const kPrograms = CW_DEPT_PROGRAMS;
const char* const kLibrary = CW_DEPT_LIBRARY;

namespace {

using dept::Arena;
using dept::Counter;

uint64_t reports_of(const TrackedRun& run) {
  uint64_t reports = 0;
  for (const auto& arena : run.arenas) reports += arena->used<dept::Report>() - 1;
  return reports;
}

unsigned locks_held(const Arena& arena) {
  unsigned held = 0;
  for (uint32_t i = 1; i < arena.used<dept::ThreadState>(); ++i) {
    const dept::ThreadState& state = arena.at<dept::ThreadState>(dept::StateId(i));
    if (state.thread != 0) held += state.held();
  }
  return held;
}

void expect_same_output(const char* program) {
  const TrackedRun plain = TrackedRun::plain(program);
  const TrackedRun tracked = TrackedRun::with_library(program);
  EXPECT_EQ(tracked.status, plain.status);
  EXPECT_EQ(tracked.out, plain.out);
  EXPECT_EQ(tracked.err, plain.err);
  EXPECT_FALSE(plain.out.empty());
  EXPECT_FALSE(tracked.arenas.empty());
}

TEST(Interpose, EveryResultAndErrnoIsTheSame) { expect_same_output("results"); }
TEST(Interpose, CancelledJoin) { expect_same_output("cancel"); }
TEST(Interpose, EveryWayToAnotherProcess) { expect_same_output("processes"); }
TEST(Interpose, LocksAfterTheStartRoutine) { expect_same_output("thread_end"); }
TEST(Interpose, LibrariesThatLockInConstructors) { expect_same_output("early_program"); }
TEST(Interpose, ProgramWithoutThreads) { expect_same_output("plain"); }

TEST(Interpose, SaysOnceThatItHasNoDirectory) {
  const TrackedRun run = TrackedRun::without_directory("thread_end");
  EXPECT_TRUE(run.exited_well());
  EXPECT_EQ(run.err, "causeway-dept: CAUSEWAY_DEPT_DIR is not set, and this process is not tracked: start it with causeway dept\n");
}

TEST(Interpose, NamesOptionsItDoesNotKnow) {
  const TrackedRun run = TrackedRun::with_library("plain", {}, "timeouts=1,frobnicate=2 predict=0");
  EXPECT_TRUE(run.exited_well());
  EXPECT_EQ(run.err, "causeway-dept: CAUSEWAY_DEPT_OPTIONS: no such option: frobnicate\n");
}

TEST(Interpose, FindsTheClassicCircle) {
  const TrackedRun run = TrackedRun::with_library("abba");
  EXPECT_TRUE(run.exited_well());
  ASSERT_EQ(run.arenas.size(), 1u);
  EXPECT_EQ(reports_of(run), 1u);
  EXPECT_EQ(run.arenas[0]->at<dept::Report>(dept::ReportId(1)).level, dept::Level::kLikely);
}

TEST(Interpose, WhatWasCancelledHoldsNothing) {
  const TrackedRun run = TrackedRun::with_library("cancel");
  ASSERT_EQ(run.arenas.size(), 1u);
  EXPECT_EQ(locks_held(*run.arenas[0]), 0u);
  EXPECT_EQ(reports_of(run), 0u);
}

TEST(Interpose, MemoryThatIsUsedAgainIsAnotherLocks) {
  const TrackedRun run = TrackedRun::with_library("reuse");
  EXPECT_TRUE(run.exited_well());
  EXPECT_NE(run.out.find("same memory 1"), std::string::npos);
  ASSERT_EQ(run.arenas.size(), 1u);
  EXPECT_EQ(reports_of(run), 0u);
  EXPECT_GE(run.arenas[0]->counted(Counter::kObjectsDied), 4u);
}

TEST(Interpose, EachProcessHasItsArenaAndSaysGoodbye) {
  const TrackedRun run = TrackedRun::with_library("processes");
  EXPECT_EQ(reports_of(run), 0u);
  // Twice: the children that lock (fork, fork+exit, _Fork, clone, fork+lock+exec), the programs they become, a shell or two.
  EXPECT_GE(run.arenas.size(), 1u + 2 * (5 + 5));
  for (const auto& arena : run.arenas) {
    EXPECT_NE(arena->header().ended_ns.load(), 0u) << arena->text(dept::StringId(arena->header().command.load()));
    EXPECT_NE(arena->header().pid, 0);
  }
}

TEST(Interpose, ThreadsAreNamed) {
  const TrackedRun run = TrackedRun::with_library("thread_end");
  ASSERT_EQ(run.arenas.size(), 1u);
  const Arena& arena = *run.arenas[0];
  unsigned named = 0, ended = 0;
  for (uint32_t i = 1; i < arena.used<dept::Thread>(); ++i) {
    const auto& thread = arena.at<dept::Thread>(dept::ThreadId(i));
    named += std::string(thread.name) == "worker-name";
    ended += thread.ended_ns != 0;
  }
  EXPECT_EQ(named, 2u);
  EXPECT_EQ(ended, 2u);
  EXPECT_EQ(locks_held(arena), 0u);
}

TEST(Interpose, ModulesAreRecorded) {
  const TrackedRun run = TrackedRun::with_library("early_program");
  ASSERT_EQ(run.arenas.size(), 1u);
  Arena& arena = *run.arenas[0];
  bool itself = false, libc = false;
  for (uint32_t i = 1; i < arena.used<dept::Module>(); ++i) {
    const dept::Module& module = arena.at<dept::Module>(dept::ModuleId(i));
    const std::string path(arena.text(module.path));
    EXPECT_LT(module.begin, module.end);
    itself |= path.ends_with("dept_early_program");
    libc |= path.find("libc.so") != std::string::npos && module.build_id_size == 20;
  }
  EXPECT_TRUE(itself);
  EXPECT_TRUE(libc);
}

}  // namespace
}  // namespace causeway::interpose
