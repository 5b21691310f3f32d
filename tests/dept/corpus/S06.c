// what: a signal handler posts a semaphore, the one thing it may do; the waiter holds a lock that the interrupted thread takes too
// truth: N
// expect: silent
#include <semaphore.h>
#include <signal.h>

#include "corpus.h"

static pthread_mutex_t table = PTHREAD_MUTEX_INITIALIZER;
static sem_t wanted;
static int dumps;

static void on_usr1(int signal) {
  (void)signal;
  sem_post(&wanted);
}

static void *dumper(void *arg) {
  while (sem_wait(&wanted) != 0) {
  }
  pthread_mutex_lock(&table);
  ++dumps;
  pthread_mutex_unlock(&table);
  return arg;
}

static void *worker(void *arg) {
  pthread_mutex_lock(&table);
  at_ms(20);
  raise(SIGUSR1);
  pthread_mutex_unlock(&table);
  return arg;
}

int main(void) {
  sem_init(&wanted, 0, 0);
  signal(SIGUSR1, on_usr1);
  RUN_TOGETHER(dumper, worker);
  return dumps == 1 ? 0 : 1;
}
