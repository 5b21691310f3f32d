// what: a callback waits for the producer with the queue's recursive mutex locked twice; the wait gives it up once, the producer never gets it
// truth: D
// expect: likely names=queue
// hang: 3
#include "corpus.h"

static pthread_mutex_t queue;
static pthread_cond_t filled = PTHREAD_COND_INITIALIZER;
static int length;

static void on_empty(void) {
  pthread_mutex_lock(&queue);
  while (length == 0) pthread_cond_wait(&filled, &queue);
  pthread_mutex_unlock(&queue);
}

static void *consumer(void *arg) {
  pthread_mutex_lock(&queue);
  if (length == 0) on_empty();
  --length;
  pthread_mutex_unlock(&queue);
  return arg;
}

static void *producer(void *arg) {
  at_ms(30);
  pthread_mutex_lock(&queue);
  ++length;
  pthread_cond_signal(&filled);
  pthread_mutex_unlock(&queue);
  return arg;
}

int main(void) {
  pthread_mutexattr_t recursive;
  pthread_mutexattr_init(&recursive);
  pthread_mutexattr_settype(&recursive, PTHREAD_MUTEX_RECURSIVE);
  pthread_mutex_init(&queue, &recursive);
  RUN_TOGETHER(consumer, producer);
  return 0;
}
