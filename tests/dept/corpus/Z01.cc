// what: at exit static objects join their workers with a lock in their hands, one of them with `registry`, which workers take each time round, and
// one once more at its end: if the other is just about to, the process never ends
// truth: D
// expect: likely hops=2 names=registry
#include <atomic>
#include <cstdlib>
#include <mutex>
#include <thread>

#include "corpus.h"

static std::mutex registry, own;
static long beats;

class Heart {
 public:
  Heart(std::mutex& lock, bool beats_last) : lock_(lock), beats_last_(beats_last), worker_([this] { beat(); }) {}
  ~Heart() {
    std::lock_guard hold(lock_);
    stop_ = true;
    worker_.join();
  }

 private:
  void beat() {
    for (long next = 10; !stop_; next += 40) {
      count();
      at_ms(next);
    }
    if (beats_last_) count();
  }
  static void count() {
    std::lock_guard hold(registry);
    ++beats;
  }
  std::mutex& lock_;
  bool beats_last_;
  std::atomic<bool> stop_{false};
  std::thread worker_;
};

int main() {
  static Heart second(own, true);
  static Heart first(registry, false);
  at_ms(70);
  return 0;
}
