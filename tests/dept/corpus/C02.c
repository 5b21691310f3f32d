// what: a waiter holds `table`, and who wakes it never takes it
// truth: N
// expect: silent
#include "corpus.h"

static pthread_mutex_t table = PTHREAD_MUTEX_INITIALIZER;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t done = PTHREAD_COND_INITIALIZER;
static int written;

static void *update(void *arg) {
  pthread_mutex_lock(&table);
  pthread_mutex_lock(&mutex);
  while (!written) pthread_cond_wait(&done, &mutex);
  pthread_mutex_unlock(&mutex);
  pthread_mutex_unlock(&table);
  return arg;
}

static void *write_back(void *arg) {
  at_ms(30);
  pthread_mutex_lock(&mutex);
  written = 1;
  pthread_cond_signal(&done);
  pthread_mutex_unlock(&mutex);
  return arg;
}

int main(void) {
  RUN_TOGETHER(update, write_back);
  return 0;
}
