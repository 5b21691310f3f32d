// what: a worker takes `grid` before it comes to the barrier, where the other waits with `grid`: if that one is first, neither passes
// truth: D
// expect: possible names=grid
// level: possible
#include "corpus.h"

static pthread_mutex_t grid = PTHREAD_MUTEX_INITIALIZER;
static pthread_barrier_t step;

static void *compute(void *arg) {
  pthread_mutex_lock(&grid);
  pthread_mutex_unlock(&grid);
  at_ms(50);
  pthread_barrier_wait(&step);
  return arg;
}

static void *show(void *arg) {
  at_ms(25);
  pthread_mutex_lock(&grid);
  pthread_barrier_wait(&step);
  pthread_mutex_unlock(&grid);
  return arg;
}

int main(void) {
  pthread_barrier_init(&step, NULL, 2);
  RUN_TOGETHER(compute, show);
  return 0;
}
