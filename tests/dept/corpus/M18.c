// what: the order of two locks depends on what the program is told; two runs, each in one order, show together that threads may cross
// truth: D
// expect: likely kind=lock hops=2 names=left,right
// runs: 2 db 0 3
#include "corpus.h"

static pthread_mutex_t left = PTHREAD_MUTEX_INITIALIZER;
static pthread_mutex_t right = PTHREAD_MUTEX_INITIALIZER;
static unsigned choices;

// Every thread has a choice of its own: 0 and 3 are the same for both.
static void *merge(void *arg) {
  at_ms(20 * (intptr_t)arg);
  if ((choices >> (intptr_t)arg & 1) == 0) {
    pthread_mutex_lock(&left);
    pthread_mutex_lock(&right);
  } else {
    pthread_mutex_lock(&right);
    pthread_mutex_lock(&left);
  }
  pthread_mutex_unlock(&left);
  pthread_mutex_unlock(&right);
  return arg;
}

int main(int argc, char **argv) {
  choices = argc > 1 ? (unsigned)atoi(argv[1]) : 0;
  run_copies(2, merge);
  return 0;
}
