// what: workers take `state` each round and count themselves out under it, the last one tells; who stops them waits for that and joins
// them with `state` still locked: none of them takes it again
// truth: N
// expect: silent
#include "corpus.h"

enum { kWorkers = 4 };
static pthread_mutex_t state = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t idle = PTHREAD_COND_INITIALIZER;
static int running = kWorkers, rounds;

static void *work(void *arg) {
  for (int i = 0; i < 3; ++i) {
    at_ms(20 * i + 5 * (intptr_t)arg);
    pthread_mutex_lock(&state);
    ++rounds;
    pthread_mutex_unlock(&state);
  }
  pthread_mutex_lock(&state);
  if (--running == 0) pthread_cond_signal(&idle);
  pthread_mutex_unlock(&state);
  return arg;
}

int main(void) {
  pthread_t threads[kWorkers];
  for (int i = 0; i < kWorkers; ++i) pthread_create(&threads[i], NULL, work, (void *)(intptr_t)i);
  pthread_mutex_lock(&state);
  while (running > 0) pthread_cond_wait(&idle, &state);
  for (int i = 0; i < kWorkers; ++i) pthread_join(threads[i], NULL);
  pthread_mutex_unlock(&state);
  return rounds == 3 * kWorkers ? 0 : 1;
}
