// what: two orders in two threads, but the second begins when the first posts that it is done with both
// truth: N
// expect: silent
#include <semaphore.h>

#include "corpus.h"

static pthread_mutex_t config = PTHREAD_MUTEX_INITIALIZER;
static pthread_mutex_t state = PTHREAD_MUTEX_INITIALIZER;
static sem_t loaded;

static void *load(void *arg) {
  at_ms(20);
  pthread_mutex_lock(&config);
  pthread_mutex_lock(&state);
  pthread_mutex_unlock(&state);
  pthread_mutex_unlock(&config);
  sem_post(&loaded);
  return arg;
}

static void *save(void *arg) {
  while (sem_wait(&loaded) != 0) {
  }
  pthread_mutex_lock(&state);
  pthread_mutex_lock(&config);
  pthread_mutex_unlock(&config);
  pthread_mutex_unlock(&state);
  return arg;
}

int main(void) {
  sem_init(&loaded, 0, 0);
  RUN_TOGETHER(load, save);
  return 0;
}
