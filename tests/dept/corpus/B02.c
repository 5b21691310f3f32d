// what: a barrier for three to which two come
// truth: D
// expect: certain
// options: --hang 1
// hang: 5
#include "corpus.h"

static pthread_barrier_t ready;

static void *part(void *arg) {
  at_ms(15 * (intptr_t)arg);
  pthread_barrier_wait(&ready);
  return arg;
}

int main(void) {
  pthread_barrier_init(&ready, NULL, 3);
  run_copies(2, part);
  return 0;
}
