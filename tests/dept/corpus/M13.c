// what: a hundred locks of one array, several at a time, always by rising address
// truth: N
// expect: silent
#include "corpus.h"

enum { kBuckets = 100 };
static pthread_mutex_t buckets[kBuckets];

static void *rehash(void *arg) {
  at_ms(12 * (intptr_t)arg);
  for (int step = 1; step <= 7; step += 2) {
    for (int i = 0; i < kBuckets; i += step) pthread_mutex_lock(&buckets[i]);
    for (int i = 0; i < kBuckets; i += step) pthread_mutex_unlock(&buckets[i]);
  }
  return arg;
}

int main(void) {
  for (int i = 0; i < kBuckets; ++i) pthread_mutex_init(&buckets[i], NULL);
  run_copies(4, rehash);
  return 0;
}
