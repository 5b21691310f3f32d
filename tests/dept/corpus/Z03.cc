// what: the destructor of a thread's own object locks in another order than the threads at work
// truth: D
// expect: likely kind=lock hops=2 names=pages,totals
#include <mutex>
#include <thread>

#include "corpus.h"

static std::mutex pages;
static std::mutex totals;
static long total, free_pages;

struct Counter {
  long count = 0;
  ~Counter() {
    std::lock_guard first(totals);
    total += count;
    std::lock_guard second(pages);
    ++free_pages;
  }
};

static thread_local Counter counter;

int main() {
  std::thread worker([] {
    at_ms(30);
    ++counter.count;
  });
  std::thread accountant([] {
    std::lock_guard first(pages);
    std::lock_guard second(totals);
    total += free_pages;
  });
  worker.join();
  accountant.join();
  return total == 1 ? 0 : 1;
}
