// what: a callback locks the mutex that its caller holds; the thread waits for itself
// truth: D
// expect: certain kind=self names=listeners
// hang: 2
#include "corpus.h"

static pthread_mutex_t listeners = PTHREAD_MUTEX_INITIALIZER;
static int count = 1;

static void unsubscribe(void) {
  pthread_mutex_lock(&listeners);
  --count;
  pthread_mutex_unlock(&listeners);
}

static void notify(void (*listener)(void)) {
  pthread_mutex_lock(&listeners);
  listener();
  pthread_mutex_unlock(&listeners);
}

static void *publish(void *arg) {
  at_ms(20);
  notify(unsubscribe);
  return arg;
}

int main(void) {
  RUN_TOGETHER(publish);
  return 0;
}
