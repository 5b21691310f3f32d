#include "dept/sleeps.h"

#include "dept/testing_threads.h"

namespace causeway::dept {
namespace {

class Sleeps : public TrackerTest {
 protected:
  // One thread that sleeps on `cond` as often as it is told to.
  struct Sleeper {
    Stepper thread;
    sleeps::Sleep sleep;
    void sleeps_on(Cond& cond, Lock* mutex, Site site, bool loops = true, bool timed = false) {
      thread.step([&, mutex, site] {
        sleeps::begin(sleep, cond.object(), site,
                      {.timed = timed, .released = mutex != nullptr ? mutex->object() : ObjectId::kNone, .loops = loops});
      });
    }
    void wakes(sleeps::Outcome outcome = sleeps::Outcome::kWoken) {
      thread.step([this, outcome] { sleeps::end(sleep, outcome, Site::at("woken", 1)); });
    }
  };
};

// Spec 1.8 b: A is held across a wait whose waker needs A.
TEST_F(Sleeps, ALockAndACompletion) {
  Lock a("a");
  Cond done("done", Kind::kCompletion);
  Sleeper waits_with_a;
  Sleeper waits_free;
  // Both paths of a program that finishes: who waits with `a`, and whose waker takes `a`.
  waits_with_a.thread.step([&] { a.lock(CW_HERE); });
  waits_with_a.sleeps_on(done, nullptr, Site::at("wait", 7), false);
  waits_with_a.wakes();
  waits_with_a.thread.step([&] { a.unlock(); });
  waits_free.sleeps_on(done, nullptr, Site::at("wait", 7), false);
  thread([&] {
    a.lock(CW_HERE);
    a.unlock();
    done.wake();
  });
  waits_free.wakes();
  EXPECT_EQ(worst(), Level::kLikely);
}

// If the waker took A before anybody waited, it is a guess (spec 4.1): made only where that is wanted.
TEST_F(Sleeps, BeforeTheRequestIsPredicted) {
  for (const bool predict : {true, false}) {
    Settings other = settings();
    other.predict = predict;
    again(other);
    Lock a("a");
    Cond done("done", Kind::kCompletion);
    Sleeper sleeper;
    Stepper waker;
    waker.step([&] {
      a.lock(CW_HERE);
      a.unlock();
    });
    sleeper.thread.step([&] { a.lock(CW_HERE); });
    sleeper.sleeps_on(done, nullptr, Site::at("wait", 7), false);
    waker.step([&] { done.wake(); });
    sleeper.wakes();
    EXPECT_EQ(worst(), predict ? std::optional(Level::kPossible) : std::nullopt);
  }
}

// A wake that nobody hears speaks for those who slept there before, and for those who come later.
TEST_F(Sleeps, AWakeWithoutASleeperIsPredictedBothWays) {
  for (const bool sleeper_first : {true, false}) {
    again(settings());
    Lock a("a");
    Cond done("done", Kind::kCompletion);
    const auto wake_alone = [&] {
      thread([&] {
        a.lock(CW_HERE);
        a.unlock();
        done.wake();
      });
    };
    const auto sleep_with_a = [&] {
      thread([&] {
        a.lock(CW_HERE);
        sleeps::Sleep sleep;
        sleeps::begin(sleep, done.object(), Site::at("wait", 7), {});
        sleeps::end(sleep, sleeps::Outcome::kInterrupted, CW_HERE);
        a.unlock();
      });
    };
    if (sleeper_first) sleep_with_a();
    wake_alone();
    if (!sleeper_first) sleep_with_a();
    EXPECT_EQ(worst(), Level::kPossible) << sleeper_first;
  }
}

// Spec 3.3: request 1, wait 2, event 1; request 2, wait 1, event 2.
TEST_F(Sleeps, TwoEventsCrossed) {
  Cond one("one", Kind::kCompletion), two("two", Kind::kCompletion);
  const auto play = [&](Cond& wanted, Cond& waited) {
    Sleeper asker, waker;
    asker.sleeps_on(wanted, nullptr, Site::at("asker", 1), false);
    waker.sleeps_on(waited, nullptr, Site::at("asker", 1), false);
    waker.wakes(sleeps::Outcome::kInterrupted);
    waker.thread.step([&] { wanted.wake(); });
    asker.wakes();
  };
  play(one, two);
  EXPECT_EQ(worst(), std::nullopt);
  play(two, one);
  EXPECT_EQ(worst(), Level::kLikely);
}

// The condition's mutex is not held meanwhile (trap 2) and is taken again under whatever else is held (trap 3).
TEST_F(Sleeps, TheReleasedMutexIsNotHeldAndIsTakenAgain) {
  Lock mutex("mutex"), other("other");
  Cond cond("cond");
  Sleeper sleeper;
  sleeper.thread.step([&] {
    mutex.lock(CW_HERE);
    other.lock(CW_HERE);
  });
  sleeper.sleeps_on(cond, &mutex, Site::at("wait", 7));
  sleeper.thread.step([&] {
    EXPECT_EQ(self()->held(), 1u);
    EXPECT_EQ(self()->held_list()[0].object, other.object());
  });
  thread([&] {
    mutex.lock(CW_HERE);
    cond.wake();
    mutex.unlock();
  });
  EXPECT_EQ(worst(), std::nullopt);
  sleeper.wakes();
  sleeper.thread.step([&] {
    EXPECT_EQ(self()->held(), 2u);
    mutex.unlock();
    other.unlock();
    EXPECT_EQ(self()->held(), 0u);
  });
  EXPECT_EQ(worst(), Level::kInfo);  // mutex -> other -> mutex, of one thread
  thread([&] {
    mutex.lock(CW_HERE);
    other.lock(CW_HERE);
    other.unlock();
    mutex.unlock();
  });
  EXPECT_EQ(worst(), Level::kLikely);
}

// Who sleeps again from the same place without giving up the mutex has refused the wake.
TEST_F(Sleeps, AWakeThatIsRefusedMakesNoEdge) {
  for (const bool refused : {true, false}) {
    Settings other = settings();
    other.predict = false;
    again(other);
    Lock a("a"), mutex("mutex");
    Cond cond("cond");
    Sleeper with_a;
    with_a.thread.step([&] { a.lock(CW_HERE); });
    with_a.sleeps_on(cond, nullptr, Site::at("wait", 7));
    with_a.wakes(sleeps::Outcome::kInterrupted);
    with_a.thread.step([&] { a.unlock(); });
    Sleeper sleeper;
    sleeper.thread.step([&] { mutex.lock(CW_HERE); });
    sleeper.sleeps_on(cond, &mutex, Site::at("wait", 7));
    thread([&] {
      a.lock(CW_HERE);
      a.unlock();
      cond.wake();
    });
    sleeper.wakes();
    EXPECT_EQ(worst(), std::nullopt);
    if (refused) {
      sleeper.sleeps_on(cond, &mutex, Site::at("wait", 7));
      sleeper.wakes();
    }
    sleeper.thread.step([&] { mutex.unlock(); });
    EXPECT_EQ(worst(), refused ? std::nullopt : std::optional(Level::kLikely));
    EXPECT_EQ(arena().counted(Counter::kTentativeVoided), refused ? 1u : 0u);
  }
}

TEST_F(Sleeps, ADifferentPlaceIsADifferentEvent) {
  Lock a("a");
  Cond cond("cond");
  Sleeper with_a;
  with_a.thread.step([&] { a.lock(CW_HERE); });
  with_a.sleeps_on(cond, nullptr, Site::at("wait", 1), false);
  with_a.wakes(sleeps::Outcome::kInterrupted);
  with_a.thread.step([&] { a.unlock(); });
  Sleeper sleeper;
  sleeper.sleeps_on(cond, nullptr, Site::at("wait", 2), false);
  thread([&] {
    a.lock(CW_HERE);
    a.unlock();
    cond.wake();
  });
  sleeper.wakes();
  EXPECT_EQ(count(Problem::kCycle, Level::kLikely), 0u);
}

// But what is posted or written serves whoever takes it first.
TEST_F(Sleeps, ATokenIsOneEventWhereverItIsWaitedFor) {
  for (const Kind kind : {Kind::kSemaphore, Kind::kFile}) {
    again(settings());
    Lock a("a");
    Cond tokens("tokens", kind);
    Sleeper with_a;
    with_a.thread.step([&] { a.lock(CW_HERE); });
    with_a.sleeps_on(tokens, nullptr, Site::at("wait", 1), false);
    with_a.wakes(sleeps::Outcome::kInterrupted);
    with_a.thread.step([&] { a.unlock(); });
    Sleeper sleeper;
    sleeper.sleeps_on(tokens, nullptr, Site::at("wait", 2), false);
    thread([&] {
      a.lock(CW_HERE);
      a.unlock();
      tokens.wake();
    });
    sleeper.wakes();
    EXPECT_EQ(worst(), Level::kLikely) << static_cast<int>(kind);
  }
}

// A worker that took a lock for its first job says nothing about the event of its second (spec 1.10, C15).
TEST_F(Sleeps, WhatWasBeforeADequeueIsPast) {
  Settings other = settings();
  other.predict = false;
  again(other);
  Lock a("a"), mutex("mutex");
  Cond queue("queue"), done("done", Kind::kCompletion);
  Sleeper with_a;
  with_a.thread.step([&] { a.lock(CW_HERE); });
  with_a.sleeps_on(done, nullptr, Site::at("wait", 7), false);
  with_a.wakes(sleeps::Outcome::kInterrupted);
  with_a.thread.step([&] { a.unlock(); });
  Sleeper client, worker;
  client.sleeps_on(done, nullptr, Site::at("wait", 7), false);
  worker.thread.step([&] {
    a.lock(CW_HERE);  // job 1
    a.unlock();
    mutex.lock(CW_HERE);
  });
  worker.sleeps_on(queue, &mutex, Site::at("dequeue", 1));
  thread([&] { queue.wake(); });
  worker.wakes();
  worker.thread.step([&] {
    mutex.unlock();
    done.wake();  // job 2
  });
  client.wakes();
  EXPECT_EQ(worst(), std::nullopt);
}

// Who has waited for room to write has begun nothing: what it reads only then, it reads because of that.
TEST_F(Sleeps, RoomToWriteBeginsNothing) {
  for (const bool dequeues : {false, true}) {
    again(settings());
    Cond there("there", Kind::kFile), back("back", Kind::kFile);
    const auto writes_then_reads = [&](Cond& full, Cond& read) {
      Sleeper peer, writer;
      peer.sleeps_on(read, nullptr, CW_HERE, false);
      writer.thread.step([&] {
        sleeps::begin(writer.sleep, full.object(), Site::at("write", 1), {.dequeues = dequeues});
        sleeps::end(writer.sleep, sleeps::Outcome::kWoken, Site::at("write", 1));
        read.wake();
      });
      peer.wakes();
    };
    writes_then_reads(there, back);
    writes_then_reads(back, there);
    EXPECT_EQ(worst(), dequeues ? std::nullopt : std::optional(Level::kLikely));
  }
}

TEST_F(Sleeps, ATimedWaitIsAskedByNobody) {
  Lock a("a");
  Cond tick("tick");
  Sleeper sleeper;
  sleeper.thread.step([&] { a.lock(CW_HERE); });
  sleeper.sleeps_on(tick, nullptr, Site::at("tick", 1), false, true);
  thread([&] {
    tick.wake();
  });
  sleeper.wakes(sleeps::Outcome::kTimedOut);
  sleeper.thread.step([&] { a.unlock(); });
  thread([&] {
    a.lock(CW_HERE);
    a.unlock();
    tick.wake();
  });
  EXPECT_EQ(worst(), std::nullopt);
}

TEST_F(Sleeps, ARecursiveMutexIsNotGivenUpWhole) {
  Lock mutex("mutex", {.kind = Kind::kMutex, .flags = Object::kRecursive});
  Cond cond("cond");
  Sleeper sleeper;
  sleeper.thread.step([&] {
    mutex.lock(CW_HERE);
    mutex.lock(CW_HERE);
  });
  sleeper.sleeps_on(cond, &mutex, Site::at("wait", 1));
  EXPECT_EQ(count(Problem::kMisuse, Level::kLikely, Misuse::kRecursiveWait), 1u);
  sleeper.wakes();
  sleeper.thread.step([&] {
    mutex.unlock();
    EXPECT_EQ(self()->held(), 1u);
    mutex.unlock();
    EXPECT_EQ(self()->held(), 0u);
  });
}

TEST_F(Sleeps, TwoMutexesOfOneCondition) {
  Lock one("one"), two("two");
  Cond cond("cond");
  Sleeper first, second;
  first.thread.step([&] { one.lock(); });
  second.thread.step([&] { two.lock(); });
  first.sleeps_on(cond, &one, CW_HERE);
  second.sleeps_on(cond, &two, CW_HERE);
  EXPECT_EQ(count(Problem::kMisuse, Level::kInfo, Misuse::kTwoMutexes), 1u);
  first.wakes();
  second.wakes();
}

// A join waits for the end of a thread: what the thread waited for since then, it waits for.
TEST_F(Sleeps, AJoinUnderALockTheThreadTakes) {
  Lock a("a");
  const ThreadId id = tracker().thread_created(self(), 4711, CW_HERE);
  std::atomic<int> phase{0};
  std::thread thread_of_its_own([&] {
    tracker().thread_begins(id, "worker");
    phase = 1;
    while (phase != 2) std::this_thread::yield();
    a.lock(CW_HERE);
    a.unlock();
    Tracker::get().thread_ends(ThreadContext::current());
  });
  while (phase != 1) std::this_thread::yield();
  a.lock(CW_HERE);
  tracker().wait(self(), tracker().object_of(id), bit(Event::kWrite), CW_HERE, {});
  a.unlock();
  phase = 2;
  thread_of_its_own.join();
  tracker().wait_over(self());
  tracker().thread_joined(self(), id);
  EXPECT_EQ(worst(), Level::kLikely);
}

// Nobody joined yet when it took the lock. Once is perhaps how it began; what it does round after round it may be doing then, unless
// who joins it has looked under the lock before: so it may know better.
TEST_F(Sleeps, AJoinUnderALockTheThreadTookBefore) {
  struct Case {
    int rounds;
    bool counts_out, is_looked_after;
    Level level;
  };
  for (const auto& [rounds, counts_out, is_looked_after, level] : {Case{1, false, false, Level::kPossible},
                                                                   {2, true, false, Level::kPossible},
                                                                   {2, false, false, Level::kLikely},
                                                                   {2, false, true, Level::kPossible}}) {
    SCOPED_TRACE(testing::Message() << rounds << counts_out << is_looked_after);
    again(settings());
    Lock a("a");
    const ThreadId id = tracker().thread_created(self(), 4711, CW_HERE);
    std::atomic<int> phase{0};
    std::thread thread_of_its_own([&] {
      tracker().thread_begins(id, "worker");
      for (int i = 0; i < rounds; ++i) {
        a.lock(Site::at("round", 1));
        a.unlock();
      }
      if (counts_out) {
        a.lock(Site::at("last", 1));
        a.unlock();
      }
      phase = 1;
      while (phase != 2) std::this_thread::yield();
      Tracker::get().thread_ends(ThreadContext::current());
    });
    while (phase != 1) std::this_thread::yield();
    for (int looks = is_looked_after ? 2 : 1; looks != 0; --looks) {
      a.lock(Site::at("joiner", 1));
      if (looks == 1) tracker().wait(self(), tracker().object_of(id), bit(Event::kWrite), CW_HERE, {});
      a.unlock();
    }
    phase = 2;
    thread_of_its_own.join();
    tracker().wait_over(self());
    tracker().thread_joined(self(), id);
    EXPECT_EQ(worst(), level);
  }
}

// The thread never ends: it waits for what who joins it holds. Said at once, whichever of the two comes first.
TEST_F(Sleeps, AJoinOfAThreadThatIsStuck) {
  for (const auto& [join_first, flags] : {std::pair{true, uint32_t{Object::kErrorCheck}}, {false, uint32_t{Object::kErrorCheck}}, {true, 0u}}) {
    SCOPED_TRACE(join_first);
    again(settings());
    Lock a("a", {.kind = Kind::kMutex, .flags = flags});
    const ThreadId id = tracker().thread_created(self(), 4711, CW_HERE);
    Stepper worker, joiner;
    sleeps::Sleep sleep;
    worker.step([&] { tracker().thread_begins(id, "worker"); });
    const auto join = [&] { joiner.step([&] { sleeps::begin(sleep, tracker().object_of(id), Site::at("join", 1), {}); }); };
    joiner.step([&] { a.lock(CW_HERE); });
    if (join_first) join();
    worker.step([&] { a.announce(CW_HERE); });
    if (!join_first) join();
    if (flags != 0) EXPECT_EQ(worst(), Level::kLikely);
    else EXPECT_EQ(worst(), std::nullopt) << "another thread may unlock it";
    joiner.step([&] { sleeps::end(sleep, sleeps::Outcome::kInterrupted, Site::at("join", 1)); });
    joiner.step([&] { a.unlock(); });
  }
}

// Two workers of one routine, joined by the same path: what one must do before it ends, the other could have to.
TEST_F(Sleeps, AJoinIsAskedForByItsPath) {
  for (const bool same_path : {true, false}) {
    again(settings());
    Lock a("a");
    const auto join = [&](Sleeper& joiner, ThreadId target, bool with_a, Site site) {
      joiner.thread.step([&, target, with_a, site] {
        if (with_a) a.lock(CW_HERE);
        sleeps::begin(joiner.sleep, tracker().object_of(target), site, {});
      });
    };
    const ThreadId saves = tracker().thread_created(self(), 4711, CW_HERE);
    const ThreadId idles = tracker().thread_created(self(), 4711, CW_HERE);
    Sleeper first, second;
    join(first, saves, false, Site::at("join", 1));
    std::thread([&] {
      tracker().thread_begins(saves, "saves");
      a.lock(CW_HERE);
      a.unlock();
      tracker().thread_ends(ThreadContext::current());
    }).join();
    first.wakes();
    join(second, idles, true, Site::at("join", same_path ? 1 : 2));
    second.wakes();
    second.thread.step([&] { a.unlock(); });
    EXPECT_EQ(worst(), same_path ? Level::kLikely : Level::kPossible);
  }
}

}  // namespace
}  // namespace causeway::dept
