// For tests: a tracker of one's own, and threads that lock, sleep and wake as a program would, one step after another.
//
//   class Locks : public TrackerTest {};
//   TEST_F(Locks, TwoOrders) {
//     Lock a("a"), b("b");
//     thread([&] { a.lock(); b.lock(); b.unlock(); a.unlock(); });     // runs to its end, ordered with nothing
//     thread([&] { b.lock(); a.lock(); a.unlock(); b.unlock(); });
//     EXPECT_EQ(worst(), Level::kLikely);
#pragma once

#include <gtest/gtest.h>

#include <atomic>
#include <functional>
#include <optional>
#include <thread>

#include "dept/hash.h"
#include "dept/locks.h"
#include "dept/sleeps.h"
#include "dept/tracker.h"

namespace causeway::dept {

// The line of the caller is the place.
#define CW_HERE ::causeway::dept::Site::at(__FILE__, __LINE__)

class Lock {
 public:
  explicit Lock(const char* name, ObjectTraits traits = {.kind = Kind::kMutex}) : traits_(traits) {
    traits_.name = name;
    if (traits_.key == 0) traits_.key = mix(hash_of(name), 1);
  }
  void lock(Site site = Site::at("lock", 1), const locks::How& how = {}) { take(locks::Mode::kWrite, site, how); }
  void read(Site site = Site::at("read", 1), const locks::How& how = {}) { take(locks::Mode::kRead, site, how); }
  void try_lock(Site site = Site::at("try", 1)) {
    locks::acquired(object(), locks::Mode::kWrite, site, {.is_try = true});
  }
  void unlock(Site site = Site::at("unlock", 1)) { locks::releasing_at(&here_, traits_, site); }
  void announce(Site site = Site::at("lock", 2)) { locks::acquiring_at(&here_, traits_, locks::Mode::kWrite, site, {}); }
  ObjectId object() { return Tracker::get().object_at(&here_, traits_, Site::at("first", 1)); }
  const void* address() const { return &here_; }
  const ObjectTraits& traits() const { return traits_; }

 private:
  void take(locks::Mode mode, Site site, const locks::How& how) {
    const ObjectId id = locks::acquiring_at(&here_, traits_, mode, site, how);
    locks::acquired(id, mode, site, how);
  }
  ObjectTraits traits_;
  alignas(64) int here_ = 0;
};

class Cond {
 public:
  explicit Cond(const char* name, Kind kind = Kind::kCondVar) : traits_{.kind = kind, .key = mix(hash_of(name), 2), .name = name} {}
  ObjectId object() { return Tracker::get().object_at(&here_, traits_, Site::at("first", 2)); }
  void wake(Site site = Site::at("wake", 1), sleeps::Wakes who = sleeps::Wakes::kOne) { sleeps::wake(object(), site, who); }
  const void* address() const { return &here_; }

 private:
  ObjectTraits traits_;
  alignas(64) int here_ = 0;
};

class TrackerTest : public testing::Test {
 protected:
  static Settings settings() {
    Settings settings;
    settings.capacity = {.classes = 1 << 12, .objects = 1 << 14, .edges = 1 << 14, .witnesses = 1 << 14, .threads = 1 << 10,
                         .thread_states = 64, .stacks = 1 << 12, .frames = 1 << 14, .string_bytes = 1 << 16, .modules = 16,
                         .reports = 1 << 10, .clock_words = 1 << 14, .waiters = 1 << 10};
    return settings;
  }
  void SetUp() override { ASSERT_EQ(Tracker::start_again(settings()), 0); }
  void again(const Settings& other) { ASSERT_EQ(Tracker::start_again(other), 0); }
  static Tracker& tracker() { return Tracker::get(); }
  static Arena& arena() { return Tracker::get().arena(); }
  static ThreadContext* self() { return ThreadContext::current(); }

  // A thread that the tracker sees begin and end, and that is ordered with no other.
  template <typename Body>
  static void thread(Body body) {
    std::thread([&] {
      body();
      Tracker::get().thread_ends(ThreadContext::current());
    }).join();
  }
  static unsigned count(Problem problem = Problem::kCycle, Level at_least = Level::kPossible, Misuse misuse = Misuse::kNone) {
    unsigned found = 0;
    for (uint32_t i = 1; i < arena().used<Report>(); ++i) {
      const Report& report = arena().at<Report>(ReportId(i));
      if (report.problem == problem && report.level >= at_least && (misuse == Misuse::kNone || report.misuse == misuse)) ++found;
    }
    return found;
  }
  // The highest level of all circles; none is nothing.
  static std::optional<Level> worst() {
    std::optional<Level> level;
    for (uint32_t i = 1; i < arena().used<Report>(); ++i) {
      const Report& report = arena().at<Report>(ReportId(i));
      if (report.problem == Problem::kCycle && (!level || report.level > *level)) level = report.level;
    }
    return level;
  }
};

// A thread that does one step at a time, when it is told to.
class Stepper {
 public:
  Stepper() : thread_([this] { run(); }) {}
  ~Stepper() {
    step(nullptr);
    thread_.join();
  }
  // Returns when the step is done.
  void step(std::function<void()> what) {
    what_ = std::move(what);
    go_.store(true, std::memory_order_release);
    while (go_.load(std::memory_order_acquire)) std::this_thread::yield();
  }

 private:
  void run() {
    for (bool more = true; more;) {
      while (!go_.load(std::memory_order_acquire)) std::this_thread::yield();
      more = what_ != nullptr;
      if (more) what_();
      else Tracker::get().thread_ends(ThreadContext::current());
      go_.store(false, std::memory_order_release);
    }
  }
  std::function<void()> what_;
  std::atomic<bool> go_{false};
  std::thread thread_;
};

}  // namespace causeway::dept
