#include "dept/tracker.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <memory>
#include <random>
#include <set>
#include <vector>

#include "dept/hash.h"
#include "dept/testing_threads.h"

namespace causeway::dept {
namespace {

constexpr ObjectTraits kMutex{.kind = Kind::kMutex};

class Objects_ : public TrackerTest {};

TEST_F(Objects_, OneAddressOneObjectUntilItDies) {
  int word = 0;
  const ObjectId first = tracker().object_at(&word, kMutex, CW_HERE);
  EXPECT_NE(first, ObjectId::kNone);
  EXPECT_EQ(tracker().object_at(&word, kMutex, CW_HERE), first);
  EXPECT_EQ(tracker().find_object(&word), first);
  tracker().object_died(&word);
  EXPECT_EQ(tracker().find_object(&word), ObjectId::kNone);
  EXPECT_NE(tracker().object_at(&word, kMutex, CW_HERE), first);
}

TEST_F(Objects_, NamedBeforeItsUseIsWhatItIsUsedAs) {
  int word = 0;
  const ObjectId named = tracker().object_born(&word, {.key = 7, .name = "shared"}, CW_HERE);
  const ObjectTraits readers{.kind = Kind::kRwLock, .flags = Object::kReaderLock};
  EXPECT_EQ(locks::acquiring_at(&word, readers, locks::Mode::kRead, CW_HERE, {}), named);
  const Object& object = arena().at<Object>(named);
  EXPECT_EQ(object.kind, Kind::kRwLock);
  EXPECT_NE(object.flags.load() & Object::kReaderLock, 0u);
  EXPECT_EQ(object.key, 7u);
  tracker().object_at(&word, kMutex, CW_HERE);
  EXPECT_EQ(object.kind, Kind::kRwLock);
}

TEST_F(Objects_, BornAgainWithoutHavingDied) {
  int word = 0;
  const ObjectId first = tracker().object_born(&word, kMutex, CW_HERE);
  const ObjectId second = tracker().object_born(&word, kMutex, CW_HERE);
  EXPECT_NE(first, second);
  EXPECT_EQ(tracker().find_object(&word), second);
  EXPECT_NE(arena().at<Object>(first).flags.load() & Object::kDead, 0u);
}

TEST_F(Objects_, MemoryThatIsFreedTakesWhatLivedThere) {
  auto block = std::make_unique<char[]>(64 << 10);
  std::vector<ObjectId> ids;
  for (unsigned at = 0; at < 64 << 10; at += 40) ids.push_back(tracker().object_at(block.get() + at, kMutex, CW_HERE));
  tracker().memory_freed(block.get() + 400, 4000);
  for (unsigned i = 0; i < ids.size(); ++i) {
    EXPECT_EQ(tracker().find_object(block.get() + i * 40) == ObjectId::kNone, i >= 10 && i < 110) << i;
  }
  tracker().memory_freed(block.get(), 64 << 10);
  for (unsigned i = 0; i < ids.size(); ++i) EXPECT_EQ(tracker().find_object(block.get() + i * 40), ObjectId::kNone);
}

// Memory used again for another lock: the orders before and after are of different objects (trap 18, M23).
TEST_F(Objects_, AnAddressUsedAgainIsAnotherLock) {
  static int a, b;
  const auto both = [](int& first, int& second, Site site) {
    for (int* mutex : {&first, &second})
      locks::acquired(locks::acquiring_at(mutex, kMutex, locks::Mode::kWrite, site, {}), locks::Mode::kWrite, site, {});
    locks::releasing_at(&second, kMutex, site);
    locks::releasing_at(&first, kMutex, site);
  };
  ObjectTraits one = kMutex, other = kMutex;
  one.key = 1;
  other.key = 2;
  tracker().object_born(&a, one, CW_HERE);
  tracker().object_born(&b, other, CW_HERE);
  thread([&] { both(a, b, Site::at("both", 1)); });
  tracker().memory_freed(&a, sizeof(a));
  tracker().object_born(&a, {.kind = Kind::kMutex, .key = 3}, CW_HERE);
  thread([&] { both(b, a, Site::at("both", 2)); });
  EXPECT_EQ(worst(), std::nullopt);
  thread([&] { both(a, b, Site::at("both", 1)); });
  EXPECT_EQ(worst(), Level::kLikely);
}

TEST_F(Objects_, RecordsOfUnrecordedOnesAreUsedAgain) {
  static char block[64];
  for (int i = 0; i < 100'000; ++i) {
    const ObjectId id = tracker().object_at(block, kMutex, Site::at("loop", 1));
    ASSERT_NE(id, ObjectId::kNone) << i;
    locks::acquired(locks::acquiring_at(block, kMutex, locks::Mode::kWrite, CW_HERE, {}), locks::Mode::kWrite, CW_HERE, {});
    ASSERT_EQ(self()->held(), 1u);
    locks::releasing_at(block, kMutex, CW_HERE);
    tracker().memory_freed(block, sizeof(block));
  }
  EXPECT_LT(arena().used<Object>(), 1000u);
}

TEST_F(Objects_, DestroyedWhileHeld) {
  Lock a("a");
  a.lock(CW_HERE);
  tracker().object_died(a.address());
  EXPECT_EQ(count(Problem::kMisuse, Level::kInfo, Misuse::kDestroyHeld), 1u);
  EXPECT_EQ(self()->held(), 0u);
}

[[gnu::noinline]] ObjectId on_a_frame(unsigned depth) {
  volatile int word = 0;
  if (depth != 0) return on_a_frame(depth - 1);
  return Tracker::get().object_at(const_cast<int*>(&word), kMutex, Site::at("frame", 1));
}

TEST_F(Objects_, WhatLivedInAFrameIsGoneWithIt) {
  const ObjectId first = on_a_frame(3);
  EXPECT_NE(arena().at<Object>(first).flags.load() & Object::kOnStack, 0u);
  int word = 0;
  tracker().object_at(&word, kMutex, CW_HERE);
  EXPECT_NE(arena().at<Object>(first).flags.load() & Object::kDead, 0u);
}

class Threads_ : public TrackerTest {};

TEST_F(Threads_, StatesAreUsedAgain) {
  for (int i = 0; i < 200; ++i) thread([] { ThreadContext::current(); });
  EXPECT_LT(arena().used<ThreadState>(), 4u);
  EXPECT_EQ(arena().counted(Counter::kThreadsWithoutState), 0u);
}

TEST_F(Threads_, OneTooManyIsCountedAndLeftAlone) {
  std::vector<std::unique_ptr<Stepper>> all;
  for (int i = 0; i < 70; ++i) {
    all.push_back(std::make_unique<Stepper>());
    all.back()->step([] { ThreadContext::current(); });
  }
  EXPECT_GT(arena().counted(Counter::kThreadsWithoutState), 0u);
  Lock a("a");
  all.back()->step([&] {
    EXPECT_EQ(ThreadContext::current(), nullptr);
    a.lock();
    a.unlock();
  });
}

TEST_F(Threads_, InsideNobodyIsSeen) {
  ASSERT_NE(self(), nullptr);
  Inside inside;
  EXPECT_EQ(self(), nullptr);
  EXPECT_NE(ThreadContext::current_inside(), nullptr);
}

class Order_ : public TrackerTest {
 protected:
  // A witness of this moment.
  static Witness now() {
    Witness witness{};
    witness.thread = self()->thread;
    witness.epoch = self()->epoch;
    witness.clock = tracker().order().snapshot(*self());
    return witness;
  }
  static bool before(const Witness& a, const Witness& b) { return tracker().order().before(a, b); }
};

TEST_F(Order_, CreationAndJoin) {
  const Witness start = now();
  const ThreadId id = tracker().thread_created(self(), 1, CW_HERE);
  const Witness meanwhile = now();
  Witness in_it{};
  std::thread([&] {
    tracker().thread_begins(id, "child");
    in_it = now();
    tracker().thread_ends(self());
  }).join();
  const Witness unjoined = now();
  tracker().thread_joined(self(), id);
  const Witness joined = now();
  EXPECT_TRUE(before(start, in_it));
  EXPECT_FALSE(before(meanwhile, in_it));
  EXPECT_FALSE(before(in_it, meanwhile));
  EXPECT_FALSE(before(in_it, unjoined));
  EXPECT_TRUE(before(in_it, joined));
}

TEST_F(Order_, APostOrdersWhatWasBeforeIt) {
  Cond cond("cond");
  Stepper poster, waiter;
  Witness a{}, b{}, c{}, d{};
  poster.step([&] {
    a = now();
    tracker().order().release(*self(), cond.object());
    b = now();
  });
  waiter.step([&] {
    c = now();
    tracker().order().acquire(*self(), cond.object());
    d = now();
  });
  EXPECT_FALSE(before(a, c));
  EXPECT_TRUE(before(a, d));
  EXPECT_FALSE(before(b, d));
  EXPECT_FALSE(before(d, a));
}

// Through many threads, so that clocks change their size.
TEST_F(Order_, ItIsTransitive) {
  Cond cond("cond");
  std::vector<Witness> seen;
  for (int i = 0; i < 100; ++i) {
    thread([&] {
      tracker().order().acquire(*self(), cond.object());
      seen.push_back(now());
      tracker().order().release(*self(), cond.object());
    });
  }
  for (size_t i = 0; i < seen.size(); ++i) {
    for (size_t j = 0; j < seen.size(); ++j) ASSERT_EQ(before(seen[i], seen[j]), i < j) << i << " " << j;
  }
}

// Beside clocks that are written out in full: what is left out as a repetition makes no difference.
TEST_F(Order_, AnySequenceIsAsVectorClocksSay) {
  constexpr unsigned kThreads = 4, kObjects = 3, kSteps = 300;
  using Full = std::array<unsigned, kThreads>;
  const auto learn = [](Full& to, const Full& from) {
    for (unsigned i = 0; i < kThreads; ++i) to[i] = std::max(to[i], from[i]);
  };
  Cond objects[kObjects] = {Cond("x"), Cond("y"), Cond("z")};
  Stepper threads[kThreads];
  Full known[kThreads] = {}, left[kObjects] = {};
  struct Moment {
    Witness witness;
    unsigned thread;
    Full known;
  };
  std::vector<Moment> moments;
  std::minstd_rand random(7);
  for (unsigned step = 0; step < kSteps; ++step) {
    const unsigned t = static_cast<unsigned>(random() >> 8) % kThreads, o = static_cast<unsigned>(random() >> 8) % kObjects;
    const bool releases = (random() >> 8) % 2 == 0;
    Witness witness{};
    threads[t].step([&] {
      const ObjectId object = objects[o].object();
      if (releases) tracker().order().release(*self(), object);
      else tracker().order().acquire(*self(), object);
      witness = now();
    });
    if (releases) {
      ++known[t][t];
      learn(left[o], known[t]);
    } else {
      learn(known[t], left[o]);
    }
    moments.push_back({witness, t, known[t]});
  }
  for (const Moment& a : moments) {
    for (const Moment& b : moments) {
      if (a.thread == b.thread) continue;
      ASSERT_EQ(before(a.witness, b.witness), b.known[a.thread] > a.known[a.thread]) << &a - moments.data() << " " << &b - moments.data();
    }
  }
}

TEST_F(Order_, OrderedHopsAreInfo) {
  Lock a("a"), b("b");
  Cond done("done", Kind::kSemaphore);
  thread([&] {
    a.lock();
    b.lock();
    b.unlock();
    a.unlock();
    tracker().order().release(*self(), done.object());
  });
  thread([&] {
    tracker().order().acquire(*self(), done.object());
    b.lock();
    a.lock();
    a.unlock();
    b.unlock();
  });
  EXPECT_EQ(worst(), Level::kInfo);
}

class Interruptions : public TrackerTest {};

// G01: a handler takes what the interrupted thread may hold.
TEST_F(Interruptions, AHandlerThatTakesWhatIsHeld) {
  Lock m("m");
  for (const bool blocked : {true, false}) {
    again(settings());
    ThreadContext* me = self();
    tracker().irqs_enabled(me, blocked ? 0 : 1);
    m.lock(CW_HERE);
    m.unlock();
    tracker().irqs_enabled(me, 1);
    tracker().irq_enter(me, 0);
    m.lock(CW_HERE);
    m.unlock();
    tracker().irq_exit(me);
    EXPECT_EQ(worst().has_value(), !blocked);
  }
}

TEST_F(Interruptions, WhatTheInterruptedHoldsIsNotTheHandlers) {
  Lock a("a"), b("b");
  tracker().irqs_enabled(self(), 0);
  a.lock(CW_HERE);
  tracker().irq_enter(self(), 0);
  b.lock(CW_HERE);
  b.unlock();
  tracker().irq_exit(self());
  a.unlock();
  EXPECT_EQ(arena().used<Edge>(), 1u);
  a.lock();
  b.lock();
  EXPECT_EQ(arena().used<Edge>(), 2u);
}

// What a handler's child does after the fork is no handler's, or everything in it would be.
TEST_F(Interruptions, TheChildOfAHandlerIsNotInIt) {
  Lock m("m");
  tracker().irqs_enabled(self(), 1);
  tracker().irq_enter(self(), 0);
  const pid_t child = fork();
  if (child == 0) {
    bool good = Tracker::child_after_fork(-1) == 0;
    tracker().irqs_enabled(self(), 1);
    m.lock(CW_HERE);
    m.unlock();
    good = good && arena().used<Report>() == 1;
    _exit(good ? 0 : 1);
  }
  tracker().irq_exit(self());
  int status = -1;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
}

// Each static lock is a class of its own, but the elements of a large array are not.
TEST_F(Objects_, AnArrayOfLocksIsNotAClassForEach) {
  static int locks[4000];
  const auto classes_of = [](unsigned from, unsigned count) {
    std::set<ClassId> classes;
    for (unsigned i = from; i < from + count; ++i)
      classes.insert(tracker().class_of(tracker().object_at(&locks[i], {.kind = Kind::kMutex}, Site::at_pc(0x1000)), Event::kWrite));
    return classes;
  };
  const std::set<ClassId> few = classes_of(0, 100);
  EXPECT_EQ(few.size(), 100u);
  EXPECT_LT(classes_of(100, 3900).size(), 200u);
  tracker().object_died(&locks[5]);
  EXPECT_EQ(few.count(*classes_of(5, 1).begin()), 1u) << "it had one";
}

}  // namespace
}  // namespace causeway::dept
