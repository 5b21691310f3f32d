// what: shape of an interpreter: one thread waits for a native one with the interpreter's lock, and the native one takes that lock before
// it signals; if the other signal went to the other waiter, both sleep
// truth: D
// expect: likely kind=mixed hops=2 names=interpreter
#include "corpus.h"

static pthread_mutex_t interpreter = PTHREAD_MUTEX_INITIALIZER;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t finished = PTHREAD_COND_INITIALIZER;
static int results, objects;

static void wait_for_result(int release_interpreter) {
  if (release_interpreter) pthread_mutex_unlock(&interpreter);
  pthread_mutex_lock(&mutex);
  while (results == 0) pthread_cond_wait(&finished, &mutex);
  --results;
  pthread_mutex_unlock(&mutex);
  if (release_interpreter) pthread_mutex_lock(&interpreter);
}

static void *script(void *arg) {
  int careful = (intptr_t)arg == 0;
  at_ms(careful ? 0 : 60);
  pthread_mutex_lock(&interpreter);
  wait_for_result(careful);
  pthread_mutex_unlock(&interpreter);
  return arg;
}

static void *native(void *arg) {
  int make_object = (intptr_t)arg == 2;
  at_ms(make_object ? 30 : 90);
  if (make_object) {
    pthread_mutex_lock(&interpreter);
    ++objects;
    pthread_mutex_unlock(&interpreter);
  }
  pthread_mutex_lock(&mutex);
  ++results;
  pthread_cond_signal(&finished);
  pthread_mutex_unlock(&mutex);
  return arg;
}

int main(void) {
  RUN_TOGETHER(script, script, native, native);
  return objects == 1 ? 0 : 1;
}
