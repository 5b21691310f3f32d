// what: main had `state` before the thread was, the thread takes it, and is joined with nothing held
// truth: N
// expect: silent
#include "corpus.h"

static pthread_mutex_t state = PTHREAD_MUTEX_INITIALIZER;
static int value;

static void *work(void *arg) {
  at_ms(20);
  pthread_mutex_lock(&state);
  ++value;
  pthread_mutex_unlock(&state);
  return arg;
}

int main(void) {
  pthread_mutex_lock(&state);
  ++value;
  pthread_mutex_unlock(&state);
  pthread_t worker;
  pthread_create(&worker, NULL, work, NULL);
  pthread_join(worker, NULL);
  pthread_mutex_lock(&state);
  ++value;
  pthread_mutex_unlock(&state);
  return value == 3 ? 0 : 1;
}
