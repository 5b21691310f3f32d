// A kernel is killed at every named point of this room: the next one finds all sessions or none, and is never refused.
#include <gtest/gtest.h>

#include <sys/wait.h>
#include <unistd.h>

#include <functional>
#include <string_view>

#include "luo/testing/luo_system.h"

namespace causeway::luo::testing {
namespace {

constexpr int kKilled = 42;

// Runs `life` in a process that ends at the point. Its kernel works on the machine's own memory, which stays.
bool dies_at(const char* name, const std::function<void()>& life) {
  const pid_t child = ::fork();
  if (child == 0) {
    must(point::on_hit(name, []() -> Status { ::_exit(kKilled); }));
    life();
    ::_exit(0);
  }
  int status = 0;
  EXPECT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status)) << name << ": status " << status;
  return WIFEXITED(status) && WEXITSTATUS(status) == kKilled;
}

std::vector<const char*> points() {
  std::vector<const char*> names;
  for (const point::Point* step : point::list()) {
    const std::string_view name(step->name);
    if (name.starts_with("luo.") || name.starts_with("kho.blocks.")) names.push_back(step->name);
  }
  return names;
}

void fill(LuoSystem& system) {
  for (uint64_t s = 0; s < 2; ++s) {
    SessionRef session = must(system.luo().create_session(s == 0 ? "a" : "b"));
    for (uint64_t i = 0; i < 2; ++i) must(session->preserve(i, fake_file(10 * s + i)));
  }
}
void expect_all(LuoSystem& system) {
  for (uint64_t s = 0; s < 2; ++s) {
    SessionRef session = must(system.luo().retrieve_session(s == 0 ? "a" : "b"));
    for (uint64_t i = 0; i < 2; ++i) EXPECT_EQ(number_of(must(session->retrieve(i))), 10 * s + i);
  }
}

TEST(Kill, OldKernelHandsOverAllSessionsOrNone) {
  if (!has_points()) GTEST_SKIP() << "named points are not compiled in";
  log::set_level(log::Level::kWarn);
  unsigned killed = 0;
  for (const char* name : points()) {
    SCOPED_TRACE(name);
    LuoSystem system;
    killed += dies_at(name, [&] {
      fill(system);
      must(system.luo().serialize());
      system.luo().undo_serialize();
    });
    system.crash();
    EXPECT_EQ(system.luo().stats().refusal, "");
    const uint64_t sessions = system.luo().stats().incoming_sessions;
    EXPECT_TRUE(sessions == 0 || sessions == 2) << sessions;
    if (sessions == 2) expect_all(system);
    system.generation().expect_sound();
  }
  EXPECT_GE(killed, 12u);
  log::set_level(log::Level::kInfo);
}

TEST(Kill, NewKernelLeavesTheHandoverWholeUntilItsOwnCounts) {
  if (!has_points()) GTEST_SKIP() << "named points are not compiled in";
  log::set_level(log::Level::kWarn);
  unsigned killed = 0;
  for (const char* name : points()) {
    SCOPED_TRACE(name);
    LuoSystem system;
    fill(system);
    must(system.luo().serialize());
    system.generation().commit(hw::HandoverKind::kOrderly);
    killed += dies_at(name, [&] {
      system.crash({.commit = false});
      // Files that were retrieved, and files that were not.
      SessionRef a = must(system.luo().retrieve_session("a"));
      SessionRef b = must(system.luo().retrieve_session("b"));
      must(b->retrieve(0));
      for (const SessionRef& session : {a, b}) {
        must(session->finish());
        session->close();
      }
    });
    system.crash();
    EXPECT_EQ(system.luo().stats().refusal, "");
    expect_all(system);
  }
  EXPECT_GE(killed, 8u);
  log::set_level(log::Level::kInfo);
}

}  // namespace
}  // namespace causeway::luo::testing
