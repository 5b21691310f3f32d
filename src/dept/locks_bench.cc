// What the tracker costs a program that does nothing but lock: each case with the plain std::mutex beside it.
#include "dept/known_locks.h"

#include <benchmark/benchmark.h>
#include <unistd.h>

#include <condition_variable>
#include <mutex>
#include <thread>
#include <vector>

#include "dept/sleeps.h"

namespace causeway::dept {
namespace {

// Glibc takes shortcuts while a process has one thread only, which no program that can deadlock has.
void start() {
  static const bool once = [] {
    std::thread([] { ::pause(); }).detach();
    return Tracker::start({}) == 0;
  }();
  benchmark::DoNotOptimize(once);
}
void forget_thread() { Tracker::get().thread_ends(ThreadContext::current()); }

struct Plain {
  static void lock(std::mutex& mutex) { mutex.lock(); }
  static void unlock(std::mutex& mutex) { mutex.unlock(); }
};
// As an interposer does it.
struct Tracked {
  static constexpr ObjectTraits kTraits{.kind = Kind::kMutex};
  [[gnu::always_inline]] static void lock(std::mutex& mutex) {
    const Site site = Site::at_pc(reinterpret_cast<uintptr_t>(&start));
    locks::Announced announced;
    if (locks::announce_known<false>(announced, &mutex, locks::Mode::kWrite, site) ||
        locks::announce_renewed<false>(announced, &mutex, locks::Mode::kWrite, site)) {
      mutex.lock();
      if (locks::hold_known(announced)) return;
      locks::acquired(Tracker::get().find_object(&mutex), locks::Mode::kWrite, site, {});
      return;
    }
    const ObjectId object = locks::acquiring_at(&mutex, kTraits, locks::Mode::kWrite, site, {});
    mutex.lock();
    locks::acquired(object, locks::Mode::kWrite, site, {});
  }
  [[gnu::always_inline]] static void unlock(std::mutex& mutex) {
    if (!locks::release_known<false>(&mutex)) locks::releasing_at(&mutex, kTraits, Site::at_pc(reinterpret_cast<uintptr_t>(&start)));
    mutex.unlock();
  }
};

template <typename How>
void One(benchmark::State& state) {
  start();
  static std::mutex mutex;
  for (auto _ : state) {
    How::lock(mutex);
    How::unlock(mutex);
  }
}
BENCHMARK(One<Plain>);
BENCHMARK(One<Tracked>);

template <typename How>
void Nested(benchmark::State& state) {
  start();
  static std::mutex outer, inner;
  for (auto _ : state) {
    How::lock(outer);
    How::lock(inner);
    How::unlock(inner);
    How::unlock(outer);
  }
}
BENCHMARK(Nested<Plain>);
BENCHMARK(Nested<Tracked>);

template <typename How>
void EightInTurn(benchmark::State& state) {
  start();
  static std::mutex mutexes[8];
  unsigned i = 0;
  for (auto _ : state) {
    std::mutex& mutex = mutexes[i++ % 8];
    How::lock(mutex);
    How::unlock(mutex);
  }
}
BENCHMARK(EightInTurn<Plain>);
BENCHMARK(EightInTurn<Tracked>);

template <typename How>
void OwnLocks(benchmark::State& state) {
  start();
  struct alignas(128) Padded {
    std::mutex mutex;
  };
  static Padded mutexes[4];
  for (auto _ : state) {
    How::lock(mutexes[state.thread_index()].mutex);
    How::unlock(mutexes[state.thread_index()].mutex);
  }
}
BENCHMARK(OwnLocks<Plain>)->Threads(4);
BENCHMARK(OwnLocks<Tracked>)->Threads(4);

template <typename How>
void Contended(benchmark::State& state) {
  start();
  static std::mutex mutex;
  static int counter;
  for (auto _ : state) {
    How::lock(mutex);
    for (int i = 0; i < 10; ++i) benchmark::DoNotOptimize(++counter);
    How::unlock(mutex);
  }
}
BENCHMARK(Contended<Plain>)->Threads(2)->UseRealTime();
BENCHMARK(Contended<Tracked>)->Threads(2)->UseRealTime();

template <typename How>
void UnderFifty(benchmark::State& state) {
  start();
  static std::mutex outer[50], inner;
  for (std::mutex& mutex : outer) How::lock(mutex);
  for (auto _ : state) {
    How::lock(inner);
    How::unlock(inner);
  }
  for (std::mutex& mutex : outer) How::unlock(mutex);
}
BENCHMARK(UnderFifty<Plain>);
BENCHMARK(UnderFifty<Tracked>);

// Two threads that hand a turn to each other: one iteration is there and back.
template <typename How>
class PingPong {
 public:
  static void run(benchmark::State& state) {
    start();
    PingPong game;
    std::thread other([&] {
      while (!game.over_) game.play(true);
      if (kTracked) forget_thread();
    });
    for (auto _ : state) game.play(false);
    {
      std::lock_guard hold(game.mutex_);
      game.over_ = true;
      game.cond_.notify_all();
    }
    other.join();
  }

 private:
  static constexpr bool kTracked = std::is_same_v<How, Tracked>;
  void play(bool mine) {
    const Site site = Site::at_pc(reinterpret_cast<uintptr_t>(&start));
    How::lock(mutex_);
    ObjectId cond{};
    if (kTracked) cond = Tracker::get().object_at(&cond_, {.kind = Kind::kCondVar}, site);
    while (turn_ != mine && !over_) {
      sleeps::Sleep sleep;
      if (kTracked) {
        sleeps::begin(sleep, cond, site, {.released = Tracker::get().find_object(&mutex_), .loops = true});
      }
      std::unique_lock held(mutex_, std::adopt_lock);
      cond_.wait(held);
      held.release();
      if (kTracked) sleeps::end(sleep, sleeps::Outcome::kWoken, site);
    }
    turn_ = !mine;
    if (kTracked) sleeps::wake(cond, site, sleeps::Wakes::kOne);
    cond_.notify_one();
    How::unlock(mutex_);
  }

  std::mutex mutex_;
  std::condition_variable cond_;
  bool turn_ = false;
  std::atomic<bool> over_ = false;
};
BENCHMARK(PingPong<Plain>::run)->UseRealTime();
BENCHMARK(PingPong<Tracked>::run)->UseRealTime();

}  // namespace
}  // namespace causeway::dept
