// what: a loop of ticks waits 10 ms at a time with `timers` held, and gives it up between two; who stops it takes `timers` first
// truth: N
// expect: silent
#include "corpus.h"

static pthread_mutex_t timers = PTHREAD_MUTEX_INITIALIZER;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t stop_asked = PTHREAD_COND_INITIALIZER;
static int stop;

static void *tick(void *arg) {
  for (int stopped = 0; !stopped;) {
    pthread_mutex_lock(&timers);
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_nsec += 10000000;
    if (until.tv_nsec >= 1000000000) {
      until.tv_nsec -= 1000000000;
      ++until.tv_sec;
    }
    pthread_mutex_lock(&mutex);
    if (!stop) pthread_cond_timedwait(&stop_asked, &mutex, &until);
    stopped = stop;
    pthread_mutex_unlock(&mutex);
    pthread_mutex_unlock(&timers);
    for_ms(2);
  }
  return arg;
}

static void *stopper(void *arg) {
  at_ms(45);
  pthread_mutex_lock(&timers);
  pthread_mutex_unlock(&timers);
  at_ms(75);
  pthread_mutex_lock(&mutex);
  stop = 1;
  pthread_cond_signal(&stop_asked);
  pthread_mutex_unlock(&mutex);
  return arg;
}

int main(void) {
  RUN_TOGETHER(tick, stopper);
  return 0;
}
