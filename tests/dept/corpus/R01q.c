// what: two read locks in two orders, of the kind where readers queue behind a waiting writer, and each has a writer
// truth: D
// expect: likely kind=lock hops=2 names=routes,neighbours
#include "corpus.h"

static pthread_rwlock_t routes = PTHREAD_RWLOCK_WRITER_NONRECURSIVE_INITIALIZER_NP;
static pthread_rwlock_t neighbours = PTHREAD_RWLOCK_WRITER_NONRECURSIVE_INITIALIZER_NP;

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

static void *learn_route(void *arg) {
  at_ms(50);
  pthread_rwlock_wrlock(&routes);
  pthread_rwlock_unlock(&routes);
  return arg;
}

static void *forget_neighbour(void *arg) {
  at_ms(65);
  pthread_rwlock_wrlock(&neighbours);
  pthread_rwlock_unlock(&neighbours);
  return arg;
}

int main(void) {
  RUN_TOGETHER(look_up, list, learn_route, forget_neighbour);
  return 0;
}
