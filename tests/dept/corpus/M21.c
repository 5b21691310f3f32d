// what: who gives the turn back must lock `table` first, and another waits for the turn with `table` held: if that one comes first, both wait
// truth: D
// expect: likely hops=2 names=turn,table
#include "corpus.h"

static pthread_mutex_t turn = PTHREAD_MUTEX_INITIALIZER;
static pthread_mutex_t table = PTHREAD_MUTEX_INITIALIZER;

static void *submit(void *arg) {
  pthread_mutex_lock(&turn);
  return arg;
}

static void *io_done(void *arg) {
  at_ms(25);
  pthread_mutex_lock(&table);
  pthread_mutex_unlock(&turn);
  pthread_mutex_unlock(&table);
  return arg;
}

static void *resize(void *arg) {
  at_ms(60);
  pthread_mutex_lock(&table);
  pthread_mutex_lock(&turn);
  pthread_mutex_unlock(&turn);
  pthread_mutex_unlock(&table);
  return arg;
}

int main(void) {
  RUN_TOGETHER(submit, io_done, resize);
  return 0;
}
