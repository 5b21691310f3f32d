// what: who revokes a shared buffer waits, with its reservation locked, until an importer has unmapped it; an importer's unmap takes the
// reservation of one of the two, another's does not: if the latter's unmap ends the wait for the other, the wait for this one never ends
// truth: D
// expect: likely kind=mixed hops=2 names=reservation
#include "corpus.h"

static pthread_mutex_t reservation[2] = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_MUTEX_INITIALIZER};
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t unmapped = PTHREAD_COND_INITIALIZER;
static int unmaps, pages = 2;

static void wait_for_unmap(void) {
  pthread_mutex_lock(&mutex);
  while (unmaps == 0) pthread_cond_wait(&unmapped, &mutex);
  --unmaps;
  pthread_mutex_unlock(&mutex);
}

static void *revoke(void *arg) {
  intptr_t buffer = (intptr_t)arg;
  at_ms(60 * buffer);
  pthread_mutex_lock(&reservation[buffer]);
  wait_for_unmap();
  pthread_mutex_unlock(&reservation[buffer]);
  return arg;
}

static void *unmap(void *arg) {
  int drop_pages = (intptr_t)arg == 2;
  at_ms(drop_pages ? 30 : 90);
  if (drop_pages) {
    pthread_mutex_lock(&reservation[1]);
    --pages;
    pthread_mutex_unlock(&reservation[1]);
  }
  pthread_mutex_lock(&mutex);
  ++unmaps;
  pthread_cond_broadcast(&unmapped);
  pthread_mutex_unlock(&mutex);
  return arg;
}

int main(void) {
  RUN_TOGETHER(revoke, revoke, unmap, unmap);
  return pages == 1 ? 0 : 1;
}
