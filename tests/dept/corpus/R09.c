// what: three threads: write 1 write 2, read 2 read 3, write 3 read 1: each can hold its first and wait for its second
// truth: D
// expect: likely kind=lock hops=3 names=volumes,folders,files
#include "corpus.h"

static pthread_rwlock_t volumes = PTHREAD_RWLOCK_INITIALIZER;
static pthread_rwlock_t folders = PTHREAD_RWLOCK_INITIALIZER;
static pthread_rwlock_t files = PTHREAD_RWLOCK_INITIALIZER;

static void *add_volume(void *arg) {
  pthread_rwlock_wrlock(&volumes);
  pthread_rwlock_wrlock(&folders);
  pthread_rwlock_unlock(&folders);
  pthread_rwlock_unlock(&volumes);
  return arg;
}

static void *list_folder(void *arg) {
  at_ms(25);
  pthread_rwlock_rdlock(&folders);
  pthread_rwlock_rdlock(&files);
  pthread_rwlock_unlock(&files);
  pthread_rwlock_unlock(&folders);
  return arg;
}

static void *move_file(void *arg) {
  at_ms(50);
  pthread_rwlock_wrlock(&files);
  pthread_rwlock_rdlock(&volumes);
  pthread_rwlock_unlock(&volumes);
  pthread_rwlock_unlock(&files);
  return arg;
}

int main(void) {
  RUN_TOGETHER(add_volume, list_folder, move_file);
  return 0;
}
