// what: eight threads in step through many barriers, with a lock between any two of them
// truth: N
// expect: silent
#include "corpus.h"

enum { kThreads = 8, kSteps = 30 };
static pthread_barrier_t step;
static pthread_mutex_t sum_lock = PTHREAD_MUTEX_INITIALIZER;
static long sum;

static void *compute(void *arg) {
  for (int i = 0; i < kSteps; ++i) {
    pthread_mutex_lock(&sum_lock);
    ++sum;
    pthread_mutex_unlock(&sum_lock);
    pthread_barrier_wait(&step);
  }
  return arg;
}

int main(void) {
  pthread_barrier_init(&step, NULL, kThreads);
  run_copies(kThreads, compute);
  return sum == kThreads * kSteps ? 0 : 1;
}
