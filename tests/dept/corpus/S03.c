// what: a pool of two buffers of which each thread takes one, then another: both may have one and wait for one
// truth: D
// expect: possible names=buffers
// level: possible
#include <semaphore.h>

#include "corpus.h"

static sem_t buffers;
static int copies;

static void take_buffer(void) {
  while (sem_wait(&buffers) != 0) {
  }
}

static void *copy(void *arg) {
  at_ms(25 * (intptr_t)arg);
  take_buffer();
  take_buffer();
  ++copies;
  sem_post(&buffers);
  sem_post(&buffers);
  return arg;
}

int main(void) {
  sem_init(&buffers, 0, 2);
  run_copies(2, copy);
  return 0;
}
