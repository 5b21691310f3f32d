// what: the thread that is joined under `state` took `state` in its life; had it been slower, neither would go on
// truth: D
// expect: possible names=state
// level: possible
#include "corpus.h"

static pthread_mutex_t state = PTHREAD_MUTEX_INITIALIZER;
static int jobs;

static void *work(void *arg) {
  pthread_mutex_lock(&state);
  ++jobs;
  pthread_mutex_unlock(&state);
  at_ms(50);
  return arg;
}

int main(void) {
  pthread_t worker;
  pthread_create(&worker, NULL, work, NULL);
  at_ms(25);
  pthread_mutex_lock(&state);
  pthread_join(worker, NULL);
  pthread_mutex_unlock(&state);
  return 0;
}
