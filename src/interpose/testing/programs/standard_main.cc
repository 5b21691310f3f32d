// What the C++ library makes of futexes and of POSIX threads. Built with and without optimisation, run with and without the library.
#include <atomic>
#include <barrier>
#include <condition_variable>
#include <cstdio>
#include <future>
#include <latch>
#include <mutex>
#include <semaphore>
#include <shared_mutex>
#include <stdexcept>
#include <thread>
#include <vector>

namespace {

int tries = 0;
int made() {
  static const int value = [] {
    if (++tries < 3) throw std::runtime_error("not yet");
    return 7;
  }();
  return value;
}

int throwing_once() {
  std::once_flag flag;
  int runs = 0;
  for (int i = 0; i < 5; ++i) {
    try {
      std::call_once(flag, [&] {
        if (++runs < 3) throw runs;
      });
    } catch (int) {
    }
  }
  return runs;
}

int static_in_threads() {
  std::atomic<int> sum{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      static const int slow = [] {
        std::this_thread::sleep_for(std::chrono::milliseconds(5));
        return 3;
      }();
      sum += slow;
    });
  }
  for (std::thread& thread : threads) thread.join();
  return sum;
}

int in_turn() {
  std::latch begun(3);
  std::barrier step(3);
  std::counting_semaphore<> permits(0);
  std::atomic<int> word{0};
  std::mutex mutex;
  std::condition_variable cond;
  std::condition_variable_any any;
  std::shared_mutex shared;
  int total = 0, waiting = 0;
  std::vector<std::thread> threads;
  for (int i = 0; i < 3; ++i) {
    threads.emplace_back([&] {
      begun.arrive_and_wait();
      for (int round = 0; round < 20; ++round) step.arrive_and_wait();
      permits.acquire();
      word.wait(0);
      std::shared_lock reading(shared);
      std::unique_lock hold(mutex);
      ++waiting;
      any.notify_all();
      cond.wait(hold, [&] { return total > 0; });
      total += 10;
    });
  }
  permits.release(3);
  word = 1;
  word.notify_all();
  {
    std::unique_lock hold(mutex);
    any.wait(hold, [&] { return waiting == 3; });
    std::printf("timed out: %d\n", cond.wait_for(hold, std::chrono::milliseconds(2)) == std::cv_status::timeout);
    total = 1;
  }
  cond.notify_all();
  for (std::thread& thread : threads) thread.join();
  return total;
}

int futures() {
  std::promise<int> promise;
  std::future<int> future = promise.get_future();
  std::thread setter([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(3));
    promise.set_value(5);
  });
  std::promise<int> never;
  std::printf("not ready: %d\n", never.get_future().wait_for(std::chrono::milliseconds(2)) == std::future_status::timeout);
  const int answer = future.get() + std::async(std::launch::async, [] { return 6; }).get();
  setter.join();
  std::promise<void> broken;
  broken.set_exception(std::make_exception_ptr(std::runtime_error("x")));
  try {
    broken.get_future().get();
  } catch (const std::runtime_error&) {
    return answer;
  }
  return -1;
}

}  // namespace

int main() {
  for (int i = 0; i < 4; ++i) {
    try {
      std::printf("made %d\n", made());
    } catch (const std::runtime_error& error) {
      std::printf("%s\n", error.what());
    }
  }
  std::printf("once %d\n", throwing_once());
  std::printf("statics %d\n", static_in_threads());
  std::printf("turns %d\n", in_turn());
  std::printf("futures %d\n", futures());
  return 0;
}
