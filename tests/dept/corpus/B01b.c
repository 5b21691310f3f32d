// what: four come to a barrier for two; one holds `grid` there, one takes it before: if the other two have passed together, these two
// wait for each other
// truth: D
// expect: possible names=grid
// level: possible
#include "corpus.h"

static pthread_mutex_t grid = PTHREAD_MUTEX_INITIALIZER;
static pthread_barrier_t step;

static void arrive(void) { pthread_barrier_wait(&step); }

static void *show(void *arg) {
  int with_grid = (intptr_t)arg == 1;
  at_ms(with_grid ? 50 : 0);
  if (with_grid) pthread_mutex_lock(&grid);
  arrive();
  if (with_grid) pthread_mutex_unlock(&grid);
  return arg;
}

static void *compute(void *arg) {
  int fill_grid = (intptr_t)arg == 2;
  at_ms(fill_grid ? 25 : 75);
  if (fill_grid) {
    pthread_mutex_lock(&grid);
    pthread_mutex_unlock(&grid);
  }
  arrive();
  return arg;
}

int main(void) {
  pthread_barrier_init(&step, NULL, 2);
  RUN_TOGETHER(show, show, compute, compute);
  return 0;
}
