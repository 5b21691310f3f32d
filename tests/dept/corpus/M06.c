// what: two orders in two threads, but the second is created when the first has ended
// truth: N
// expect: silent
#include "corpus.h"

static pthread_mutex_t config = PTHREAD_MUTEX_INITIALIZER;
static pthread_mutex_t state = PTHREAD_MUTEX_INITIALIZER;

static void *load(void *arg) {
  pthread_mutex_lock(&config);
  pthread_mutex_lock(&state);
  pthread_mutex_unlock(&state);
  pthread_mutex_unlock(&config);
  return arg;
}

static void *save(void *arg) {
  pthread_mutex_lock(&state);
  pthread_mutex_lock(&config);
  pthread_mutex_unlock(&config);
  pthread_mutex_unlock(&state);
  return arg;
}

int main(void) {
  pthread_t thread;
  pthread_create(&thread, NULL, load, NULL);
  pthread_join(thread, NULL);
  pthread_create(&thread, NULL, save, NULL);
  pthread_join(thread, NULL);
  return 0;
}
