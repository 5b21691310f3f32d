#include <unistd.h>

#include <string>

#include "dept/kernel/testing_kernel.h"

namespace causeway::dept::kernel {
namespace {

class KernelApi : public KernelApiTest {
 protected:
  // A page is of its use from its next lock on.
  void use(Page& page, PageUsage usage) {
    set_page_usage(page, usage);
    page_locked(b_, page, HERE);
    page_unlocked(b_, page, HERE);
  }
  void wait_holding_a(Page& page) {
    ldt_lock(a_, {}, HERE);
    page_wait(b_, page, HERE);
    ldt_unlock(a_, HERE);
  }
};

constexpr EventMask kAnyEvent = 7;

TEST_F(KernelApi, StagedWaitCountsOnceItSleeps) {
  ThreadContext& sleeper = *ThreadContext::current();
  for (bool sleeps : {false, true}) {
    ldt_lock(a_, {}, HERE);
    sdt_might_sleep_start(&b_, 0, HERE);
    if (sleeps) request_event_wait_commit(HERE);
    ldt_unlock(a_, HERE);
    take_and_leave(a_);
    ttwu_stage_wait(sleeper, HERE);
    sdt_might_sleep_end();
    EXPECT_EQ(reports(), sleeps ? 1u : 0u);
  }
}

TEST_F(KernelApi, StageWithoutMapIsAClassByItsPlace) {
  ThreadContext& sleeper = *ThreadContext::current();
  ldt_lock(a_, {}, HERE);
  stage_wait(nullptr, HERE, 0);
  request_event_wait_commit(HERE);
  ldt_unlock(a_, HERE);
  take_and_leave(a_);
  ttwu_stage_wait(sleeper, HERE);
  EXPECT_EQ(reports(), 1u);
  // The first wake has emptied it.
  take_and_leave(b_);
  const uint64_t ignored = Tracker::get().arena().counted(Counter::kEventsSeen);
  ttwu_stage_wait(sleeper, HERE);
  EXPECT_EQ(Tracker::get().arena().counted(Counter::kEventsSeen), ignored);
  clean_stage();
}

TEST_F(KernelApi, OutermostStageWinsUnlessAnInnerWaitSleeps) {
  ThreadContext& self = *ThreadContext::current();
  stage_wait(&a_, HERE, 0);
  stage_wait(&b_, HERE, 0);
  EXPECT_EQ(self.staged.object, a_.object);
  clean_stage();
  EXPECT_TRUE(self.staged.is_staged);
  sdt_wait(c_, HERE);
  EXPECT_FALSE(self.staged.is_staged);
  clean_stage();
}

TEST_F(KernelApi, StampOutsideOfTheMapTellsInstancesApart) {
  ExtWgen asked, not_asked;
  ldt_lock(a_, {}, HERE);
  wait(b_, bit(Event::kWrite), HERE, 0, 0);
  ldt_unlock(a_, HERE);
  request_event(b_, &asked, HERE);
  take_and_leave(a_);
  event(b_, Event::kWrite, HERE, &not_asked);
  EXPECT_EQ(reports(), 0u);
  event(b_, Event::kWrite, HERE, &asked);
  EXPECT_EQ(reports(), 1u);
  EXPECT_EQ(asked.wgen.load(), 0u);
}

TEST_F(KernelApi, PagesOfTwoUsesMeetOnlyInUnknownOnes) {
  Page file, disk, unknown;
  set_page_usage(file, PageUsage::kRegularFile);
  EXPECT_EQ(page_usage(file), PageUsage::kDefault) << "before the next lock";
  page_locked(b_, file, HERE);
  EXPECT_EQ(page_usage(file), PageUsage::kRegularFile);
  page_unlocked(b_, file, HERE);
  use(disk, PageUsage::kBlockDevice);

  wait_holding_a(disk);
  page_locked(b_, file, HERE);
  take_and_leave(a_);
  page_unlocked(b_, file, HERE);
  EXPECT_EQ(reports(), 0u);
  page_locked(b_, unknown, HERE);
  take_and_leave(a_);
  page_unlocked(b_, unknown, HERE);
  EXPECT_EQ(reports(), 1u);
}

TEST_F(KernelApi, LevelsSilenceTheirClassButNoLockBetween) {
  static Key key;
  map_init(a_, &key, 0, "x", HERE);
  map_init(b_, &key, 0, "x", HERE);
  ldt_lock(a_, {}, HERE);
  ldt_lock(b_, {.nesting = 1}, HERE);
  ldt_unlock(b_, HERE);
  EXPECT_EQ(reports(), 0u);
  ldt_lock(c_, {}, HERE);
  ldt_lock(b_, {.nesting = 1}, HERE);
  EXPECT_EQ(reports(), 1u);
}

TEST_F(KernelApi, SetClassMovesWhatIsHeld) {
  static Key key;
  ldt_lock(a_, {}, HERE);
  ldt_set_class(a_, "renamed", key, 0, HERE);
  EXPECT_TRUE(ecxt_holding(a_, bit(Event::kWrite)));
  take_and_leave(b_);
  ldt_unlock(a_, HERE);
  ldt_lock(b_, {}, HERE);
  take_and_leave(a_);
  ldt_unlock(b_, HERE);
  EXPECT_EQ(reports(), 1u);
  EXPECT_EQ(Tracker::get().arena().text(Tracker::get().arena().at<Object>(a_.object).name), "renamed");
}

TEST_F(KernelApi, DowngradedWriterIsAReader) {
  ldt_wlock(a_, {}, HERE);
  ldt_downgrade(a_, HERE);
  EXPECT_FALSE(ecxt_holding(a_, bit(Event::kWrite)));
  EXPECT_TRUE(ecxt_holding(a_, bit(Event::kRead)));
  ldt_unlock(a_, HERE);
  EXPECT_EQ(reports(), 0u);
}

TEST_F(KernelApi, TimedWaitsAreLeftOut) {
  ldt_lock(a_, {}, HERE);
  sdt_wait_timeout(b_, 100, HERE);
  ldt_unlock(a_, HERE);
  sdt_request_event(b_, HERE);
  take_and_leave(a_);
  sdt_event(b_, HERE);
  EXPECT_EQ(reports(), 0u);
  ldt_lock(a_, {}, HERE);
  sdt_wait_timeout(b_, kMaxTimeout, HERE);
  EXPECT_EQ(reports(), 1u);
  ldt_unlock(a_, HERE);
}

TEST_F(KernelApi, RegionThatLeadsToAnEventIsOwned) {
  sdt_ecxt_enter(a_, HERE);
  sdt_wait(b_, HERE);
  sdt_ecxt_exit(a_);
  sdt_ecxt_enter(b_, HERE);
  sdt_wait(a_, HERE);
  sdt_ecxt_exit(b_);
  EXPECT_EQ(reports(), 1u);
}

TEST_F(KernelApi, RecoveredSiteContributesNothing) {
  static EventSite site{"event"}, recoverer{"recoverer"};
  EXPECT_FALSE(recover_event(site, recoverer, HERE)) << "not used so far";
  ldt_lock(a_, {}, HERE);
  sdt_wait(b_, HERE);
  ldt_unlock(a_, HERE);
  take_and_leave(a_);
  event_site(site, [&] { sdt_event(b_, HERE); });
  EXPECT_EQ(reports(), 0u);
}

TEST_F(KernelApi, ContextOfOneEventIsNotOfAnother) {
  for (const Event open : {Event::kRead, Event::kWrite}) {
    again();
    ecxt_enter(a_, open, HERE, 0);
    wait(b_, bit(Event::kWrite), HERE, 0, 0);
    EXPECT_TRUE(ecxt_exit(a_, bit(open)));
    EXPECT_FALSE(ecxt_exit(a_, bit(open)));
    ecxt_enter(b_, Event::kWrite, HERE, 0);
    wait(a_, bit(Event::kWrite), HERE, 0, 0);
    EXPECT_EQ(reports(), open == Event::kWrite ? 1u : 0u);
  }
}

TEST_F(KernelApi, ContextThatIsNotKeptBalancesAndMakesNoEdge) {
  for (const bool kept : {false, true}) {
    again();
    if (kept) ecxt_enter(a_, Event::kWrite, HERE, 0);
    else ecxt_enter_nokeep(a_, HERE);
    take_and_leave(b_);
    EXPECT_TRUE(ecxt_exit(a_, bit(Event::kWrite)));
    EXPECT_FALSE(ecxt_holding(a_, bit(Event::kWrite)));
    take_in(b_, a_);
    EXPECT_EQ(reports(), kept ? 1u : 0u);
  }
}

TEST_F(KernelApi, OpenContextGoesOnAsAnotherEventOfAnotherClass) {
  static Key before, after;
  for (const bool modified : {true, false}) {
    again();
    Map of_before, of_after;
    map_init(a_, &before, 0, "a", HERE);
    map_init(of_before, &before, 0, "before", HERE);
    map_init(of_after, &after, 0, "after", HERE);
    ecxt_enter(a_, Event::kWrite, HERE, 0);
    if (modified) map_ecxt_modify(a_, bit(Event::kWrite), after, Event::kRead, HERE, 0);
    EXPECT_EQ(ecxt_holding(a_, bit(Event::kRead)), modified);
    EXPECT_EQ(ecxt_holding(a_, bit(Event::kWrite)), !modified);
    wait(b_, bit(Event::kWrite), HERE, 0, 0);
    EXPECT_TRUE(ecxt_exit(a_, kAnyEvent));
    EXPECT_FALSE(ecxt_exit(a_, kAnyEvent));
    ecxt_enter(b_, Event::kWrite, HERE, 0);
    wait(of_before, kAnyEvent, HERE, 0, 0);
    EXPECT_EQ(reports(), modified ? 0u : 1u);
    wait(of_after, bit(Event::kRead), HERE, 0, 0);
    EXPECT_EQ(reports(), 1u);
    map_destroy(of_before);
    map_destroy(of_after);
  }
}

TEST_F(KernelApi, WithoutAnOpenContextNothingIsModified) {
  static Key key;
  map_ecxt_modify(a_, bit(Event::kWrite), key, Event::kRead, HERE, 0);
  EXPECT_FALSE(ecxt_holding(a_, kAnyEvent));
  EXPECT_EQ(a_.key, nullptr);
}

// Who wakes another from within the scheduler has not slept for that; what it waited for otherwise counts.
TEST_F(KernelApi, WakeFromTheSchedulerDependsOnNoSleepOfIt) {
  enum class Where { kOutside, kInside, kInsideAfterALock };
  for (const Where where : {Where::kOutside, Where::kInside, Where::kInsideAfterALock}) {
    again();
    sdt_ecxt_enter(c_, HERE);
    sdt_wait(b_, HERE);
    sdt_ecxt_exit(c_);
    sdt_request_event(b_, HERE);
    if (where == Where::kInsideAfterALock) {
      take_and_leave(c_);
    } else {
      stage_wait(&c_, HERE, 0);
      request_event_wait_commit(HERE);
      clean_stage();
    }
    if (where != Where::kOutside) sched_enter();
    sdt_event(b_, HERE);
    if (where != Where::kOutside) sched_exit();
    EXPECT_EQ(reports(), where == Where::kInside ? 0u : 1u);
    // It has left.
    sdt_request_event(b_, HERE);
    stage_wait(&c_, HERE, 0);
    request_event_wait_commit(HERE);
    clean_stage();
    sdt_event(b_, HERE);
    EXPECT_EQ(reports(), 1u);
  }
}

TEST_F(KernelApi, PageWhoseUseIsTakenBackIsOfUnknownUse) {
  Page file, disk;
  use(file, PageUsage::kRegularFile);
  use(disk, PageUsage::kBlockDevice);
  wait_holding_a(disk);
  for (const bool reset : {false, true}) {
    if (reset) reset_page_usage(file);
    page_locked(b_, file, HERE);
    EXPECT_EQ(page_usage(file), reset ? PageUsage::kDefault : PageUsage::kRegularFile);
    take_and_leave(a_);
    page_unlocked(b_, file, HERE);
    EXPECT_EQ(reports(), reset ? 1u : 0u);
  }
}

TEST_F(KernelApi, SitesThatRecoverEachOtherAreACircle) {
  static EventSite reply{"reply"}, timeout{"timeout"};
  event_site(reply, [] {});
  event_site(timeout, [] {});
  EXPECT_TRUE(recover_event(reply, timeout, HERE));
  EXPECT_EQ(reports(), 0u);
  EXPECT_TRUE(recover_event(timeout, reply, HERE));
  EXPECT_EQ(reports(), 1u);
}

TEST_F(KernelApi, OffIsOff) {
  dept_off();
  ldt_lock(a_, {}, HERE);
  ldt_lock(b_, {}, HERE);
  dept_on();
  EXPECT_FALSE(ecxt_holding(a_, 7));
}

std::string read_all(void (*print)(int)) {
  int ends[2];
  EXPECT_EQ(::pipe(ends), 0);
  print(ends[1]);
  ::close(ends[1]);
  std::string text;
  char part[512];
  for (ssize_t n; (n = ::read(ends[0], part, sizeof part)) > 0;) text.append(part, static_cast<size_t>(n));
  ::close(ends[0]);
  return text;
}

TEST_F(KernelApi, GraphAndCountersAsText) {
  static Key one, two;
  map_init(a_, &one, 0, "first", HERE);
  map_init(b_, &two, 3, "second", HERE);
  ldt_lock(a_, {}, HERE);
  take_and_leave(b_);
  const std::string deps = read_all(print_deps);
  EXPECT_NE(deps.find("first:0\n -> [0x"), std::string::npos) << deps;
  EXPECT_NE(deps.find("second:3\n"), std::string::npos) << deps;
  const std::string stats = read_all(print_stats);
  EXPECT_NE(stats.find("edge: 1 of "), std::string::npos) << stats;
  EXPECT_NE(stats.find("0 dropped"), std::string::npos) << stats;
}

TEST_F(KernelApi, PanicStopsEverything) {
  stop_emerg();
  EXPECT_FALSE(Tracker::is_on());
  ldt_lock(a_, {}, HERE);
  EXPECT_FALSE(ecxt_holding(a_, 7));
}

}  // namespace
}  // namespace causeway::dept::kernel
