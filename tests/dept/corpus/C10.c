// what: producers and consumers on one condition, and each wakes just one: the consumer's wake-up for the producer reaches the other
// consumer, who finds nothing; all three sleep
// truth: D
// expect: certain
// options: --hang 1
// hang: 5
#include "corpus.h"

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static int length, room = 1;

static void *producer(void *arg) {
  at_ms(40);
  pthread_mutex_lock(&mutex);
  for (int i = 0; i < 2; ++i) {
    while (length == room) pthread_cond_wait(&changed, &mutex);
    ++length;
    pthread_cond_signal(&changed);
  }
  pthread_mutex_unlock(&mutex);
  return arg;
}

static void *consumer(void *arg) {
  at_ms(15 * (intptr_t)arg);
  pthread_mutex_lock(&mutex);
  while (length == 0) pthread_cond_wait(&changed, &mutex);
  --length;
  pthread_cond_signal(&changed);
  pthread_mutex_unlock(&mutex);
  return arg;
}

int main(void) {
  RUN_TOGETHER(consumer, consumer, producer);
  return 0;
}
