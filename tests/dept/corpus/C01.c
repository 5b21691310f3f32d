// what: one condition for two flags; who raises them takes `table` before the first, and the waiter takes it after the first
// truth: N
// expect: silent
#include "corpus.h"

static pthread_mutex_t table = PTHREAD_MUTEX_INITIALIZER;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static int opened, filled;

static void wait_for(const int *flag) {
  pthread_mutex_lock(&mutex);
  while (!*flag) pthread_cond_wait(&changed, &mutex);
  pthread_mutex_unlock(&mutex);
}

static void raise_flag(int *flag) {
  pthread_mutex_lock(&mutex);
  *flag = 1;
  pthread_cond_broadcast(&changed);
  pthread_mutex_unlock(&mutex);
}

static void *consumer(void *arg) {
  wait_for(&opened);
  pthread_mutex_lock(&table);
  wait_for(&filled);
  pthread_mutex_unlock(&table);
  return arg;
}

static void *producer(void *arg) {
  at_ms(20);
  pthread_mutex_lock(&table);
  pthread_mutex_unlock(&table);
  raise_flag(&opened);
  at_ms(50);
  raise_flag(&filled);
  return arg;
}

int main(void) {
  RUN_TOGETHER(consumer, producer);
  return 0;
}
