// what: the memory of one lock is, after its death, that of another: the orders seem reversed, but are of two locks that never lived together
// truth: N
// expect: silent
#include <stdatomic.h>

#include "corpus.h"

static pthread_mutex_t directory = PTHREAD_MUTEX_INITIALIZER;
static _Alignas(64) unsigned char slot[sizeof(pthread_mutex_t)];
static atomic_int slot_is_free;

static void *open_file(void *arg) {
  pthread_mutex_t *file = (pthread_mutex_t *)slot;
  pthread_mutex_init(file, NULL);
  pthread_mutex_lock(&directory);
  pthread_mutex_lock(file);
  pthread_mutex_unlock(file);
  pthread_mutex_unlock(&directory);
  pthread_mutex_destroy(file);
  atomic_store(&slot_is_free, 1);
  return arg;
}

static void *mount_disk(void *arg) {
  at_ms(30);
  while (!atomic_load(&slot_is_free)) for_ms(1);
  pthread_mutex_t *disk = (pthread_mutex_t *)slot;
  pthread_mutex_init(disk, NULL);
  pthread_mutex_lock(disk);
  pthread_mutex_lock(&directory);
  pthread_mutex_unlock(&directory);
  pthread_mutex_unlock(disk);
  pthread_mutex_destroy(disk);
  return arg;
}

int main(void) {
  RUN_TOGETHER(open_file, mount_disk);
  return 0;
}
