// what: fifty waiters of one condition, each for a number of its own, each with a lock of its own in its hands; who counts takes other locks
// truth: N
// expect: silent
#include "corpus.h"

enum { kWaiters = 50 };
static pthread_mutex_t seats[kWaiters];
static pthread_mutex_t log_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t called = PTHREAD_COND_INITIALIZER;
static int number = -1, lines;

static void *wait_for_number(void *arg) {
  int mine = (int)(intptr_t)arg;
  pthread_mutex_lock(&seats[mine]);
  pthread_mutex_lock(&mutex);
  while (number < mine) pthread_cond_wait(&called, &mutex);
  pthread_mutex_unlock(&mutex);
  pthread_mutex_unlock(&seats[mine]);
  return NULL;
}

static void *count(void *arg) {
  at_ms(40);
  for (int i = 0; i < kWaiters; ++i) {
    pthread_mutex_lock(&log_lock);
    ++lines;
    pthread_mutex_unlock(&log_lock);
    pthread_mutex_lock(&mutex);
    number = i;
    pthread_cond_broadcast(&called);
    pthread_mutex_unlock(&mutex);
    for_ms(1);
  }
  return arg;
}

int main(void) {
  routine routines[kWaiters + 1];
  for (int i = 0; i < kWaiters; ++i) {
    pthread_mutex_init(&seats[i], NULL);
    routines[i] = wait_for_number;
  }
  routines[kWaiters] = count;
  run_together(kWaiters + 1, routines);
  return 0;
}
