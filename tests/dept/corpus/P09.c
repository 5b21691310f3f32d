// what: an allocator calls the log under its lock when it runs low, and the log allocates
// truth: D
// expect: certain kind=self names=pool
// hang: 2
#include <stddef.h>

#include "corpus.h"

static pthread_mutex_t pool = PTHREAD_MUTEX_INITIALIZER;
static char memory[1024];
static size_t used;
static void (*on_low)(size_t left);

static void *pool_alloc(size_t size) {
  pthread_mutex_lock(&pool);
  void *block = memory + used;
  used += size;
  if (sizeof memory - used < 256 && on_low) on_low(sizeof memory - used);
  pthread_mutex_unlock(&pool);
  return block;
}

static void log_low(size_t left) {
  char *line = pool_alloc(32);
  line[0] = (char)('0' + left % 10);
}

static void *work(void *arg) {
  at_ms(15);
  for (int i = 0; i < 7; ++i) pool_alloc(128);
  return arg;
}

int main(void) {
  on_low = log_low;
  RUN_TOGETHER(work);
  return 0;
}
