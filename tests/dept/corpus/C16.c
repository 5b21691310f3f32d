// what: a thread is cancelled while it waits; its clean-up gives back the mutex that the wait took again, and others use it in any order
// truth: N
// expect: silent
#include "corpus.h"

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_mutex_t log_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t never = PTHREAD_COND_INITIALIZER;
static pthread_t sleeper;
static int lines;

static void give_back(void *held) {
  pthread_mutex_unlock(held);
  pthread_mutex_lock(&log_lock);
  ++lines;
  pthread_mutex_unlock(&log_lock);
}

static void *sleep_on(void *arg) {
  pthread_mutex_lock(&mutex);
  pthread_cleanup_push(give_back, &mutex);
  for (;;) pthread_cond_wait(&never, &mutex);
  pthread_cleanup_pop(1);
  return arg;
}

static void *cancel(void *arg) {
  at_ms(20);
  pthread_cancel(sleeper);
  return arg;
}

static void *write_log(void *arg) {
  at_ms(40);
  pthread_mutex_lock(&log_lock);
  pthread_mutex_lock(&mutex);
  ++lines;
  pthread_mutex_unlock(&mutex);
  pthread_mutex_unlock(&log_lock);
  return arg;
}

int main(void) {
  pthread_create(&sleeper, NULL, sleep_on, NULL);
  RUN_TOGETHER(cancel, write_log);
  pthread_join(sleeper, NULL);
  return lines == 2 ? 0 : 1;
}
