// what: five philosophers take the left fork, then the right one: all may hold their left
// truth: D
// expect: likely kind=lock hops=5 names=forks
#include "corpus.h"

enum { kPhilosophers = 5 };
static pthread_mutex_t forks[kPhilosophers] = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_MUTEX_INITIALIZER,
                                               PTHREAD_MUTEX_INITIALIZER, PTHREAD_MUTEX_INITIALIZER,
                                               PTHREAD_MUTEX_INITIALIZER};
static int meals[kPhilosophers];

static void *dine(void *arg) {
  int seat = (int)(intptr_t)arg;
  at_ms(15 * seat);
  pthread_mutex_lock(&forks[seat]);
  pthread_mutex_lock(&forks[(seat + 1) % kPhilosophers]);
  ++meals[seat];
  pthread_mutex_unlock(&forks[(seat + 1) % kPhilosophers]);
  pthread_mutex_unlock(&forks[seat]);
  return NULL;
}

int main(void) {
  run_copies(kPhilosophers, dine);
  return meals[0] == 1 ? 0 : 1;
}
