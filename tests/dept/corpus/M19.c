// what: two hundred locks held at once by each thread, in one order
// truth: N
// expect: silent
#include "corpus.h"

enum { kShards = 200 };
static pthread_mutex_t shards[kShards];
static long sum;

static void *snapshot(void *arg) {
  at_ms(15 * (intptr_t)arg);
  for (int i = 0; i < kShards; ++i) pthread_mutex_lock(&shards[i]);
  ++sum;
  for (int i = kShards - 1; i >= 0; --i) pthread_mutex_unlock(&shards[i]);
  return arg;
}

int main(void) {
  for (int i = 0; i < kShards; ++i) pthread_mutex_init(&shards[i], NULL);
  run_copies(3, snapshot);
  return sum == 3 ? 0 : 1;
}
