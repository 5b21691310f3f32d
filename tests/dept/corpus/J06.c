// what: a worker takes `state` each round and counts itself out where it does; who looks after it takes `state` now and then and joins it there
// once it is out: it never takes `state` again
// truth: N
// expect: silent
#include "corpus.h"

static pthread_mutex_t state = PTHREAD_MUTEX_INITIALIZER;
static int left = 4, is_out;

static void *work(void *arg) {
  for (int last = 0; !last;) {
    pthread_mutex_lock(&state);
    last = is_out = --left == 0;
    pthread_mutex_unlock(&state);
    for_ms(10);
  }
  for_ms(40);
  return arg;
}

int main(void) {
  pthread_t worker;
  pthread_create(&worker, NULL, work, NULL);
  for (int joined = 0; !joined;) {
    pthread_mutex_lock(&state);
    if (is_out) joined = pthread_join(worker, NULL) == 0;
    pthread_mutex_unlock(&state);
    for_ms(15);
  }
  return left;
}
