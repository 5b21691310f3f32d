// what: one thread locks, another unlocks: a mutex used to hand a turn over, with no second lock about
// truth: N
// expect: silent
#include "corpus.h"

static pthread_mutex_t turn = PTHREAD_MUTEX_INITIALIZER;
static int pages;

static void *reader(void *arg) {
  at_ms(10);
  pthread_mutex_lock(&turn);
  ++pages;
  pthread_mutex_unlock(&turn);
  return arg;
}

static void *io_done(void *arg) {
  at_ms(40);
  ++pages;
  pthread_mutex_unlock(&turn);
  return arg;
}

int main(void) {
  pthread_mutex_lock(&turn);
  RUN_TOGETHER(reader, io_done);
  return pages == 2 ? 0 : 1;
}
