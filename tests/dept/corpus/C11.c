// what: a wait that asks for no state, and the signal came before it: nobody will signal again
// truth: D
// expect: certain
// options: --hang 1
// hang: 5
#include "corpus.h"

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t started = PTHREAD_COND_INITIALIZER;

static void *service(void *arg) {
  pthread_mutex_lock(&mutex);
  pthread_cond_signal(&started);
  pthread_mutex_unlock(&mutex);
  return arg;
}

static void *client(void *arg) {
  at_ms(30);
  pthread_mutex_lock(&mutex);
  pthread_cond_wait(&started, &mutex);
  pthread_mutex_unlock(&mutex);
  return arg;
}

int main(void) {
  RUN_TOGETHER(service, client);
  return 0;
}
