// what: two locks in two orders, but always under a third: only one thread at a time is between them
// truth: N
// expect: silent
#include "corpus.h"

static pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;
static pthread_mutex_t index_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_mutex_t data_lock = PTHREAD_MUTEX_INITIALIZER;

static void *insert(void *arg) {
  pthread_mutex_lock(&gate);
  pthread_mutex_lock(&index_lock);
  pthread_mutex_lock(&data_lock);
  pthread_mutex_unlock(&data_lock);
  pthread_mutex_unlock(&index_lock);
  pthread_mutex_unlock(&gate);
  return arg;
}

static void *compact(void *arg) {
  at_ms(30);
  pthread_mutex_lock(&gate);
  pthread_mutex_lock(&data_lock);
  pthread_mutex_lock(&index_lock);
  pthread_mutex_unlock(&index_lock);
  pthread_mutex_unlock(&data_lock);
  pthread_mutex_unlock(&gate);
  return arg;
}

int main(void) {
  RUN_TOGETHER(insert, compact);
  return 0;
}
