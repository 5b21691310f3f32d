// what: workers take `state` each time round until told to stop, and one that has something to save once more at its end; the joins hold a lock, the
// first one `state`: had its worker something to save, or just looked whether to stop, it would wait for `state` and be waited for
// truth: D
// expect: likely hops=2 names=state
#include <stdatomic.h>

#include "corpus.h"

struct worker {
  pthread_t thread;
  atomic_int stop;
  int saves;
};

static pthread_mutex_t state = PTHREAD_MUTEX_INITIALIZER, log_file = PTHREAD_MUTEX_INITIALIZER;
static struct worker workers[2] = {{.saves = 0}, {.saves = 1}};
static int rounds;

static void add_round(void) {
  pthread_mutex_lock(&state);
  ++rounds;
  pthread_mutex_unlock(&state);
}

static void *work(void *arg) {
  struct worker *self = arg;
  for (long at = 0; !atomic_load(&self->stop); at += 40) {
    add_round();
    at_ms(at + 40);
  }
  if (self->saves) add_round();
  return NULL;
}

static void start(struct worker *worker) { pthread_create(&worker->thread, NULL, work, worker); }

static void stop(struct worker *worker, pthread_mutex_t *meanwhile) {
  pthread_mutex_lock(meanwhile);
  atomic_store(&worker->stop, 1);
  pthread_join(worker->thread, NULL);
  pthread_mutex_unlock(meanwhile);
}

int main(void) {
  pthread_mutex_t *meanwhile[2] = {&state, &log_file};
  for (int i = 0; i < 2; ++i) start(&workers[i]);
  for (int i = 0; i < 2; ++i) {
    at_ms(45 + 40 * i);
    stop(&workers[i], meanwhile[i]);
  }
  return 0;
}
