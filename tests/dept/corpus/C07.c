// what: a nested monitor: the consumer waits for the queue inside the cache's lock, which the producer needs to reach the queue;
// only who finds the queue empty hangs, and noise makes that happen
// truth: D
// expect: possible names=cache
// level: possible
// options: --noise 5000 --hang 1
// hang: 5
#include <semaphore.h>

#include "corpus.h"

static pthread_mutex_t cache = PTHREAD_MUTEX_INITIALIZER;
static pthread_mutex_t queue = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t filled = PTHREAD_COND_INITIALIZER;
static sem_t go;
static int length;

enum { kRounds = 12 };

static void *starter(void *arg) {
  for (int i = 0; i < kRounds; ++i) {
    at_ms(10 + 15 * i);
    sem_post(&go);
  }
  return arg;
}

static void *producer(void *arg) {
  for (int i = 0; i < kRounds; ++i) {
    while (sem_wait(&go) != 0) {
    }
    pthread_mutex_lock(&cache);
    pthread_mutex_lock(&queue);
    ++length;
    pthread_cond_signal(&filled);
    pthread_mutex_unlock(&queue);
    pthread_mutex_unlock(&cache);
  }
  return arg;
}

static void *consumer(void *arg) {
  for (int i = 0; i < kRounds; ++i) {
    at_ms(12 + 15 * i);
    pthread_mutex_lock(&cache);
    pthread_mutex_lock(&queue);
    while (length == 0) pthread_cond_wait(&filled, &queue);
    --length;
    pthread_mutex_unlock(&queue);
    pthread_mutex_unlock(&cache);
  }
  return arg;
}

int main(void) {
  sem_init(&go, 0, 0);
  RUN_TOGETHER(starter, producer, consumer);
  return 0;
}
