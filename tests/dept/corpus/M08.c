// what: the second order waits for its second lock a second at most, then lets go of its first
// truth: N
// expect: silent
#include "corpus.h"

static pthread_mutex_t route = PTHREAD_MUTEX_INITIALIZER;
static pthread_mutex_t device = PTHREAD_MUTEX_INITIALIZER;

static void *send_packet(void *arg) {
  pthread_mutex_lock(&route);
  pthread_mutex_lock(&device);
  pthread_mutex_unlock(&device);
  pthread_mutex_unlock(&route);
  return arg;
}

static void *take_down(void *arg) {
  at_ms(30);
  pthread_mutex_lock(&device);
  struct timespec until;
  clock_gettime(CLOCK_REALTIME, &until);
  until.tv_sec += 1;
  if (pthread_mutex_timedlock(&route, &until) == 0) pthread_mutex_unlock(&route);
  pthread_mutex_unlock(&device);
  return arg;
}

int main(void) {
  RUN_TOGETHER(send_packet, take_down);
  return 0;
}
