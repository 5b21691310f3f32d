// what: a reader wants to write without giving up its read lock; it waits for itself
// truth: D
// expect: certain kind=self names=settings
// hang: 2
#include "corpus.h"

static pthread_rwlock_t settings = PTHREAD_RWLOCK_INITIALIZER;
static int value;

static void set(int to) {
  pthread_rwlock_wrlock(&settings);
  value = to;
  pthread_rwlock_unlock(&settings);
}

static void *fix(void *arg) {
  at_ms(20);
  pthread_rwlock_rdlock(&settings);
  if (value == 0) set(1);
  pthread_rwlock_unlock(&settings);
  return arg;
}

int main(void) {
  RUN_TOGETHER(fix);
  // glibc says EDEADLK only to who holds it for writing.
  return 0;
}
