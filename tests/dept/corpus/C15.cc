// what: one worker of a pool locks an account in its first job and reports the second one done; who waits for the second holds another
// account, which no job before the report needs
// truth: N
// expect: silent
#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>

#include "corpus.h"

class Pool {
 public:
  void submit(std::function<void()> job) {
    std::lock_guard hold(mutex_);
    jobs_.push_back(std::move(job));
    some_.notify_one();
  }
  void run() {
    for (;;) {
      std::function<void()> job;
      {
        std::unique_lock hold(mutex_);
        some_.wait(hold, [this] { return !jobs_.empty(); });
        job = std::move(jobs_.front());
        jobs_.pop_front();
      }
      if (!job) return;
      job();
    }
  }

 private:
  std::mutex mutex_;
  std::condition_variable some_;
  std::deque<std::function<void()>> jobs_;
};

struct Account {
  std::mutex lock;
  long balance = 0;
};

int main() {
  Pool pool;
  auto ann = std::make_unique<Account>(), bob = std::make_unique<Account>();
  std::mutex mutex;
  std::condition_variable reported;
  bool done = false;
  std::thread worker([&] { pool.run(); });
  std::thread boss([&] {
    at_ms(15);
    pool.submit([&] {
      std::lock_guard hold(ann->lock);
      ++ann->balance;
    });
    at_ms(30);
    std::thread other;
    {
      std::lock_guard mine(bob->lock);
      other = std::thread([&] {
        at_ms(50);
        pool.submit([&] {
          std::lock_guard hold(mutex);
          done = true;
          reported.notify_all();
        });
      });
      std::unique_lock hold(mutex);
      reported.wait(hold, [&] { return done; });
    }
    other.join();
    pool.submit(nullptr);
  });
  boss.join();
  worker.join();
  return 0;
}
