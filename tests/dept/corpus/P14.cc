// what: the thread that signals fences allocates, which takes `shrinker`, and one who shrinks waits for a fence with it in his hands; if the
// interrupt's fence went to the other waiter, both sleep
// truth: D
// expect: likely kind=mixed hops=2 names=shrinker
#include <condition_variable>
#include <mutex>
#include <thread>

#include "corpus.h"

class Timeline {
 public:
  void wait() {
    std::unique_lock hold(mutex_);
    signalled_.wait(hold, [this] { return fences_ > 0; });
    --fences_;
  }
  void signal() {
    std::lock_guard hold(mutex_);
    ++fences_;
    signalled_.notify_one();
  }

 private:
  std::mutex mutex_;
  std::condition_variable signalled_;
  int fences_ = 0;
};

static Timeline timeline;
static std::mutex shrinker;
static long pages = 100;

static void reclaim(bool shrink) {
  at_ms(shrink ? 60 : 0);
  std::unique_lock hold(shrinker, std::defer_lock);
  if (shrink) hold.lock();
  timeline.wait();
}

static void allocate() {
  std::lock_guard hold(shrinker);
  --pages;
}

static void finish_job(bool needs_memory) {
  at_ms(needs_memory ? 30 : 90);
  if (needs_memory) allocate();
  timeline.signal();
}

int main() {
  std::thread threads[] = {std::thread(reclaim, false), std::thread(reclaim, true), std::thread(finish_job, true),
                           std::thread(finish_job, false)};
  for (std::thread& thread : threads) thread.join();
  return pages == 99 ? 0 : 1;
}
