// what: a bounded queue whose conditions are signalled when the lock has been given back
// truth: N
// expect: silent
#include "corpus.h"

enum { kRoom = 4, kItems = 300 };
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t not_full = PTHREAD_COND_INITIALIZER;
static pthread_cond_t not_empty = PTHREAD_COND_INITIALIZER;
static int ring[kRoom], head, length;
static long sum;

static void put(int item) {
  pthread_mutex_lock(&mutex);
  while (length == kRoom) pthread_cond_wait(&not_full, &mutex);
  ring[(head + length++) % kRoom] = item;
  pthread_mutex_unlock(&mutex);
  pthread_cond_signal(&not_empty);
}

static int get(void) {
  pthread_mutex_lock(&mutex);
  while (length == 0) pthread_cond_wait(&not_empty, &mutex);
  int item = ring[head];
  head = (head + 1) % kRoom;
  --length;
  sum += item;
  pthread_mutex_unlock(&mutex);
  pthread_cond_signal(&not_full);
  return item;
}

static void *producer(void *arg) {
  at_ms(10 * (intptr_t)arg);
  for (int i = 0; i < kItems; ++i) put(1);
  return arg;
}

static void *consumer(void *arg) {
  at_ms(10 * ((intptr_t)arg - 3));
  for (int i = 0; i < kItems; ++i) get();
  return arg;
}

int main(void) {
  RUN_TOGETHER(producer, producer, producer, consumer, consumer, consumer);
  return sum == 3 * kItems ? 0 : 1;
}
