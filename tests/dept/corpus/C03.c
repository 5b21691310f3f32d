// what: the waiter holds `table` for the first flag only, and who raises them takes it for the second only
// truth: N
// expect: silent
#include "corpus.h"

static pthread_mutex_t table = PTHREAD_MUTEX_INITIALIZER;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static int parsed, stored;

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

static void *requester(void *arg) {
  pthread_mutex_lock(&table);
  wait_for(&parsed);
  pthread_mutex_unlock(&table);
  wait_for(&stored);
  return arg;
}

static void *server(void *arg) {
  at_ms(25);
  raise_flag(&parsed);
  at_ms(50);
  pthread_mutex_lock(&table);
  raise_flag(&stored);
  pthread_mutex_unlock(&table);
  return arg;
}

int main(void) {
  RUN_TOGETHER(requester, server);
  return 0;
}
