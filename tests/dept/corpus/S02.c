// what: two semaphores of one used as locks, taken in two orders
// truth: D
// expect: likely kind=lock hops=2 names=printer,spool
#include <semaphore.h>

#include "corpus.h"

static sem_t printer, spool;
static int pages;

static void take(sem_t *sem) {
  while (sem_wait(sem) != 0) {
  }
}

static void *print(void *arg) {
  take(&printer);
  take(&spool);
  ++pages;
  sem_post(&spool);
  sem_post(&printer);
  return arg;
}

static void *clean(void *arg) {
  at_ms(30);
  take(&spool);
  take(&printer);
  pages = 0;
  sem_post(&printer);
  sem_post(&spool);
  return arg;
}

int main(void) {
  sem_init(&printer, 0, 1);
  sem_init(&spool, 0, 1);
  RUN_TOGETHER(print, clean);
  return 0;
}
