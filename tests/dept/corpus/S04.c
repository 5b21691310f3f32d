// what: producer and consumer with two semaphores and a mutex, in the order of the book
// truth: N
// expect: silent
#include <semaphore.h>

#include "corpus.h"

enum { kRoom = 8, kItems = 6 };
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static sem_t full, empty;
static int ring[kRoom], put_count, get_count;

static void take(sem_t *sem) {
  while (sem_wait(sem) != 0) {
  }
}

static void put(int item) {
  take(&empty);
  pthread_mutex_lock(&mutex);
  ring[put_count++ % kRoom] = item;
  pthread_mutex_unlock(&mutex);
  sem_post(&full);
}

static int get(void) {
  take(&full);
  pthread_mutex_lock(&mutex);
  int item = ring[get_count++ % kRoom];
  pthread_mutex_unlock(&mutex);
  sem_post(&empty);
  return item;
}

static void *producer(void *arg) {
  for (int i = 0; i < kItems; ++i) put(i);
  return arg;
}

static void *consumer(void *arg) {
  at_ms(30);
  for (int i = 0; i < kItems; ++i) get();
  return arg;
}

int main(void) {
  sem_init(&full, 0, 0);
  sem_init(&empty, 0, kRoom);
  RUN_TOGETHER(producer, consumer);
  return get_count == kItems ? 0 : 1;
}
