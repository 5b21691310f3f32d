// what: a thread that nobody joins is still at work when the program ends
// truth: N
// expect: silent
#include "corpus.h"

static pthread_mutex_t state = PTHREAD_MUTEX_INITIALIZER;
static long rounds;

static void *work(void *arg) {
  for (;;) {
    pthread_mutex_lock(&state);
    ++rounds;
    for_ms(2);
    pthread_mutex_unlock(&state);
    for_ms(1);
  }
  return arg;
}

int main(void) {
  pthread_t worker;
  pthread_create(&worker, NULL, work, NULL);
  pthread_detach(worker);
  at_ms(40);
  return 0;
}
