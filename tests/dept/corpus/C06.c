// what: two take a job and two give one; one taker holds `table`, one giver takes it first: when the other giver's job is taken by
// the first taker, the second taker waits for a giver who waits for it
// truth: D
// expect: likely kind=mixed hops=2 names=table
#include "corpus.h"

static pthread_mutex_t table = PTHREAD_MUTEX_INITIALIZER;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t some = PTHREAD_COND_INITIALIZER;
static int jobs;

static void take_job(int with_table) {
  if (with_table) pthread_mutex_lock(&table);
  pthread_mutex_lock(&mutex);
  while (jobs == 0) pthread_cond_wait(&some, &mutex);
  --jobs;
  pthread_mutex_unlock(&mutex);
  if (with_table) pthread_mutex_unlock(&table);
}

static void give_job(int look_at_table) {
  if (look_at_table) {
    pthread_mutex_lock(&table);
    pthread_mutex_unlock(&table);
  }
  pthread_mutex_lock(&mutex);
  ++jobs;
  pthread_cond_signal(&some);
  pthread_mutex_unlock(&mutex);
}

static void *taker(void *arg) {
  int second = (intptr_t)arg == 1;
  at_ms(second ? 60 : 0);
  take_job(second);
  return arg;
}

static void *giver(void *arg) {
  int second = (intptr_t)arg == 3;
  at_ms(second ? 90 : 30);
  give_job(!second);
  return arg;
}

int main(void) {
  RUN_TOGETHER(taker, taker, giver, giver);
  return 0;
}
