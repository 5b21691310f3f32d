// what: who wakes takes `table` first, here long before the waiter does; if the waiter takes it first, it is never woken
// truth: D
// expect: possible hops=2 names=table
// level: possible
#include "corpus.h"

static pthread_mutex_t table = PTHREAD_MUTEX_INITIALIZER;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t ready = PTHREAD_COND_INITIALIZER;
static int is_ready, rows;

static void *prepare(void *arg) {
  pthread_mutex_lock(&table);
  ++rows;
  pthread_mutex_unlock(&table);
  at_ms(60);
  pthread_mutex_lock(&mutex);
  is_ready = 1;
  pthread_cond_signal(&ready);
  pthread_mutex_unlock(&mutex);
  return arg;
}

static void *use(void *arg) {
  at_ms(30);
  pthread_mutex_lock(&table);
  pthread_mutex_lock(&mutex);
  while (!is_ready) pthread_cond_wait(&ready, &mutex);
  pthread_mutex_unlock(&mutex);
  pthread_mutex_unlock(&table);
  return arg;
}

int main(void) {
  RUN_TOGETHER(prepare, use);
  return 0;
}
