// what: shape of Apache 42031: a listener waits for an idle worker with the time-out list locked, and a worker goes through that list
// before it says that it is idle; if the other worker went to the other listener, both sleep
// truth: D
// expect: likely kind=mixed hops=2 names=timeouts
#include "corpus.h"

static pthread_mutex_t timeouts = PTHREAD_MUTEX_INITIALIZER;
static pthread_mutex_t idlers_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t worker_is_idle = PTHREAD_COND_INITIALIZER;
static int idlers, kept_alive, served;

static void get_worker(void) {
  pthread_mutex_lock(&idlers_lock);
  while (idlers == 0) pthread_cond_wait(&worker_is_idle, &idlers_lock);
  --idlers;
  pthread_mutex_unlock(&idlers_lock);
}

static void set_idle(void) {
  pthread_mutex_lock(&idlers_lock);
  ++idlers;
  pthread_cond_signal(&worker_is_idle);
  pthread_mutex_unlock(&idlers_lock);
}

static void *listener(void *arg) {
  int expire = (intptr_t)arg == 1;
  at_ms(expire ? 60 : 0);
  if (expire) pthread_mutex_lock(&timeouts);
  get_worker();
  ++served;
  if (expire) pthread_mutex_unlock(&timeouts);
  return arg;
}

static void *worker(void *arg) {
  int keep_alive = (intptr_t)arg == 2;
  at_ms(keep_alive ? 30 : 90);
  if (keep_alive) {
    pthread_mutex_lock(&timeouts);
    ++kept_alive;
    pthread_mutex_unlock(&timeouts);
  }
  set_idle();
  return arg;
}

int main(void) {
  RUN_TOGETHER(listener, listener, worker, worker);
  return served == 2 ? 0 : 1;
}
