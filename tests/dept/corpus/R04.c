// what: a reader's callee reads again; a writer may come between, but the default kind lets readers in all the same
// truth: N
// expect: silent
#include "corpus.h"

static pthread_rwlock_t names = PTHREAD_RWLOCK_INITIALIZER;
static int generation;

static int current(void) {
  pthread_rwlock_rdlock(&names);
  int now = generation;
  pthread_rwlock_unlock(&names);
  return now;
}

static void *look_up(void *arg) {
  pthread_rwlock_rdlock(&names);
  at_ms(40);
  int now = current();
  pthread_rwlock_unlock(&names);
  return (void *)(intptr_t)now;
}

static void *rename_one(void *arg) {
  at_ms(20);
  pthread_rwlock_wrlock(&names);
  ++generation;
  pthread_rwlock_unlock(&names);
  return arg;
}

int main(void) {
  RUN_TOGETHER(look_up, rename_one);
  return generation == 1 ? 0 : 1;
}
