// what: a mutex that checks for errors says EDEADLK, nobody looks, and its section runs and is left twice
// truth: D
// expect: info
// level: info
#include "corpus.h"

static pthread_mutex_t counters;
static long total;

static void add(long n) {
  pthread_mutex_lock(&counters);
  total += n;
  pthread_mutex_unlock(&counters);
}

static void *add_many(void *arg) {
  at_ms(20 * (intptr_t)arg);
  pthread_mutex_lock(&counters);
  for (int i = 0; i < 3; ++i) add(i);
  pthread_mutex_unlock(&counters);
  return arg;
}

int main(void) {
  pthread_mutexattr_t checked;
  pthread_mutexattr_init(&checked);
  pthread_mutexattr_settype(&checked, PTHREAD_MUTEX_ERRORCHECK);
  pthread_mutex_init(&counters, &checked);
  run_copies(2, add_many);
  return 0;
}
