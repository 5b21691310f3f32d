// what: two locks in two orders, and only one of the threads takes the gate: it keeps nobody out
// truth: D
// expect: likely kind=lock hops=2 names=index_lock,data_lock
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
  pthread_mutex_lock(&data_lock);
  pthread_mutex_lock(&index_lock);
  pthread_mutex_unlock(&index_lock);
  pthread_mutex_unlock(&data_lock);
  return arg;
}

int main(void) {
  RUN_TOGETHER(insert, compact);
  return 0;
}
