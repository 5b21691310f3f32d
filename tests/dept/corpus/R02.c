// what: each thread reads one table, then writes the other: both may read, then each waits for the other's read lock
// truth: D
// expect: likely kind=lock hops=2 names=orders,stock
#include "corpus.h"

static pthread_rwlock_t orders = PTHREAD_RWLOCK_INITIALIZER;
static pthread_rwlock_t stock = PTHREAD_RWLOCK_INITIALIZER;

static void *deliver(void *arg) {
  pthread_rwlock_rdlock(&orders);
  pthread_rwlock_wrlock(&stock);
  pthread_rwlock_unlock(&stock);
  pthread_rwlock_unlock(&orders);
  return arg;
}

static void *reorder(void *arg) {
  at_ms(30);
  pthread_rwlock_rdlock(&stock);
  pthread_rwlock_wrlock(&orders);
  pthread_rwlock_unlock(&orders);
  pthread_rwlock_unlock(&stock);
  return arg;
}

int main(void) {
  RUN_TOGETHER(deliver, reorder);
  return 0;
}
