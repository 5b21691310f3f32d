// what: both orders in one thread, which cannot wait for itself
// truth: N
// expect: silent
#include "corpus.h"

static pthread_mutex_t cache = PTHREAD_MUTEX_INITIALIZER;
static pthread_mutex_t disk = PTHREAD_MUTEX_INITIALIZER;

static void *read_through(void *arg) {
  pthread_mutex_lock(&cache);
  pthread_mutex_lock(&disk);
  pthread_mutex_unlock(&disk);
  pthread_mutex_unlock(&cache);
  at_ms(20);
  pthread_mutex_lock(&disk);
  pthread_mutex_lock(&cache);
  pthread_mutex_unlock(&cache);
  pthread_mutex_unlock(&disk);
  return arg;
}

static void *look(void *arg) {
  at_ms(30);
  pthread_mutex_lock(&cache);
  pthread_mutex_unlock(&cache);
  pthread_mutex_lock(&disk);
  pthread_mutex_unlock(&disk);
  return arg;
}

int main(void) {
  RUN_TOGETHER(read_through, look);
  return 0;
}
