// what: shape of jbd2: a handle of the reserve is taken without waiting or not at all, so who has a transaction's lock may ask for one
// truth: N
// expect: silent
#include "corpus.h"

static pthread_mutex_t transaction = PTHREAD_MUTEX_INITIALIZER;
static pthread_mutex_t reserve = PTHREAD_MUTEX_INITIALIZER;
static int handles = 4, commits;

static int take_reserved(void) {
  if (pthread_mutex_trylock(&reserve) != 0) return 0;
  int got = handles > 0;
  handles -= got;
  pthread_mutex_unlock(&reserve);
  return got;
}

static void *write_data(void *arg) {
  pthread_mutex_lock(&transaction);
  take_reserved();
  pthread_mutex_unlock(&transaction);
  return arg;
}

static void *refill(void *arg) {
  at_ms(25);
  pthread_mutex_lock(&reserve);
  pthread_mutex_lock(&transaction);
  ++commits;
  pthread_mutex_unlock(&transaction);
  ++handles;
  pthread_mutex_unlock(&reserve);
  return arg;
}

int main(void) {
  RUN_TOGETHER(write_data, refill);
  return handles == 4 ? 0 : 1;
}
