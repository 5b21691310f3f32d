// what: the second order only tries its second lock, and gives up: it never waits while it holds
// truth: N
// expect: silent
#include "corpus.h"

static pthread_mutex_t inode = PTHREAD_MUTEX_INITIALIZER;
static pthread_mutex_t lru = PTHREAD_MUTEX_INITIALIZER;
static int shrunk;

static void *touch(void *arg) {
  for (int i = 0; i < 3; ++i) {
    at_ms(20 * i);
    pthread_mutex_lock(&inode);
    pthread_mutex_lock(&lru);
    for_ms(5);
    pthread_mutex_unlock(&lru);
    pthread_mutex_unlock(&inode);
  }
  return arg;
}

static void *shrink(void *arg) {
  for (int i = 0; i < 10; ++i) {
    at_ms(7 * i);
    pthread_mutex_lock(&lru);
    if (pthread_mutex_trylock(&inode) == 0) {
      ++shrunk;
      pthread_mutex_unlock(&inode);
    }
    pthread_mutex_unlock(&lru);
  }
  return arg;
}

int main(void) {
  RUN_TOGETHER(touch, shrink);
  return 0;
}
