// what: five philosophers of whom the last takes the right fork first: the order of the forks is that of their addresses
// truth: N
// expect: silent
#include "corpus.h"

enum { kPhilosophers = 5 };
static pthread_mutex_t forks[kPhilosophers] = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_MUTEX_INITIALIZER,
                                               PTHREAD_MUTEX_INITIALIZER, PTHREAD_MUTEX_INITIALIZER,
                                               PTHREAD_MUTEX_INITIALIZER};
static int meals[kPhilosophers];

static void *dine(void *arg) {
  int seat = (int)(intptr_t)arg, first = seat, second = (seat + 1) % kPhilosophers;
  if (seat == kPhilosophers - 1) {
    first = second;
    second = seat;
  }
  at_ms(15 * seat);
  pthread_mutex_lock(&forks[first]);
  pthread_mutex_lock(&forks[second]);
  ++meals[seat];
  pthread_mutex_unlock(&forks[second]);
  pthread_mutex_unlock(&forks[first]);
  return NULL;
}

int main(void) {
  run_copies(kPhilosophers, dine);
  return meals[0] == 1 ? 0 : 1;
}
