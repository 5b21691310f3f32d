// what: two take a job with a table locked and two give one, told by a std::counting_semaphore; one giver first takes the lock of the second table: if the
// other giver's job goes to the first taker, the second waits for a giver who waits for it
// truth: D
// expect: likely hops=2 names=table
#include <semaphore>
#include <mutex>
#include <thread>

#include "corpus.h"

static std::mutex table[2];
static std::counting_semaphore<> jobs(0);

static void take_job() {
  jobs.acquire();
}

static void give_job() {
  jobs.release();
}

static void taker(int number) {
  at_ms(60 * number);
  std::lock_guard hold(table[number]);
  take_job();
}

static void giver(bool look_at_table) {
  at_ms(look_at_table ? 30 : 90);
  if (look_at_table) std::lock_guard hold(table[1]);
  give_job();
}

int main() {
  std::thread threads[] = {std::thread(taker, 0), std::thread(taker, 1), std::thread(giver, true),
                           std::thread(giver, false)};
  for (std::thread& thread : threads) thread.join();
  return 0;
}
