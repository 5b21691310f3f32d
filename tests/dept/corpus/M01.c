// what: two locks in two orders; if the threads meet between their two locks, each waits for the other
// truth: D
// expect: likely kind=lock hops=2 names=accounts,journal
#include "corpus.h"

static pthread_mutex_t accounts = PTHREAD_MUTEX_INITIALIZER;
static pthread_mutex_t journal = PTHREAD_MUTEX_INITIALIZER;
static int balance, entries;

static void *book(void *arg) {
  pthread_mutex_lock(&accounts);
  pthread_mutex_lock(&journal);
  ++balance;
  ++entries;
  pthread_mutex_unlock(&journal);
  pthread_mutex_unlock(&accounts);
  return arg;
}

static void *audit(void *arg) {
  at_ms(30);
  pthread_mutex_lock(&journal);
  pthread_mutex_lock(&accounts);
  int right = balance == entries;
  pthread_mutex_unlock(&accounts);
  pthread_mutex_unlock(&journal);
  return right ? arg : NULL;
}

int main(void) {
  RUN_TOGETHER(book, audit);
  return 0;
}
