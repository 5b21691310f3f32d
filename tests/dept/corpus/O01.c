// what: the routine that runs once takes `table`, and one who has `table` asks for it to have run: if that one comes while it
// runs, both wait
// truth: D
// expect: possible names=table
// level: possible
#include "corpus.h"

static pthread_mutex_t table = PTHREAD_MUTEX_INITIALIZER;
static pthread_once_t prepared = PTHREAD_ONCE_INIT;
static int rows;

static void prepare(void) {
  pthread_mutex_lock(&table);
  rows = 10;
  pthread_mutex_unlock(&table);
}

static void *read_rows(void *arg) {
  pthread_once(&prepared, prepare);
  return arg;
}

static void *add_row(void *arg) {
  at_ms(30);
  pthread_mutex_lock(&table);
  pthread_once(&prepared, prepare);
  ++rows;
  pthread_mutex_unlock(&table);
  return arg;
}

int main(void) {
  RUN_TOGETHER(read_rows, add_row);
  return rows == 11 ? 0 : 1;
}
