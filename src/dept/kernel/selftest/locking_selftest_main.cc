// Every verdict of the kernel's locking self-tests, one after the other in one process and one graph: what one case leaves behind must
// not change the next. A program of its own, because a process has one tracker, and this one judges as the kernel does.
#include <gtest/gtest.h>

#include "dept/kernel/selftest/irq_cases.h"
#include "dept/kernel/selftest/lock_cases.h"
#include "dept/kernel/selftest/other_cases.h"
#include "dept/kernel/selftest/ww_cases.h"

namespace causeway::dept::kernel::selftest {
namespace {

constexpr unsigned kReported = 250;
constexpr unsigned kSilent = 145;

void start_tracker() {
  Settings settings;
  settings.judge = {.threads = false, .gates = false, .order = false, .timeouts = false};
  settings.predict = false;
  const int result = Tracker::start(settings);
  ASSERT_TRUE(result == 0 || result == -EALREADY) << result;
}

uint32_t run(const Case& test) {
  Bench bench(test.name, test.column, test.irq);
  test.run(bench);
  return bench.reports();
}

TEST(LockingSelftest, EveryVerdictHolds) {
  start_tracker();
  Cases cases;
  add_lock_cases(cases);
  add_irq_cases(cases);
  add_ww_cases(cases);
  add_wait_context_cases(cases);
  add_other_cases(cases);
  unsigned reported = 0, silent = 0, wrong = 0, differences = 0;
  for (const Case& test : cases) {
    ++(test.report ? reported : silent);
    const bool right = (run(test) != 0) == test.report;
    if (right) continue;
    if (*test.known_difference != 0) {
      ++differences;
      std::printf("known difference: %s: %s\n", test.name.c_str(), test.known_difference);
      continue;
    }
    ++wrong;
    ADD_FAILURE() << test.name << (test.report ? ": not reported" : ": reported");
  }
  std::printf("%u verdicts: %u reported, %u silent, %u wrong", reported + silent, reported, silent, wrong);
  if (differences != 0) std::printf(", %u known differences", differences);
  std::printf("\n");
  EXPECT_EQ(reported, kReported);
  EXPECT_EQ(silent, kSilent);
}

// The same orders of events instead of locks: asked for, then something else is waited for, then it happens.
TEST(LockingSelftest, WaitAndEventTwins) {
  start_tracker();
  for (const char* list : {"AB BA", "AB BC CA", "AB CA BC", "AB BC CD DA", "AB CD BD DA", "AB CD BC DA"}) {
    std::istringstream words(list);
    std::string script, without_requests;
    for (std::string pair; words >> pair;) {
      const std::string tail = std::string(" wait:") + pair[1] + " event:" + pair[0] + " ";
      script += std::string("request:") + pair[0] + tail;
      without_requests += tail;
    }
    EXPECT_NE(run(script_case(std::string("events ") + list, script, true)), 0u) << list;
    EXPECT_EQ(run(script_case(std::string("events nobody asked for ") + list, without_requests, false)), 0u) << list;
  }
  // What was waited for before the request, or in another context, says nothing.
  EXPECT_EQ(run(script_case("too early", "wait:B request:A event:A wait:A request:B event:B", false)), 0u);
  Bench bench("contexts", Column::kSpin, kHardirq);
  bench.run("request:A wait:B");
  update_cxt();
  bench.run("event:A request:B wait:A");
  update_cxt();
  bench.run("event:B");
  EXPECT_EQ(bench.reports(), 0u);
  // One class, from a window: no dependency, unlike a lock that is held.
  EXPECT_EQ(run(script_case("events AA", "request:X1 wait:X2 event:X1", false)), 0u);
}

struct Stacks {
  unsigned total = 0, valid = 0;
  void add(StackId id) {
    ++total;
    if (id != StackId::kNone && Tracker::get().arena().frames(id).depth != 0) ++valid;
  }
};

// Not only that there is a report: that it says where.
TEST(LockingSelftest, ReportsOfTheUnitTestHaveTheirStacks) {
  start_tracker();
  const uint32_t before = Bench::reports_so_far();
  EXPECT_EQ(run(script_case("unit: spin", pairs("AB BA"), true)), 1u);
  EXPECT_EQ(run(script_case("unit: mutex", pairs("AB BA"), true, Column::kMutex)), 1u);
  EXPECT_EQ(run(script_case("unit: events", "request:A wait:B event:A request:B wait:A event:B", true)), 1u);
  static EventSite one{"one"}, two{"two"};
  event_site(one, [] {});
  event_site(two, [] {});
  EXPECT_TRUE(recover_event(one, two, Site::at(__FILE__, __LINE__)));
  EXPECT_TRUE(recover_event(two, one, Site::at(__FILE__, __LINE__)));
  EXPECT_EQ(Bench::reports_so_far() - before, 4u);

  Stacks starts, waits, events;
  const Arena& arena = Tracker::get().arena();
  for (uint32_t id = before + 1; id <= before + 4; ++id) {
    const Report& report = arena.at<Report>(ReportId(id));
    EXPECT_EQ(report.problem, Problem::kCycle);
    EXPECT_EQ(report.hop_count, 2);
    for (unsigned i = 0; i < report.hop_count; ++i) {
      const Witness& witness = arena.at<Witness>(report.hops[i].witness);
      waits.add(witness.wait);
      if (id == before + 4) continue;  // sites have neither beginning nor end
      starts.add(witness.start);
      if ((witness.flags & Witness::kWindow) != 0) events.add(witness.event);
    }
  }
  std::printf("valid stacks: %u of %u starts, %u of %u waits, %u of %u events\n", starts.valid, starts.total,
              waits.valid, waits.total, events.valid, events.total);
  EXPECT_EQ(starts.valid, 6u);
  EXPECT_EQ(waits.valid, 8u);
  EXPECT_EQ(events.valid, 2u);
}

}  // namespace
}  // namespace causeway::dept::kernel::selftest

int main(int argc, char** argv) {
  ::testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}
