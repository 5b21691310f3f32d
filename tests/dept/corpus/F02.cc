// what: both workers of a pool wait in their task for a task that is queued behind them
// truth: D
// expect: certain
// options: --hang 1
// hang: 5
#include <condition_variable>
#include <deque>
#include <future>
#include <mutex>
#include <thread>

#include "corpus.h"

class Pool {
 public:
  std::future<int> submit(std::function<int()> task) {
    std::packaged_task<int()> packaged(std::move(task));
    std::future<int> result = packaged.get_future();
    std::lock_guard hold(mutex_);
    tasks_.push_back(std::move(packaged));
    some_.notify_one();
    return result;
  }
  void run() {
    for (;;) {
      std::unique_lock hold(mutex_);
      some_.wait(hold, [this] { return !tasks_.empty(); });
      std::packaged_task<int()> task = std::move(tasks_.front());
      tasks_.pop_front();
      hold.unlock();
      task();
    }
  }

 private:
  std::mutex mutex_;
  std::condition_variable some_;
  std::deque<std::packaged_task<int()>> tasks_;
};

int main() {
  static Pool pool;
  std::thread workers[] = {std::thread([] { pool.run(); }), std::thread([] { pool.run(); })};
  at_ms(15);
  auto parent = [] {
    for_ms(20);
    return pool.submit([] { return 1; }).get() + 1;
  };
  std::future<int> first = pool.submit(parent), second = pool.submit(parent);
  int sum = first.get() + second.get();
  for (std::thread& worker : workers) worker.detach();
  return sum == 4 ? 0 : 1;
}
