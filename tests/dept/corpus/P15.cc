// what: an item of a queue flushes the queue it runs on, and waits for itself to end
// truth: D
// expect: likely
// options: --hang 1
// hang: 5
#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>

#include "corpus.h"

class WorkQueue {
 public:
  WorkQueue() : worker_([this] { run(); }) {}
  void queue(std::function<void()> item) {
    std::lock_guard hold(mutex_);
    items_.push_back(std::move(item));
    ++queued_;
    some_.notify_one();
  }
  void flush() {
    std::unique_lock hold(mutex_);
    long until = queued_;
    done_.wait(hold, [&] { return finished_ >= until; });
  }

 private:
  void run() {
    for (;;) {
      std::unique_lock hold(mutex_);
      some_.wait(hold, [this] { return !items_.empty(); });
      std::function<void()> item = std::move(items_.front());
      items_.pop_front();
      hold.unlock();
      item();
      hold.lock();
      ++finished_;
      done_.notify_all();
    }
  }
  std::mutex mutex_;
  std::condition_variable some_, done_;
  std::deque<std::function<void()>> items_;
  long queued_ = 0, finished_ = 0;
  std::thread worker_;
};

int main() {
  static WorkQueue events;
  at_ms(10);
  events.queue([] { for_ms(15); });
  events.flush();
  at_ms(40);
  events.queue([] { events.flush(); });
  events.flush();
  return 0;
}
