// what: the second order tries its second lock until it succeeds, and never lets go of its first: waiting by another name
// truth: D
// expect: possible kind=lock hops=2 names=inode,lru
// level: possible
#include <sched.h>

#include "corpus.h"

static pthread_mutex_t inode = PTHREAD_MUTEX_INITIALIZER;
static pthread_mutex_t lru = PTHREAD_MUTEX_INITIALIZER;

static void *touch(void *arg) {
  at_ms(60);
  pthread_mutex_lock(&inode);
  pthread_mutex_lock(&lru);
  pthread_mutex_unlock(&lru);
  pthread_mutex_unlock(&inode);
  return arg;
}

static void *read_page(void *arg) {
  pthread_mutex_lock(&inode);
  at_ms(30);
  pthread_mutex_unlock(&inode);
  return arg;
}

static void *shrink(void *arg) {
  at_ms(10);
  pthread_mutex_lock(&lru);
  while (pthread_mutex_trylock(&inode) != 0) sched_yield();
  pthread_mutex_unlock(&inode);
  pthread_mutex_unlock(&lru);
  return arg;
}

int main(void) {
  RUN_TOGETHER(read_page, shrink, touch);
  return 0;
}
