#include "dept/known_locks.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "dept/testing_threads.h"

namespace causeway::dept {
namespace {

constexpr ObjectTraits kTraits{.kind = Kind::kMutex};
constexpr Site place_of(unsigned number) { return Site::at_pc(0x10000 + number * 16); }

// As an interposer does it. True: the short way.
[[gnu::noinline]] bool take(const int& lock, Site site) {
  locks::Announced announced;
  if (locks::announce_known<false>(announced, &lock, locks::Mode::kWrite, site) ||
      locks::announce_renewed<false>(announced, &lock, locks::Mode::kWrite, site)) {
    if (!locks::hold_known(announced)) locks::acquired(Tracker::get().find_object(&lock), locks::Mode::kWrite, site, {});
    return true;
  }
  const ObjectId object = locks::acquiring_at(&lock, kTraits, locks::Mode::kWrite, site, {});
  locks::acquired(object, locks::Mode::kWrite, site, {});
  return false;
}
[[gnu::noinline]] bool leave(const int& lock) {
  if (locks::release_known<false>(&lock)) return true;
  locks::releasing_at(&lock, kTraits, place_of(9));
  return false;
}

class KnownLocks : public TrackerTest {
 protected:
  void SetUp() override {
    TrackerTest::SetUp();
    locks::open_known();
    while (!twice(a_, place_of(0))) {}
  }
  void TearDown() override { locks::close_known(); }
  static bool twice(const int& lock, Site site) {
    const bool is_short = take(lock, site);
    leave(lock);
    return is_short;
  }
  static inline int a_, b_;
};

TEST_F(KnownLocks, AreWrittenAsOthersAre) {
  ASSERT_TRUE(take(a_, place_of(0)));
  Held short_way = self()->held_list()[0];
  const HeldHere here = self()->here(0);
  const uint64_t chain = self()->chain();
  EXPECT_TRUE(leave(a_));
  EXPECT_EQ(self()->held(), 0u);
  EXPECT_EQ(self()->chain(), 0u);
  tracker().graph().forget_known();
  ASSERT_FALSE(take(a_, place_of(0)));
  EXPECT_EQ(self()->held_list()[0].wgen, ++short_way.wgen) << "it is another time";
  EXPECT_EQ(memcmp(&short_way, &self()->held_list()[0], sizeof short_way), 0);
  EXPECT_EQ(self()->chain(), chain);
  EXPECT_EQ(self()->here(0).place, here.place);
  EXPECT_TRUE(leave(a_));
}

TEST_F(KnownLocks, AreKnownByPlaceAndByWhatIsHeld) {
  EXPECT_FALSE(twice(a_, place_of(1)));
  EXPECT_FALSE(twice(b_, place_of(0)));
  take(b_, place_of(0));
  EXPECT_FALSE(twice(a_, place_of(0)));
  leave(b_);
  EXPECT_TRUE(twice(a_, place_of(0)));
}

TEST_F(KnownLocks, AreKnownAtTwoPlacesInTurns) {
  while (!twice(a_, place_of(1))) {}
  for (int i = 0; i < 3; ++i) {
    EXPECT_TRUE(twice(a_, place_of(0)));
    EXPECT_TRUE(twice(a_, place_of(1)));
  }
}

TEST_F(KnownLocks, AreKnownAloneAndUnderAnotherInTurns) {
  take(a_, place_of(0));
  const uint64_t alone = self()->chain();
  leave(a_);
  uint64_t under = 0;
  for (int i = 0; i < 8; ++i) {
    take(b_, place_of(2));
    const bool is_short = take(a_, place_of(0));
    if (i == 0) under = self()->chain();
    EXPECT_EQ(self()->chain(), under);
    leave(a_);
    leave(b_);
    EXPECT_TRUE(take(a_, place_of(0)) || i < 4);
    EXPECT_EQ(self()->chain(), alone);
    leave(a_);
    EXPECT_TRUE(is_short || i < 4) << i;
  }
}

// What was asked for since, or begun, is not to be told of a wait before.
TEST_F(KnownLocks, AreRememberedAnew) {
  const auto newest = [] {
    const PastWait* found = nullptr;
    for (uint32_t i = 0; i < self()->ring_next; ++i) {
      if (self()->ring[i].object == tracker().find_object(&a_)) found = &self()->ring[i];
    }
    return *found;
  };
  std::atomic<uint32_t> wgen{0};
  const uint32_t asked = tracker().request(self(), wgen);
  EXPECT_LE(newest().wgen, asked);
  EXPECT_TRUE(twice(a_, place_of(0)));
  EXPECT_GT(newest().wgen, asked);
  tracker().new_context(self());
  EXPECT_TRUE(twice(a_, place_of(0)));
  EXPECT_EQ(newest().context, self()->context_id);
  tracker().order().release(*self(), tracker().object_at(&b_, kTraits, place_of(2)));
  EXPECT_TRUE(twice(a_, place_of(0)));
  EXPECT_EQ(newest().epoch, self()->epoch);
}

TEST_F(KnownLocks, AreCounted) {
  const auto counted = [] {
    tracker().tell_locks(self());
    return arena().header().counters[static_cast<unsigned>(Counter::kLocks)].load();
  };
  const uint64_t before = counted();
  for (int i = 0; i < 5; ++i) EXPECT_TRUE(twice(a_, place_of(0)));
  EXPECT_EQ(counted(), before + 5);
  int fresh;
  for (int i = 0; i < 5; ++i) twice(fresh, place_of(0));  // some the long way
  EXPECT_EQ(counted(), before + 10);
  sleeps::Sleep sleep;
  sleeps::begin(sleep, tracker().object_at(&b_, {.kind = Kind::kCondVar}, place_of(2)), place_of(2), {});
  sleeps::end(sleep, sleeps::Outcome::kWoken, place_of(2));
  EXPECT_EQ(counted(), before + 10) << "no lock";
}

TEST_F(KnownLocks, AreForgotten) {
  Tracker::get().object_died(&a_);
  EXPECT_FALSE(twice(a_, place_of(0))) << "another lock at the same address";
  while (!twice(a_, place_of(0))) {}
  ASSERT_TRUE(take(a_, place_of(0)));
  std::thread([&] { leave(a_); }).join();
  EXPECT_FALSE(take(a_, place_of(0))) << "handed over: what is taken asks for its event";
  EXPECT_EQ(self()->held(), 1u);
  leave(a_);
  while (!twice(b_, place_of(0))) {}
  Tracker::stop("for a test");
  EXPECT_FALSE(twice(b_, place_of(0)));
  EXPECT_FALSE(twice(b_, place_of(0)));
}

// The C library knows of another owner, and refuses what the parent may do.
TEST_F(KnownLocks, HeldByTheParentAreReleasedTheLongWay) {
  ASSERT_TRUE(take(a_, place_of(0)));
  const pid_t child = fork();
  if (child == 0) {
    const int error = Tracker::child_after_fork(-1);
    const bool is_short = leave(a_);
    _exit(error != 0 ? 1 : is_short ? 2 : self()->held() != 0 ? 3 : 0);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
  EXPECT_TRUE(leave(a_));
}

TEST_F(KnownLocks, TakenTwiceAreReleasedTwice) {
  static int recursive;
  constexpr ObjectTraits kRecursive{.kind = Kind::kMutex, .flags = Object::kRecursive};
  Tracker::get().object_at(&recursive, kRecursive, place_of(3));
  for (int i = 0; i < 4; ++i) {
    take(recursive, place_of(3));
    EXPECT_FALSE(take(recursive, place_of(4)));
    EXPECT_FALSE(leave(recursive));
    EXPECT_EQ(self()->held(), 1u);
    EXPECT_TRUE(leave(recursive));
    EXPECT_EQ(self()->held(), 0u);
  }
  EXPECT_EQ(arena().used<Report>(), 1u);
}

#if defined(__x86_64__)

// After each instruction of the thread a handler runs that takes locks of its own, in short ways and in long ones.
struct Steps {
  unsigned taken = 0, short_ways = 0, broken = 0;
  bool as_interruption = false;
};
Steps steps;
int handlers_locks[2];

void on_step(int) {
  ThreadContext* self = detail::tls.context;
  const uint32_t top = self->held(), missed = self->missed;
  const uint64_t chain = self->chain();
  const unsigned number = ++steps.taken;
  const bool is_outside = detail::tls.inside == 0;
  if (steps.as_interruption && is_outside) Tracker::get().irq_enter(self, SIGTRAP - 1);
  steps.short_ways += take(handlers_locks[0], place_of(16 + number % 3));
  take(handlers_locks[1], place_of(16 + number % 5));
  leave(handlers_locks[1]);
  leave(handlers_locks[0]);
  if (steps.as_interruption && is_outside) Tracker::get().irq_exit(self);
  if (self->held() != top || self->chain() != chain || self->missed != missed) ++steps.broken;
}

void step(bool on) {
  if (on) {
    asm volatile("pushf; orl $0x100, (%%rsp); popf" ::: "cc", "memory");
  } else {
    asm volatile("pushf; andl $~0x100, (%%rsp); popf" ::: "cc", "memory");
  }
}

class InterruptedLocks : public KnownLocks, public testing::WithParamInterface<bool> {
 protected:
  static void expect_held(uint32_t position, const int& lock, Site site) {
    const Held& held = self()->held_list()[position];
    EXPECT_EQ(arena().at<Object>(held.object).address, reinterpret_cast<uintptr_t>(&lock));
    EXPECT_EQ(held.site, site.where);
    EXPECT_EQ(held.depth, 1);
    EXPECT_EQ(self()->here(position).address(), reinterpret_cast<uintptr_t>(&lock));
  }
};

TEST_P(InterruptedLocks, AtAnyInstruction) {
#if defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "ThreadSanitizer keeps signals back until a call, so that no instruction is stepped over";
#endif
  steps = {.as_interruption = GetParam()};
  struct sigaction action {}, before;
  action.sa_handler = on_step;
  ASSERT_EQ(sigaction(SIGTRAP, &action, &before), 0);
  for (int i = 0; i < 60; ++i) {
    step(true);
    take(a_, place_of(0));
    take(b_, place_of(1));
    step(false);
    ASSERT_EQ(self()->held(), 2u);
    ASSERT_EQ(self()->state->held(), 2u);
    expect_held(0, a_, place_of(0));
    expect_held(1, b_, place_of(1));
    ASSERT_EQ(self()->chain(), self()->held_list()[1].chain);
    ASSERT_EQ(self()->here(0).chain, self()->held_list()[0].chain);
    step(true);
    leave(b_);
    leave(a_);
    step(false);
    ASSERT_EQ(self()->held(), 0u);
    ASSERT_EQ(self()->state->held(), 0u);
    ASSERT_EQ(self()->chain(), 0u);
    if (i % 20 == 19) tracker().graph().forget_known();  // the long way once more
  }
  sigaction(SIGTRAP, &before, nullptr);
  EXPECT_EQ(steps.broken, 0u);
  EXPECT_GT(steps.taken, 10'000u);
  EXPECT_GT(steps.short_ways, 3'000u);
  EXPECT_EQ(self()->missed, 0u);
}
INSTANTIATE_TEST_SUITE_P(Handlers, InterruptedLocks, testing::Bool(),
                         [](const auto& one) { return one.param ? "KnownAsInterruptions" : "Plain"; });

#endif

}  // namespace
}  // namespace causeway::dept
