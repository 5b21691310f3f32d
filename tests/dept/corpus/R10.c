// what: a reader of `map` waits for an item, and one of the two who put items must first write `map`: if the other's item is
// taken by the first taker, the second waits with `map` in its hands for who waits for `map`
// truth: D
// expect: likely kind=mixed hops=2 names=map
#include "corpus.h"

static pthread_rwlock_t map = PTHREAD_RWLOCK_INITIALIZER;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t some = PTHREAD_COND_INITIALIZER;
static int items;

static void take_item(int with_map) {
  if (with_map) pthread_rwlock_rdlock(&map);
  pthread_mutex_lock(&mutex);
  while (items == 0) pthread_cond_wait(&some, &mutex);
  --items;
  pthread_mutex_unlock(&mutex);
  if (with_map) pthread_rwlock_unlock(&map);
}

static void put_item(int change_map) {
  if (change_map) {
    pthread_rwlock_wrlock(&map);
    pthread_rwlock_unlock(&map);
  }
  pthread_mutex_lock(&mutex);
  ++items;
  pthread_cond_signal(&some);
  pthread_mutex_unlock(&mutex);
}

static void *taker(void *arg) {
  int second = (intptr_t)arg == 1;
  at_ms(second ? 60 : 0);
  take_item(second);
  return arg;
}

static void *putter(void *arg) {
  int second = (intptr_t)arg == 3;
  at_ms(second ? 90 : 30);
  put_item(!second);
  return arg;
}

int main(void) {
  RUN_TOGETHER(taker, taker, putter, putter);
  return 0;
}
