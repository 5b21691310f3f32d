// what: three threads join each other in a ring
// truth: D
// expect: certain hops=3
// options: --hang 1
// hang: 5
#include "corpus.h"

static pthread_t threads[3];

static void *wait_for_next(void *arg) {
  int self = (int)(intptr_t)arg;
  at_ms(20 + 20 * self);
  pthread_join(threads[(self + 1) % 3], NULL);
  return arg;
}

int main(void) {
  for (int i = 0; i < 3; ++i) pthread_create(&threads[i], NULL, wait_for_next, (void *)(intptr_t)i);
  for (;;) for_ms(1000);
}
