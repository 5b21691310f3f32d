// what: two threads join each other, and both wait for good
// truth: D
// expect: certain hops=2
// options: --hang 1
// hang: 5
#include "corpus.h"

static pthread_t threads[2];

static void *wait_for_other(void *arg) {
  int self = (int)(intptr_t)arg;
  at_ms(20 + 25 * self);
  pthread_join(threads[1 - self], NULL);
  return arg;
}

int main(void) {
  for (int i = 0; i < 2; ++i) pthread_create(&threads[i], NULL, wait_for_other, (void *)(intptr_t)i);
  for (;;) for_ms(1000);
}
