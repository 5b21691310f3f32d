// what: who posts both semaphores takes `table` before, and the waiter takes it after the first and waits for the second inside
// truth: N
// expect: silent
#include <semaphore.h>

#include "corpus.h"

static pthread_mutex_t table = PTHREAD_MUTEX_INITIALIZER;
static sem_t opened, filled;

static void take(sem_t *sem) {
  while (sem_wait(sem) != 0) {
  }
}

static void *consumer(void *arg) {
  take(&opened);
  pthread_mutex_lock(&table);
  take(&filled);
  pthread_mutex_unlock(&table);
  return arg;
}

static void *producer(void *arg) {
  at_ms(20);
  pthread_mutex_lock(&table);
  pthread_mutex_unlock(&table);
  sem_post(&opened);
  at_ms(45);
  sem_post(&filled);
  return arg;
}

int main(void) {
  sem_init(&opened, 0, 0);
  sem_init(&filled, 0, 0);
  RUN_TOGETHER(consumer, producer);
  return 0;
}
