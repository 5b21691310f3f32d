// what: two take a job and two give one, told by a std::atomic that is waited on; one taker holds `table`, one giver takes it first: if the other giver's job goes
// to the first taker, the second waits for a giver who waits for it
// truth: D
// expect: likely hops=2 names=table
#include <atomic>
#include <mutex>
#include <thread>

#include "corpus.h"

static std::mutex table;
static std::atomic<int> jobs;

static void take_job() {
  for (;;) {
    int now = jobs.load();
    if (now > 0 && jobs.compare_exchange_weak(now, now - 1)) return;
    if (now == 0) jobs.wait(0);
  }
}

static void give_job() {
  jobs.fetch_add(1);
  jobs.notify_one();
}

static void taker(bool with_table) {
  at_ms(with_table ? 60 : 0);
  std::unique_lock hold(table, std::defer_lock);
  if (with_table) hold.lock();
  take_job();
}

static void giver(bool look_at_table) {
  at_ms(look_at_table ? 30 : 90);
  if (look_at_table) std::lock_guard hold(table);
  give_job();
}

int main() {
  std::thread threads[] = {std::thread(taker, false), std::thread(taker, true), std::thread(giver, true),
                           std::thread(giver, false)};
  for (std::thread& thread : threads) thread.join();
  return 0;
}
