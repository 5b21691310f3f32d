// what: the routine ran before there were threads; asking for it under the lock that it took then waits for nobody
// truth: N
// expect: silent
#include "corpus.h"

static pthread_mutex_t table = PTHREAD_MUTEX_INITIALIZER;
static pthread_once_t prepared = PTHREAD_ONCE_INIT;
static int rows;

static void prepare(void) {
  pthread_mutex_lock(&table);
  rows = 10;
  pthread_mutex_unlock(&table);
}

static void *add_row(void *arg) {
  at_ms(20 * (intptr_t)arg);
  pthread_mutex_lock(&table);
  pthread_once(&prepared, prepare);
  ++rows;
  pthread_mutex_unlock(&table);
  return arg;
}

int main(void) {
  pthread_once(&prepared, prepare);
  run_copies(2, add_row);
  return rows == 12 ? 0 : 1;
}
