// what: shape of MySQL 37080: an insert locks the table, then the list of open tables; a truncate takes the list first
// truth: D
// expect: likely kind=lock hops=2 names=open_tables
#include "corpus.h"

struct table {
  pthread_mutex_t lock;
  long rows;
  int version;
};

static pthread_mutex_t open_tables = PTHREAD_MUTEX_INITIALIZER;
static struct table orders = {.lock = PTHREAD_MUTEX_INITIALIZER};
static int refreshes;

static void *insert_row(void *arg) {
  pthread_mutex_lock(&orders.lock);
  ++orders.rows;
  pthread_mutex_lock(&open_tables);
  if (orders.version != refreshes) orders.version = refreshes;
  pthread_mutex_unlock(&open_tables);
  pthread_mutex_unlock(&orders.lock);
  return arg;
}

static void *truncate_table(void *arg) {
  at_ms(30);
  pthread_mutex_lock(&open_tables);
  ++refreshes;
  pthread_mutex_lock(&orders.lock);
  orders.rows = 0;
  pthread_mutex_unlock(&orders.lock);
  pthread_mutex_unlock(&open_tables);
  return arg;
}

int main(void) {
  RUN_TOGETHER(insert_row, truncate_table);
  return 0;
}
