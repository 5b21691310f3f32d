// what: two read locks in two orders, of the default kind, where a waiting writer keeps no reader out
// truth: N
// expect: silent
#include "corpus.h"

static pthread_rwlock_t routes = PTHREAD_RWLOCK_INITIALIZER;
static pthread_rwlock_t neighbours = PTHREAD_RWLOCK_INITIALIZER;

static void *look_up(void *arg) {
  pthread_rwlock_rdlock(&routes);
  pthread_rwlock_rdlock(&neighbours);
  pthread_rwlock_unlock(&neighbours);
  pthread_rwlock_unlock(&routes);
  return arg;
}

static void *list(void *arg) {
  at_ms(30);
  pthread_rwlock_rdlock(&neighbours);
  pthread_rwlock_rdlock(&routes);
  pthread_rwlock_unlock(&routes);
  pthread_rwlock_unlock(&neighbours);
  return arg;
}

int main(void) {
  RUN_TOGETHER(look_up, list);
  return 0;
}
