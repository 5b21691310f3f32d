// what: one thread reads, then locks; the other locks, then reads: readers do not wait for readers
// truth: N
// expect: silent
#include "corpus.h"

static pthread_rwlock_t mounts = PTHREAD_RWLOCK_INITIALIZER;
static pthread_mutex_t super = PTHREAD_MUTEX_INITIALIZER;

static void *sync_all(void *arg) {
  pthread_rwlock_rdlock(&mounts);
  pthread_mutex_lock(&super);
  pthread_mutex_unlock(&super);
  pthread_rwlock_unlock(&mounts);
  return arg;
}

static void *show(void *arg) {
  at_ms(30);
  pthread_mutex_lock(&super);
  pthread_rwlock_rdlock(&mounts);
  pthread_rwlock_unlock(&mounts);
  pthread_mutex_unlock(&super);
  return arg;
}

static void *mount(void *arg) {
  at_ms(55);
  pthread_rwlock_wrlock(&mounts);
  pthread_rwlock_unlock(&mounts);
  return arg;
}

int main(void) {
  RUN_TOGETHER(sync_all, show, mount);
  return 0;
}
